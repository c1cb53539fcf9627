"""What judges a bridge campaign finds every way to go wrong, from chains that are made up here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from hashlib import sha256

import pytest
from base58 import b58encode
from solders.hash import Hash
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from bench.bridge_campaign import fails
from bench.bridge_chains import (
    UNITS_A_WH,
    Bsv,
    Certificate,
    Deposit,
    Payment,
    Solana,
    Terms,
    exit_id,
    message_id,
    refund_id,
    token_account,
)
from bench.bridge_check import Booked, Verdict, in_the_end, marker_address, so_far
from bench.bridge_report import Result, report
from bench.bridge_worker import Doom, Kind
from bridge.mirror import message as of_product
from bridge.mirror.states import State
from bridge.programs.release import crossing_marker

BRIDGE, ROGUE = b"\x02" + bytes(32), b"\x03" + bytes(32)
BASE, MINT = Keypair().pubkey(), Keypair().pubkey()
WALLET = str(Keypair().pubkey())
TERMS = Terms(str(MINT), str(Keypair().pubkey()), str(BASE), BRIDGE, bytes(range(32)), bytes(32), "account")
WH = 700


def an_outpoint(number: int, index: int = 0) -> bytes:
    return sha256(number.to_bytes(4, "big")).digest() + index.to_bytes(4, "little")


@dataclass
class World:
    """A deposit that was issued, an exit that was released and withdrawn, and a deposit that was given back."""

    deposits: dict[bytes, Deposit] = field(default_factory=dict)
    payments: list[Payment] = field(default_factory=list)
    certificates: list[Certificate] = field(default_factory=list)
    books: dict[bytes, Booked] = field(default_factory=dict)
    balance: int = 0

    @classmethod
    def sound(cls) -> World:
        world = cls()
        world.deposit(1, WH)
        world.issue(1, WH, spent_by=an_outpoint(12)[:32])
        world.certify(12, "Active", (1, 400))
        world.certify(13, "Locked", (401, WH), spent_by=an_outpoint(14)[:32], leaving=WALLET)
        # The split that made them is of one transaction; the lock is its second output.
        world.certificates[-1] = replace(world.certificates[-1], outpoint=an_outpoint(12, 1))
        world.certify(14, "Withdrawn", (401, WH))
        world.release(world.certificates[2], 300)
        world.deposit(2, 50)
        world.refund(2)
        world.balance = 400 * UNITS_A_WH
        return world

    def deposit(self, number: int, wh: int) -> None:
        message = bytes([number]) * 32
        self.deposits[message] = Deposit(message, f"s{number}", wh * UNITS_A_WH, f"source{number}", "account")
        self.books[message] = Booked("RECEIPTED", None)

    def issue(self, number: int, wh: int, *, spent_by: bytes | None = None, at: int = 11) -> None:
        self.certify(at, "Active", (1, wh), spent_by=spent_by, is_issuance=True, origin=bytes([number]) * 32)

    def certify(
        self,
        at: int,
        status: str,
        numbers: tuple[int, int],
        *,
        spent_by: bytes | None = None,
        leaving: str | None = None,
        is_issuance: bool = False,
        origin: bytes = bytes([1]) * 32,
        issuer: bytes = BRIDGE,
    ) -> None:
        start, stop = numbers
        self.certificates.append(
            Certificate(
                an_outpoint(at),
                issuer,
                b"",
                "issuance",
                start,
                stop,
                stop - start + 1,
                is_issuance,
                status,
                origin.hex(),
                None if leaving is None else {"chain": "solana", "address": leaving},
                spent_by,
            )
        )

    def release(self, lock: Certificate, wh: int) -> None:
        marker = marker_address(TERMS, exit_id(TERMS, lock))
        account = token_account(lock.exit["address"], TERMS.mint)
        self.payments.append(Payment("r", marker, account, wh * UNITS_A_WH))
        self.books[exit_id(TERMS, lock)] = Booked("RECEIPTED", None)

    def refund(self, number: int) -> None:
        message = bytes([number]) * 32
        deposit = self.deposits[message]
        marker = marker_address(TERMS, refund_id(message))
        self.payments.append(Payment("b", marker, deposit.source or "", deposit.units))
        self.books[message] = Booked("REFUNDED", None)

    @property
    def lock(self) -> Certificate:
        return self.certificates[2]

    def judged(self, terms: Terms = TERMS) -> Verdict:
        bsv = Bsv({each.outpoint: each for each in self.certificates})
        for each in self.certificates:
            bsv.made_by[each.outpoint[:32]].append(each.outpoint)
        solana = Solana(self.deposits, tuple(self.payments), self.balance)
        verdict = Verdict()
        so_far(verdict, terms, bsv, solana, bsv)
        in_the_end(verdict, terms, bsv, solana, self.books)
        return verdict


def test_a_sound_world_is_exact() -> None:
    verdict = World.sound().judged()
    assert verdict.is_exact, verdict.faults
    assert (verdict.issued, verdict.released, verdict.refunded_in, verdict.live_wh) == (1, 1, 1, 400)


def issued_from_nothing(world: World) -> None:
    world.certify(21, "Active", (1, 5), is_issuance=True, origin=bytes(32))


def issued_twice(world: World) -> None:
    world.issue(1, WH, at=22)


def issued_wrong(world: World) -> None:
    world.certificates[0] = replace(world.certificates[0], wh=WH + 1)


def issued_and_refunded(world: World) -> None:
    world.refund(1)


def refunded_wrong(world: World) -> None:
    world.payments[-1] = replace(world.payments[-1], destination="a thief's")


def lost(world: World) -> None:
    world.deposit(3, 20)
    world.balance += 20 * UNITS_A_WH


def released_twice(world: World) -> None:
    world.payments.append(replace(world.payments[0], signature="again"))


def released_for_nothing(world: World) -> None:
    world.payments.append(Payment("r", str(Keypair().pubkey()), "x", 5))


def released_without_a_marker(world: World) -> None:
    world.payments[0] = replace(world.payments[0], marker=None)


def released_for_a_rogue(world: World) -> None:
    world.certificates[2] = replace(world.lock, issuer=ROGUE)


def released_to_another(world: World) -> None:
    world.payments[0] = replace(world.payments[0], destination="a thief's")


def released_too_much(world: World) -> None:
    world.payments[0] = replace(world.payments[0], units=world.payments[0].units + 1)


def not_withdrawn(world: World) -> None:
    world.certificates[3] = replace(world.certificates[3], status="Active")


def withdrawn_for_nothing(world: World) -> None:
    del world.payments[0]


def a_lock_forgotten(world: World) -> None:
    world.certify(31, "Locked", (401, 500), leaving=WALLET)


def custody_short(world: World) -> None:
    world.balance -= 1


def not_ended(world: World) -> None:
    world.books[bytes([1]) * 32] = Booked("DST_SENT", None)


def held_for_no_reason(world: World) -> None:
    world.books[bytes([9]) * 32] = Booked("HELD", None)


@pytest.mark.parametrize(
    ("go_wrong", "kind"),
    [
        (issued_from_nothing, "issued from nothing"),
        (issued_twice, "issued twice"),
        (issued_wrong, "issued wrong"),
        (issued_and_refunded, "issued and refunded"),
        (refunded_wrong, "refunded wrong"),
        (lost, "lost"),
        (released_twice, "released twice"),
        (released_for_nothing, "released for nothing"),
        (released_without_a_marker, "released for nothing"),
        (released_for_a_rogue, "released for a rogue"),
        (released_to_another, "released wrong"),
        (released_too_much, "released wrong"),
        (not_withdrawn, "released, not withdrawn"),
        (withdrawn_for_nothing, "withdrawn, not released"),
        (a_lock_forgotten, "unfinished"),
        (custody_short, "parity"),
        (not_ended, "not ended"),
        (held_for_no_reason, "held without a reason"),
    ],
)
def test_each_fault_is_found(go_wrong: Callable[[World], None], kind: str) -> None:
    world = World.sound()
    go_wrong(world)
    verdict = world.judged()
    assert verdict.kinds[kind], verdict.faults


def test_releases_without_markers_are_told_by_what_their_memos_name() -> None:
    terms = replace(TERMS, has_markers=False)
    world = World.sound()
    lock = world.lock
    name = f"{lock.outpoint[:32][::-1].hex()}.{int.from_bytes(lock.outpoint[32:], 'little')}"
    given_back = b58encode(bytes([2]) * 32).decode()
    world.payments = [
        replace(each, marker=None, named=named)
        for each, named in zip(world.payments, (name, given_back), strict=True)
    ]
    assert world.judged(terms).is_exact
    world.payments.append(world.payments[0])
    assert world.judged(terms).kinds["released twice"]


def test_what_is_held_waits_in_custody() -> None:
    world = World.sound()
    world.deposit(3, 20)
    world.books[bytes([3]) * 32] = Booked("HELD", "dust")
    world.balance += 20 * UNITS_A_WH
    verdict = world.judged()
    assert verdict.is_exact, verdict.faults
    assert verdict.holds == {"dust": 1}


def test_ids_and_markers_are_the_bridges_own() -> None:
    """Computed twice, by code that has nothing in common."""
    parts = (b"genesis", b"asset", b"event", b"other", b"recipient")
    names = ("src_genesis", "src_asset", "src_event", "dst_genesis", "dst_recipient")
    of_bridge = of_product.message_id(**dict(zip(names, parts, strict=True)), units=77)
    assert message_id(parts, 77) == of_bridge
    assert refund_id(of_bridge) == of_product.refund_id(of_bridge)
    genesis = Hash(TERMS.solana_genesis)
    assert marker_address(TERMS, of_bridge) == str(crossing_marker(genesis, MINT, BASE, of_bridge)[1])
    assert token_account(WALLET, str(MINT)) != WALLET
    assert b58encode(bytes(Pubkey.from_string(WALLET))).decode() == WALLET


def test_only_what_must_be_exact_must_be_and_the_others_must_not() -> None:
    exact, faulty = Verdict(), Verdict()
    faulty.fault("parity", "off by one")

    def result(kind: Kind, verdict: Verdict) -> Result:
        return Result(kind, 1, verdict, Counter(), Counter(), Counter(), 1.0)

    assert fails([result(Kind.REAL, exact), result(Kind.UNMARKED, faulty)]) == []
    assert fails([result(Kind.REAL, faulty)])
    assert fails([result(Kind.UNACCOUNTED, exact)])
    assert "**no**" in report([result(Kind.REAL, faulty)])


def test_a_doom_is_a_step_a_state_and_a_number() -> None:
    doom = Doom.parse("before:DST_SIGNED:3")
    assert (doom.when, doom.state, doom.time) == ("before", State.DST_SIGNED, 3)
