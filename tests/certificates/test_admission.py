"""The admission rules, each by what it admits and what it refuses, with the reason given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest

from certificates import successor
from certificates.admission import Placed, Verdict, View, judge, read_fields
from certificates.issuance import issue, withdraw
from certificates.legacy import LegacyToken
from certificates.lifecycle import Status
from certificates.policy import Issuer, Policy, Scope
from certificates.ranges import Range
from certificates.token import Token, encode_fields
from overlay.keys import PrivateKey

KEY_ID = "a2V5IGlk"
OTHER_ID = "eac6aec8-ec87-837a-bd29-dc242ad37ae7"


def admitted(verdict: Verdict, outputs: tuple[int, ...], coins: tuple[int, ...] = ()) -> None:
    assert verdict.refusals == ()
    assert (verdict.outputs_to_admit, verdict.coins_to_retain) == (outputs, coins)


def refused(verdict: Verdict, reason: str) -> None:
    assert (verdict.outputs_to_admit, verdict.coins_to_retain) == ((), ())
    assert len(verdict.refusals) == 1
    assert reason in verdict.refusals[0].reason


# Rule 1: issuance


def test_issuance(maker: Any) -> None:
    admitted(maker.judge([maker.token()]), (0,))


@pytest.mark.parametrize(
    ("changes", "issued"),
    [
        ({}, Range(1, 1100)),
        ({"face_value": 1100}, Range(5, 5)),
        ({"production_ending_interval": "2026-06-01T10:15:00Z"}, Range(0, 274)),
        (
            {"production_ending_interval": "2026-06-01T10:00:00.000001Z", "device_capacity": 3_600_000_000},
            Range(1, 1),
        ),
        ({"country_of_issuance": "DK"}, Range(1, 1000)),
    ],
)
def test_issuance_at_the_limit(maker: Any, changes: dict[str, Any], issued: Range) -> None:
    admitted(maker.judge([maker.token(issued, **changes)]), (0,))


@pytest.mark.parametrize(
    ("changes", "issued", "reason"),
    [
        ({}, Range(1, 1101), "1101 Wh is more than 1000 W can make"),
        ({"face_value": 1101}, Range(5, 5), "is more than"),
        ({"device_capacity": 0}, Range(1, 1), "is more than"),
        ({"production_ending_interval": "2026-06-01T10:15:00Z"}, Range(0, 275), "is more than"),
        ({"production_ending_interval": "2026-06-01T10:00:00Z"}, Range(1, 1), "longer than 0"),
        ({"production_ending_interval": "2026-06-01T09:59:59Z"}, Range(1, 1), "longer than 0"),
        ({"production_ending_interval": "2026-06-01T11:00:00.000001Z"}, Range(1, 1), "at most one hour"),
        ({"country_of_issuance": "FR"}, Range(1, 1000), "not trusted for FR"),
    ],
)
def test_issuance_refused(maker: Any, changes: dict[str, Any], issued: Range, reason: str) -> None:
    refused(maker.judge([maker.token(issued, **changes)]), reason)


def test_capacity_is_exact_at_sizes_where_floats_are_not(maker: Any) -> None:
    most = 2**53 - 2
    capacity = {"device_capacity": most}
    policy = replace(maker.policy, capacity_margin=Fraction(1))
    admitted(maker.judge([maker.token(Range(1, most), **capacity)], policy=policy), (0,))
    refused(maker.judge([maker.token(Range(0, most), **capacity)], policy=policy), "is more than")


def test_margin_of_a_technology(maker: Any) -> None:
    policy = replace(maker.policy, technology_margins={"hydro": Fraction(2)})
    hydro = maker.token(Range(1, 2000), device_technology_type="hydro")
    admitted(maker.judge([hydro], policy=policy), (0,))
    refused(maker.judge([hydro]), "is more than")


@pytest.mark.parametrize("status", [status for status in Status if status is not Status.ACTIVE])
def test_issued_active(maker: Any, status: Status) -> None:
    token = replace(maker.token(), bundle=maker.token().bundle.changed(certificate_status=status.value))
    refused(maker.judge([token]), "issued Active")


def test_issued_range_is_the_range(maker: Any) -> None:
    refused(maker.judge([maker.sign(replace(maker.unsigned(), issued=Range(1, 2000)))]), "not the issued range")


def test_quantity_is_the_ranges(maker: Any) -> None:
    token = replace(maker.token(), bundle=maker.token().bundle.changed(bundle_quantity=999))
    refused(maker.judge([token]), "bundle_quantity 999")


def test_id_belongs_to_the_output_and_the_transaction(maker: Any) -> None:
    refused(maker.judge([maker.token(output_index=1)]), "neither derived")
    elsewhere = View(bytes(36), [Placed(0, 1, maker.reread(maker.token()))])
    refused(judge(elsewhere, maker.policy, maker.keys), "neither derived")


def test_copies_of_an_issuance_are_not_issued(maker: Any) -> None:
    verdict = maker.judge([maker.token(), maker.token()])
    assert verdict.outputs_to_admit == (0,)
    assert [refusal.outputs for refusal in verdict.refusals] == [(1,)]


def test_issuer_is_trusted(maker: Any) -> None:
    stranger = PrivateKey.from_int(77)
    refused(maker.judge([maker.sign(maker.unsigned(), stranger)]), "not trusted")
    everywhere = Policy((Issuer(stranger.public, "Stranger"),))
    admitted(maker.judge([maker.sign(maker.unsigned(), stranger)], policy=everywhere), (0,))


def test_signature(maker: Any) -> None:
    refused(maker.judge([maker.unsigned().with_signature(maker.token(Range(1, 999)).signature)]), "signature")
    borrowed = replace(maker.sign(maker.unsigned(), PrivateKey.from_int(77)), issuer_key=maker.issuer.public)
    refused(maker.judge([borrowed]), "signature does not verify")
    off_curve = bytes.fromhex("02" + "ff" * 32)
    policy = Policy((Issuer(off_curve, "Nobody"),))
    refused(maker.judge([replace(maker.token(), issuer_key=off_curve)], policy=policy), "signature")


@pytest.mark.parametrize("satoshis", [0, 2, 1000])
def test_one_satoshi(maker: Any, satoshis: int) -> None:
    refused(maker.judge([maker.token()], satoshis=satoshis), "exactly 1")


def test_origin_is_signed(maker: Any) -> None:
    token = maker.token(origin={"chain": "solana", "message": "ab"})
    admitted(maker.judge([token]), (0,))
    refused(maker.judge([replace(token, origin={"chain": "solana", "message": "cd"})]), "signature")


# Rule 2: transfer, split, merge


def step(maker: Any, change: Callable[[Token], Token | list[Token]], coin: Token | None = None) -> Verdict:
    coin = coin or maker.token()
    made = change(coin)
    return maker.judge(made if isinstance(made, list) else [made], [coin])


def test_transfer(maker: Any) -> None:
    admitted(step(maker, lambda coin: successor.transfer(coin, maker.key(1), OTHER_ID)), (0,), (0,))


def test_transfer_of_what_an_issuer_no_longer_trusted_issued(maker: Any) -> None:
    verdict = maker.judge([successor.transfer(maker.token(), maker.key(1))], [maker.token()], policy=Policy())
    admitted(verdict, (0,), (0,))


def test_split_and_merge(maker: Any) -> None:
    coin = maker.token()
    parts = successor.split(coin, [1, 998, 1], [maker.key(n) for n in range(3)])
    admitted(maker.judge(parts, [coin]), (0, 1, 2), (0,))
    admitted(maker.judge([successor.merge(parts, maker.key(9))], parts[::-1]), (0,), (0, 1, 2))
    left, middle, right = parts
    recut = [*successor.split(successor.merge([left, middle], maker.key(4)), [500, 499], [maker.key(1)] * 2)]
    admitted(maker.judge([right, *recut], [middle, right, left]), (0, 1, 2), (0, 1, 2))


def ranged(token: Token, start: int, end: int) -> Token:
    return successor.succeed(token, token.locking_key, part=Range(start, end))


@pytest.mark.parametrize(
    "parts",
    [
        [],
        [(1, 999)],
        [(2, 1000)],
        [(1, 500), (502, 1000)],
        [(1, 500), (500, 1000)],
        [(1, 1000), (1, 1000)],
        [(1, 1000), (400, 500)],
        [(1, 1001)],
        [(0, 1000)],
        [(1001, 2000)],
    ],
)
def test_parts_divide_the_range_exactly(maker: Any, parts: list[tuple[int, int]]) -> None:
    verdict = step(maker, lambda coin: [ranged(coin, *part) for part in parts])
    refused(verdict, "do not divide the spent range exactly")
    assert verdict.refusals[0].coins == (0,)
    assert verdict.refusals[0].outputs == tuple(range(len(parts)))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("device_name", "Another"),
        ("face_value", 2),
        ("energy_source", "wind"),
        ("country_of_issuance", "DK"),
        ("production_ending_interval", "2026-06-01T10:30:00Z"),
        ("production_ending_interval", "2026-06-01T11:00:00+00:00"),
        ("issuance_post_energy_carrier_conversion", True),
        ("extension", 1),
        ("support_received", None),
    ],
)
def test_immutable_attributes(maker: Any, name: str, value: Any) -> None:
    verdict = step(maker, lambda coin: replace(coin, bundle=coin.bundle.changed(**{name: value})))
    refused(verdict, "immutable attribute")


def test_numbers_are_compared_as_signed_and_true_is_not_one(maker: Any) -> None:
    coin = maker.token(extension=1)
    admitted(step(maker, lambda coin: replace(coin, bundle=coin.bundle.changed(extension=1.0)), coin), (0,), (0,))
    refused(step(maker, lambda coin: replace(coin, bundle=coin.bundle.changed(extension=True)), coin), "immutable")


def test_issuer_issued_and_origin_are_kept(maker: Any) -> None:
    stranger = PrivateKey.from_int(77)
    refused(step(maker, lambda coin: maker.sign(coin, stranger)), "another issuer")
    resigned = maker.token(Range(1, 999)).signature
    refused(step(maker, lambda coin: coin.with_signature(resigned)), "another issuer's signature")
    refused(step(maker, lambda coin: replace(coin, issued=Range(1, 1001))), "issued range")
    refused(step(maker, lambda coin: replace(coin, origin={"chain": "x"})), "origin")


def test_mutable_attributes(maker: Any) -> None:
    changes = {"account_id": OTHER_ID, "sdr_allocation_id": OTHER_ID, "storage_efficiency_factor": 0.9}
    verdict = step(
        maker,
        lambda coin: replace(coin, bundle=coin.bundle.changed(**changes), extras={"note": 1, "private": "AA=="}),
    )
    admitted(verdict, (0,), (0,))


def test_quantity_of_a_part_is_its_ranges(maker: Any) -> None:
    refused(
        step(maker, lambda coin: replace(coin, bundle=coin.bundle.changed(bundle_quantity=1))), "bundle_quantity"
    )


def test_successor_of_another_value(maker: Any) -> None:
    coin = maker.token()
    outputs = [Placed(0, 2, maker.reread(coin))]
    refused(judge(View(maker.spends, outputs, [Placed(0, 1, coin)]), maker.policy, maker.keys), "exactly 1")


# One issuance cannot spoil another (rule 6)


def test_each_issuance_is_judged_by_itself(maker: Any) -> None:
    good, bad = maker.token(output_index=5), maker.token(output_index=6)
    fresh = maker.token(output_index=1)
    moved = successor.transfer(good, maker.key(1))
    verdict = maker.judge([moved, fresh, ranged(bad, 1, 999), maker.unsigned(output_index=3)], [bad, good])
    assert verdict.outputs_to_admit == (0, 1)
    assert verdict.coins_to_retain == (1,)
    refusals = {refusal.issuance_id: refusal for refusal in verdict.refusals}
    assert refusals[bad.issuance_id].outputs == (2,)
    assert refusals[bad.issuance_id].coins == (0,)
    assert refusals[None].outputs == (3,)


def test_a_bad_part_takes_the_good_parts_of_its_issuance_along(maker: Any) -> None:
    first, second = successor.split(maker.token(), [400, 600], [maker.key(1)] * 2)
    verdict = maker.judge([successor.claim(first, maker.key(1)), second], [maker.token()])
    refused(verdict, "no beneficiary")
    assert verdict.refusals[0].outputs == (0, 1)


def test_destroyed(maker: Any) -> None:
    refused(maker.judge([], [maker.token()]), "made nothing")


# Rules 3 and 5, and the lifecycle


def with_status(maker: Any, status: Status, **changes: Any) -> Token:
    """A coin of that status, as the topic would hold it."""
    coin = maker.token(**changes)
    extras = {
        Status.LOCKED: {"exit": {"chain": "solana", "address": "Addr", "owner": maker.key(0).hex()}},
        Status.CANCELLED: {"beneficiary": "Town of Example"},
        Status.CLAIMED: {"beneficiary": "Town of Example"},
    }.get(status, {})
    key = maker.bridge.public if status is Status.LOCKED else maker.key(0)
    return successor.succeed(coin, key, status=status, extras=extras)


MOVES: dict[str, tuple[Status, Callable[[Any, Token], Token]]] = {
    "transfer": (Status.ACTIVE, lambda maker, coin: successor.transfer(coin, maker.key(1))),
    "reserve": (Status.ACTIVE, lambda maker, coin: successor.reserve(coin, maker.key(0))),
    "release": (Status.RESERVED, lambda maker, coin: successor.release(coin, maker.key(0))),
    "cancel": (Status.ACTIVE, lambda maker, coin: successor.cancel(coin, "Town of Example", maker.key(2))),
    "cancel reserved": (Status.RESERVED, lambda maker, coin: successor.cancel(coin, "Town", maker.key(2))),
    "claim": (Status.CANCELLED, lambda maker, coin: successor.claim(coin, maker.key(2))),
    "lock": (
        Status.ACTIVE,
        lambda maker, coin: successor.lock(coin, maker.bridge.public, {"chain": "solana", "address": "Addr"}),
    ),
    "lock to a derived key": (
        Status.ACTIVE,
        lambda maker, coin: successor.lock(
            coin, maker.bridge_lock(KEY_ID), {"chain": "solana", "address": "Addr", "key_id": KEY_ID}
        ),
    ),
    "refund": (Status.LOCKED, lambda maker, coin: successor.refund(coin, maker.key(0))),
    "complete": (Status.LOCKED, lambda maker, coin: successor.complete(coin, "5igs", maker.bridge.public)),
}


@pytest.mark.parametrize("name", MOVES)
def test_moves(maker: Any, name: str) -> None:
    status, move = MOVES[name]
    coin = with_status(maker, status)
    admitted(step(maker, lambda coin: move(maker, coin), coin), (0,), (0,))


@pytest.mark.parametrize("after", list(Status))
@pytest.mark.parametrize("before", list(Status))
def test_no_other_move(maker: Any, before: Status, after: Status) -> None:
    coin = with_status(maker, before)
    made = with_status(maker, after)
    if after is Status.WITHDRAWN:
        made = replace(made, extras={"exit": {"chain": "solana", "address": "Addr", "transaction": "5igs"}})
    verdict = maker.judge([made], [coin])
    allowed = {(MOVES[name][0], after_of(maker, name)) for name in MOVES}
    if (before, after) in allowed:
        admitted(verdict, (0,), (0,))
    else:
        refused(verdict, f"{before} cannot become {after}")


def after_of(maker: Any, name: str) -> Status:
    status, move = MOVES[name]
    return move(maker, with_status(maker, status)).bundle.status


def test_reservation_under_configuration_2_is_final(maker: Any) -> None:
    coin = with_status(maker, Status.RESERVED, registry_configuration=2)
    refused(step(maker, lambda coin: successor.release(coin, maker.key(0)), coin), "final")
    refused(step(maker, lambda coin: successor.cancel(coin, "Town", maker.key(0)), coin), "final")


def test_statuses_move_part_by_part(maker: Any) -> None:
    active, reserved = successor.split(maker.token(), [400, 600], [maker.key(0)] * 2)
    reserved = successor.reserve(reserved, maker.key(0))
    cancelled = successor.cancel(successor.merge([active, reserved], maker.key(0)), "Town", maker.key(2))
    admitted(maker.judge([cancelled], [reserved, active]), (0,), (0, 1))
    retained = [successor.transfer(active, maker.key(1)), successor.reserve(reserved, maker.key(1))]
    refused(maker.judge(retained, [reserved, active]), "401..1000: Reserved cannot become Reserved")
    part = successor.split(maker.token(), [1, 999], [maker.key(0)] * 2)
    partly = [successor.cancel(part[0], "Town", maker.key(2)), part[1]]
    admitted(maker.judge(partly, [maker.token()]), (0, 1), (0,))


@pytest.mark.parametrize("beneficiary", [None, "", 5, [], ["identity_key"], {}, {"name": ""}, True])
def test_a_cancellation_names_its_beneficiary(maker: Any, beneficiary: Any) -> None:
    refused(step(maker, lambda coin: successor.cancel(coin, beneficiary, maker.key(2))), "no beneficiary")


def test_a_cancellation_is_locked_to_the_key_that_it_names(maker: Any) -> None:
    town = maker.key(2)
    child = maker.keys.owner_key(town, KEY_ID)
    named = {"name": "Town", "identity_key": town.hex()}

    def cancelled(beneficiary: dict[str, Any], locking_key: bytes) -> Verdict:
        return step(maker, lambda coin: successor.cancel(coin, beneficiary, locking_key))

    admitted(cancelled(named, town), (0,), (0,))
    admitted(cancelled({**named, "key_id": KEY_ID}, child), (0,), (0,))
    admitted(cancelled({"name": "Town"}, maker.key(3)), (0,), (0,))
    refused(cancelled(named, maker.key(3)), "not locked to its beneficiary")
    refused(cancelled(named, child), "not locked to its beneficiary")
    refused(cancelled({**named, "key_id": 5}, child), "not locked to its beneficiary")
    refused(cancelled({**named, "identity_key": "02"}, town), "not a compressed public key")
    refused(cancelled({**named, "identity_key": "zz" * 33}, town), "not a compressed public key")
    refused(cancelled({**named, "identity_key": "02" + "ff" * 32, "key_id": KEY_ID}, child), "not locked")


def test_a_claim_is_the_beneficiarys(maker: Any) -> None:
    coin = successor.cancel(maker.token(), "Town", maker.key(2))
    usurped = replace(successor.claim(coin, maker.key(3)), extras={"beneficiary": "Somebody else"})
    refused(maker.judge([usurped], [coin]), "another beneficiary")


@pytest.mark.parametrize("leaving", [None, {}, {"chain": "solana"}, {"chain": "solana", "address": ""}, "solana"])
def test_a_lock_names_where_to(maker: Any, leaving: Any) -> None:
    locked = replace(
        successor.succeed(maker.token(), maker.bridge.public, status=Status.LOCKED), extras={"exit": leaving}
    )
    refused(maker.judge([locked], [maker.token()]), "chain and address")


@pytest.mark.parametrize(
    ("extra", "lock", "reason"),
    [
        ({}, "other", "known bridge"),
        ({}, "derived", "known bridge"),
        ({"key_id": "wrong"}, "derived", "known bridge"),
        ({"key_id": 7}, "derived", "known bridge"),
        ({"owner": "me"}, "bridge", "exit.owner"),
    ],
)
def test_a_lock_is_the_bridges(maker: Any, extra: dict[str, Any], lock: str, reason: str) -> None:
    locks = {"other": maker.key(3), "derived": maker.bridge_lock(KEY_ID), "bridge": maker.bridge.public}
    leaving = {"chain": "solana", "address": "Addr", **extra}
    refused(step(maker, lambda coin: successor.lock(coin, locks[lock], leaving)), reason)


def test_a_refund_goes_to_the_owner(maker: Any) -> None:
    coin = with_status(maker, Status.LOCKED)
    refused(step(maker, lambda coin: successor.refund(coin, maker.key(3)), coin), "refund")
    leaving = {"chain": "solana", "address": "Addr"}
    unbound = successor.lock(maker.token(), maker.bridge.public, leaving)
    admitted(step(maker, lambda coin: successor.refund(coin, maker.key(3)), unbound), (0,), (0,))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"transaction": ""}, "exit.transaction"),
        ({"transaction": None}, "exit.transaction"),
        ({"chain": "ethereum"}, "exit.chain"),
        ({"address": "Other"}, "exit.address"),
    ],
)
def test_a_completion_names_the_destination(maker: Any, change: dict[str, Any], reason: str) -> None:
    coin = with_status(maker, Status.LOCKED)
    done = successor.complete(coin, "5igs", maker.bridge.public)
    refused(maker.judge([replace(done, extras={"exit": {**done.exit, **change}})], [coin]), reason)


# Rule 4: withdrawal notices


def test_notice(maker: Any) -> None:
    notice = maker.sign_notice(withdraw(maker.token(), Range(1, 10), "metering error", locking_key=maker.key(0)))
    admitted(maker.judge([notice]), (0,))
    admitted(maker.judge([notice], scope=Scope(source="wind", region="DK")), (0,))
    refused(maker.judge([notice], scope=Scope(region="FR")), "not trusted")
    refused(maker.judge([notice], policy=Policy()), "not trusted")
    refused(maker.judge([notice], satoshis=2), "exactly 1")
    refused(maker.judge([replace(notice, range=Range(1, 11))]), "withdrawal notice does not verify")
    refused(maker.judge([maker.sign_notice(notice, PrivateKey.from_int(77))]), "not trusted")


def test_a_spent_notice_stays_as_history(maker: Any) -> None:
    notice = maker.sign_notice(withdraw(maker.token(), Range(1, 10), "metering error", locking_key=maker.key(0)))
    admitted(maker.judge([], [notice]), (), (0,))


# The first tokens, and what is no token


def legacy(maker: Any, maker_key: PrivateKey | None = None) -> LegacyToken:
    from hashlib import sha256

    key = PrivateKey.from_int(4001)
    text = (
        b'{"energyTag":{"certificate_status":"Active","account_id":"","bundle_id_range_start":1,'
        b'"bundle_id_range_end":1,"bundle_quantity":1,"energy_carrier":"","energy_source":"","face_value":1}}'
    )
    signature = (maker_key or key).sign(sha256(text).digest())
    token = read_fields(key.public, [text, signature])
    assert isinstance(token, LegacyToken)
    return token


def test_the_first_tokens(maker: Any) -> None:
    accepting = replace(maker.policy, accept_unissued=True)
    admitted(maker.judge([legacy(maker)], policy=accepting, satoshis=1000), (0,))
    refused(maker.judge([legacy(maker)]), "without issuer")
    refused(maker.judge([legacy(maker)], policy=accepting, scope=Scope(source="solar_pv")), "without issuer")
    refused(maker.judge([legacy(maker, PrivateKey.from_int(5))], policy=accepting), "maker's signature")


def test_a_spent_first_token_leaves_the_topic(maker: Any) -> None:
    admitted(maker.judge([], [legacy(maker)]), (), ())


def test_what_is_no_token_is_ignored_with_its_reason(maker: Any) -> None:
    broken = read_fields(maker.key(0), [b"{}", b"x"])
    view = View(maker.spends, [Placed(0, 1, broken), Placed(1, 1, maker.reread(maker.token(output_index=1)))])
    verdict = judge(view, maker.policy, maker.keys)
    assert verdict.outputs_to_admit == (1,)
    assert verdict.refusals[0].outputs == (0,)


def test_an_issuance_in_every_encoding(maker: Any) -> None:
    """The order and the spacing of the JSON are the maker's own."""
    import json

    token = maker.token()
    fields = encode_fields(token)
    loose = json.dumps(dict(reversed(json.loads(fields[0]).items())), indent=2).encode()
    placed = Placed(0, 1, read_fields(token.locking_key, [loose, *fields[1:]]))
    admitted(judge(View(maker.spends, [placed]), maker.policy, maker.keys), (0,))


def test_scope(maker: Any) -> None:
    solar, wind = maker.token(), maker.token(output_index=1, energy_source="Wind", country_of_issuance="DK")
    assert maker.judge([solar, wind]).outputs_to_admit == (0, 1)
    for scope, outputs in [
        (Scope(source="solar_pv"), (0,)),
        (Scope(source="wind"), (1,)),
        (Scope(region="DE"), (0,)),
        (Scope("wind", "DK"), (1,)),
        (Scope("wind", "DE"), ()),
    ]:
        admitted(maker.judge([solar, wind], scope=scope), outputs)


def test_a_change_of_source_is_refused_in_every_topic(maker: Any) -> None:
    coin = maker.token()
    turned = replace(coin, bundle=coin.bundle.changed(energy_source="wind"))
    refused(maker.judge([turned], [coin]), "immutable")
    refused(maker.judge([turned], [coin], scope=Scope(source="solar_pv")), "made nothing")
    refused(maker.judge([turned], scope=Scope(source="wind")), "signature")


def test_issue_names_what_is_missing(maker: Any) -> None:
    from certificates.errors import TokenMalformed

    with pytest.raises(TokenMalformed, match="account_id is missing"):
        issue({}, Range(1, 1), spends=bytes(36), output_index=0, issuer_key=b"", locking_key=b"")


def test_merge_of_strangers(maker: Any) -> None:
    apart = successor.split(maker.token(), [1, 1, 998], [maker.key(0)] * 3)
    with pytest.raises(ValueError, match="neighbouring"):
        successor.merge([apart[0], apart[2]], maker.key(0))
    with pytest.raises(ValueError, match="neighbouring"):
        successor.merge([apart[0], maker.token(output_index=1)], maker.key(0))


# Coins that have not come yet


def test_a_successor_whose_coin_is_not_here_waits(maker: Any) -> None:
    elsewhere = maker.token(output_index=5)
    moved = successor.transfer(elsewhere, maker.key(1))
    verdict = maker.judge([moved, maker.token(output_index=1)])
    assert (verdict.outputs_to_admit, verdict.waits_for_coins) == ((1,), True)


def test_a_merge_of_which_a_coin_is_not_here_waits(maker: Any) -> None:
    first, second = successor.split(maker.token(), [400, 600], [maker.key(1)] * 2)
    merged = successor.merge([first, second], maker.key(2))
    assert maker.judge([merged], [first]).waits_for_coins
    assert not maker.judge([merged], [first, second]).waits_for_coins


def test_what_no_coin_can_mend_does_not_wait(maker: Any) -> None:
    coin = maker.token()
    stranger = PrivateKey.from_int(77)
    turned = replace(coin, bundle=coin.bundle.changed(device_name="Another"))
    for outputs, coins in [
        ([maker.token(Range(1, 1101))], []),
        ([maker.sign(maker.unsigned(output_index=5), stranger)], []),
        ([maker.token(output_index=5).with_signature(coin.signature)], []),
        ([ranged(coin, 1, 999)], [coin]),
        ([turned], [coin]),
        ([], [coin]),
    ]:
        verdict = maker.judge(outputs, coins)
        assert (verdict.outputs_to_admit, verdict.waits_for_coins) == ((), False)
