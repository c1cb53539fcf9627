"""What an account does with certificates that exist, on the real engine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from certificates.lifecycle import Status
from certificates.ranges import Range
from config.errors import Unavailable
from config.settings import Settings
from energytag.actions import Action, Kind, State, new_id
from energytag.holdings import find, load
from energytag.plan import Holding, Scene
from energytag.records import ACCOUNTS, ACTIONS, INTERVALS
from lookup.filters import Filters
from overlay.keys import PrivateKey, derive_for_anyone
from store.port import Insert, Put
from store.sqlite import SqliteStore
from tests.energytag.kit import ACCOUNT, DEVICE, OTHER_ACCOUNT, RegistryNode, account_row, moment, readings
from tests.overlay.kit import Chain, Clock

USER = "11111111-2222-4333-8444-555555555555"
THIRD_ACCOUNT = "0b7cdd5c-2b0c-4d0e-9d1b-6f6f8a3d9d13"
OUTSIDER = PrivateKey.from_int(4242)


def body(source: str = ACCOUNT, /, **fields: Any) -> dict[str, Any]:
    return {"source_account_id": source, "source_user_id": USER} | fields


async def held(registry: RegistryNode, account_id: str = ACCOUNT) -> list[Holding]:
    """What stands in an account, the earliest production first."""
    filters = Filters({"account_id": (account_id,)})
    found = await find(registry.store, filters, registry.clock.now_ms // 1000, 1000)
    return sorted(found, key=lambda each: (each.record["period_start"], each.record["range_start"]))


async def parts(registry: RegistryNode, account_id: str = ACCOUNT) -> list[tuple[int, int, str]]:
    """First and last number and the token's status of what stands in an account."""
    return [(*each.token.bundle.range, each.token.bundle.status.value) for each in await held(registry, account_id)]


async def refused(registry: RegistryNode, kind: Kind, request: dict[str, Any]) -> str:
    """The code that an action was rejected with; nothing may have changed."""
    before = await parts(registry), await parts(registry, OTHER_ACCOUNT)
    action = (await registry.act(kind, request)).action
    assert action.state is State.REJECTED, action.result
    assert action.error is not None
    assert (await parts(registry), await parts(registry, OTHER_ACCOUNT)) == before
    return action.error["code"]


# Transfer and split


async def test_a_transfer_by_quantity_takes_the_earliest_and_splits_the_last(registry: RegistryNode) -> None:
    await registry.issue(0, 3)
    outcome = await registry.resolved(
        Kind.TRANSFER, body(certificate_quantity=1500, target_account_id=OTHER_ACCOUNT)
    )
    assert await parts(registry, OTHER_ACCOUNT) == [(1, 1000, "Active"), (1001, 1500, "Active")]
    assert await parts(registry) == [(1501, 2000, "Active"), (2001, 3000, "Active")]
    result = outcome.action.result
    assert (result["bundles"], result["quantity"], result["energy_wh"]) == (2, 1500, 1500)
    assert len(result["issuance_ids"]) == 2
    assert len(outcome.action.txids) == 1


async def test_a_range_cuts_a_bundle_at_both_ends(registry: RegistryNode) -> None:
    await registry.issue(0, 1)
    issuance_id = (await held(registry))[0].token.issuance_id
    await registry.resolved(
        Kind.TRANSFER,
        body(
            target_account_id=OTHER_ACCOUNT,
            source_certificate_issuance_id=issuance_id,
            source_certificate_bundle_id_range_start=101,
            source_certificate_bundle_id_range_end=200,
        ),
    )
    assert await parts(registry, OTHER_ACCOUNT) == [(101, 200, "Active")]
    assert await parts(registry) == [(1, 100, "Active"), (201, 1000, "Active")]


async def test_the_sparse_list_names_hours_of_devices(registry: RegistryNode) -> None:
    await registry.issue(0, 3)
    request = body(sparse_filter_list={DEVICE: moment(1.5)}, target_account_id=OTHER_ACCOUNT)
    await registry.resolved(Kind.TRANSFER, request)
    assert await parts(registry, OTHER_ACCOUNT) == [(1001, 2000, "Active")]


async def test_a_period_and_sources_choose(registry: RegistryNode) -> None:
    await registry.issue(0, 4)
    request = body(
        certificate_period_start=moment(1),
        certificate_period_end=moment(3),
        energy_source=["wind", "Solar PV"],
        target_account_id=OTHER_ACCOUNT,
    )
    await registry.resolved(Kind.TRANSFER, request)
    assert await parts(registry, OTHER_ACCOUNT) == [(1001, 2000, "Active"), (2001, 3000, "Active")]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({}, "ERR_INVALID_FIELD"),
        ({"target_account_id": ACCOUNT}, "ERR_INVALID_FIELD"),
        ({"target_account_id": USER}, "ERR_ACCOUNT_UNKNOWN"),
        ({"source_account_id": USER, "target_account_id": ACCOUNT}, "ERR_ACCOUNT_UNKNOWN"),
        ({"target_account_id": THIRD_ACCOUNT}, "ERR_NOT_WHITELISTED"),
        ({"target_account_id": OTHER_ACCOUNT, "certificate_quantity": 2001}, "ERR_QUANTITY_LACKING"),
        ({"target_account_id": OTHER_ACCOUNT, "energy_source": ["wind"]}, "ERR_NOTHING_SELECTED"),
        ({"target_account_id": OTHER_ACCOUNT, "certificate_status": "Cancelled"}, "ERR_STATUS_FORBIDS"),
        ({"source_account_id": OTHER_ACCOUNT, "target_account_id": ACCOUNT}, "ERR_NOTHING_SELECTED"),
    ],
)
async def test_transfers_that_are_refused(registry: RegistryNode, fields: dict[str, Any], code: str) -> None:
    await registry.issue(0, 2)
    await registry.store.commit([Put(ACCOUNTS, account_row(THIRD_ACCOUNT, whitelist=[OTHER_ACCOUNT]))])
    assert await refused(registry, Kind.TRANSFER, body() | fields) == code


async def test_a_whitelist_lets_in_those_it_lists(registry: RegistryNode) -> None:
    await registry.issue(0, 1)
    await registry.store.commit([Put(ACCOUNTS, account_row(THIRD_ACCOUNT, whitelist=[ACCOUNT]))])
    await registry.resolved(Kind.TRANSFER, body(target_account_id=THIRD_ACCOUNT))
    assert await parts(registry, THIRD_ACCOUNT) == [(1, 1000, "Active")]


async def test_what_was_received_can_be_passed_on(registry: RegistryNode) -> None:
    await registry.issue(0, 1)
    await registry.resolved(Kind.TRANSFER, body(target_account_id=OTHER_ACCOUNT, certificate_quantity=400))
    await registry.resolved(Kind.TRANSFER, body(OTHER_ACCOUNT, target_account_id=ACCOUNT, certificate_quantity=100))
    assert await parts(registry) == [(1, 100, "Active"), (401, 1000, "Active")]
    assert await parts(registry, OTHER_ACCOUNT) == [(101, 400, "Active")]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"sizes": [100, 200]}, [(1, 100), (101, 300), (301, 1000)]),
        ({"sizes": [400, 600]}, [(1, 400), (401, 1000)]),
        ({"certificate_quantity": 10}, [(1, 10), (11, 1000)]),
        ({"certificate_quantity": 10, "sizes": [4]}, [(1, 4), (5, 10), (11, 1000)]),
    ],
)
async def test_a_split_stays_in_the_account(
    registry: RegistryNode, fields: dict[str, Any], expected: list[tuple[int, int]]
) -> None:
    await registry.issue(0, 1)
    await registry.resolved(Kind.SPLIT, body(**fields))
    assert await parts(registry) == [(*each, "Active") for each in expected]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({}, "ERR_RANGE_INVALID"),
        ({"sizes": [1000], "certificate_quantity": 1000}, "ERR_RANGE_INVALID"),
        ({"sizes": [1]}, "ERR_RANGE_INVALID"),
        ({"sizes": [1] * 100, "certificate_quantity": 1000}, "ERR_RANGE_INVALID"),
        ({"sizes": [600, 401], "certificate_quantity": 1000}, "ERR_QUANTITY_LACKING"),
        ({"certificate_quantity": 2000}, "ERR_RANGE_INVALID"),
    ],
)
async def test_splits_that_are_refused(registry: RegistryNode, fields: dict[str, Any], code: str) -> None:
    await registry.issue(0, 2)
    assert await refused(registry, Kind.SPLIT, body(**fields)) == code


# Cancel and claim


async def test_the_holder_is_the_beneficiary_unless_another_is_named(registry: RegistryNode) -> None:
    await registry.issue(0, 1)
    await registry.resolved(Kind.CANCEL, body(certificate_quantity=300))
    cancelled = (await held(registry))[0]
    key = registry.keyring.account(ACCOUNT).public
    beneficiary = cancelled.token.beneficiary
    assert beneficiary == {"name": "Account 11", "identity_key": key.hex(), "key_id": cancelled.key_id}
    assert cancelled.sender == b"anyone"
    assert cancelled.token.locking_key == derive_for_anyone(key, (1, "metawatt gc"), beneficiary["key_id"])
    await registry.resolved(Kind.CLAIM, body())
    assert await parts(registry) == [(1, 300, "Claimed"), (301, 1000, "Active")]
    assert (await held(registry))[0].token.beneficiary == beneficiary


@pytest.mark.parametrize("named", [OTHER_ACCOUNT, OTHER_ACCOUNT.upper(), "Account 12"])
async def test_an_account_is_named_by_id_or_exact_name(registry: RegistryNode, named: str) -> None:
    await registry.issue(0, 1)
    await registry.resolved(Kind.CANCEL, body(certificate_quantity=300, beneficiary=named))
    assert await parts(registry) == [(301, 1000, "Active")]
    assert await parts(registry, OTHER_ACCOUNT) == [(1, 300, "Cancelled")]
    await registry.resolved(Kind.CLAIM, body(OTHER_ACCOUNT))
    assert await parts(registry, OTHER_ACCOUNT) == [(1, 300, "Claimed")]


async def test_a_key_outside_is_locked_to(registry: RegistryNode) -> None:
    await registry.issue(0, 1)
    await registry.resolved(Kind.CANCEL, body(beneficiary=OUTSIDER.public.hex(), certificate_quantity=10))
    token = (await held(registry))[0].token
    assert token.beneficiary["identity_key"] == OUTSIDER.public.hex()
    key = OUTSIDER.derive((1, "metawatt gc"), token.beneficiary["key_id"], "anyone")
    assert token.locking_key == key.public
    assert await refused(registry, Kind.CLAIM, body()) == "ERR_NOT_BENEFICIARY"


async def test_a_mere_name_can_claim_nothing(registry: RegistryNode) -> None:
    await registry.issue(0, 1)
    await registry.resolved(Kind.CANCEL, body(beneficiary="Stadtwerke Süd"))
    assert (await held(registry))[0].token.beneficiary == "Stadtwerke Süd"
    assert await parts(registry) == [(1, 1000, "Cancelled")]
    assert await refused(registry, Kind.CLAIM, body()) == "ERR_NOT_BENEFICIARY"


async def test_only_the_beneficiary_claims(registry: RegistryNode) -> None:
    await registry.issue(0, 1)
    issuance_id = (await held(registry))[0].token.issuance_id
    await registry.resolved(Kind.CANCEL, body(beneficiary=OTHER_ACCOUNT))
    by_id = body(source_certificate_issuance_id=issuance_id)
    assert await refused(registry, Kind.CLAIM, by_id) == "ERR_NOT_BENEFICIARY"
    assert await refused(registry, Kind.CLAIM, body()) == "ERR_NOTHING_SELECTED"


@pytest.mark.parametrize(
    ("beneficiary", "code"),
    [
        (USER, "ERR_ACCOUNT_UNKNOWN"),
        ("02" + "ff" * 32, "ERR_INVALID_FIELD"),
        ("Account 13", "ERR_INVALID_FIELD"),
    ],
)
async def test_beneficiaries_that_cannot_be(registry: RegistryNode, beneficiary: str, code: str) -> None:
    await registry.issue(0, 1)
    twin = "0b7cdd5c-2b0c-4d0e-9d1b-6f6f8a3d9e13"
    await registry.store.commit([Put(ACCOUNTS, account_row(each)) for each in (THIRD_ACCOUNT, twin)])
    assert await refused(registry, Kind.CANCEL, body(beneficiary=beneficiary)) == code


async def test_a_cancelled_bundle_is_claimed_whole(registry: RegistryNode) -> None:
    await registry.issue(0, 1)
    await registry.resolved(Kind.CANCEL, body(certificate_quantity=300))
    assert await refused(registry, Kind.CLAIM, body(certificate_quantity=299)) == "ERR_STATUS_FORBIDS"


async def test_a_cancellation_is_claimed_after_a_wallet_was_bound_to_the_account(registry: RegistryNode) -> None:
    await registry.issue(0, 1)
    await registry.resolved(Kind.CANCEL, body())
    await registry.store.commit([Put(ACCOUNTS, account_row(ACCOUNT, identity_key=OUTSIDER.public))])
    await registry.resolved(Kind.CLAIM, body())
    claimed = (await held(registry))[0]
    assert claimed.token.bundle.status is Status.CLAIMED
    assert claimed.key_id is None


async def test_what_is_in_a_users_wallet_awaits_its_signature(registry: RegistryNode) -> None:
    await registry.issue(0, 2)
    await registry.store.commit([Put(ACCOUNTS, account_row(OTHER_ACCOUNT, identity_key=OUTSIDER.public))])
    await registry.resolved(Kind.TRANSFER, body(target_account_id=OTHER_ACCOUNT, certificate_quantity=1500))
    request = body(OTHER_ACCOUNT, certificate_quantity=1200, beneficiary="Stadtwerke Süd")
    action = (await registry.act(Kind.CANCEL, request)).action
    assert action.awaits_signature
    assert action.memo is not None
    assert [each[1:] for each in action.memo["picked"]] == [[1, 1000], [1001, 1200]]
    assert len(action.memo["prepared"]["inputs"]) == 2
    assert len(action.memo["prepared"]["outputs"]) == 3
    assert await parts(registry, OTHER_ACCOUNT) == [(1, 1000, "Active"), (1001, 1500, "Active")]


# Reserve, release, lock, unlock


async def test_a_reservation_names_the_registry_and_can_be_released(registry: RegistryNode) -> None:
    await registry.issue(0, 1)
    await registry.resolved(Kind.RESERVE, body(certificate_quantity=600, target_registry="GO registry"))
    reserved = (await held(registry))[0].token
    assert reserved.extras["reservation"] == {"target_registry": "GO registry"}
    assert await parts(registry) == [(1, 600, "Reserved"), (601, 1000, "Active")]
    assert await refused(registry, Kind.RELEASE, body(certificate_quantity=1)) == "ERR_STATUS_FORBIDS"
    await registry.resolved(Kind.RELEASE, body())
    assert await parts(registry) == [(1, 600, "Active"), (601, 1000, "Active")]
    assert "reservation" not in (await held(registry))[0].token.extras


async def test_what_is_reserved_can_be_cancelled(registry: RegistryNode) -> None:
    await registry.issue(0, 1)
    await registry.resolved(Kind.RESERVE, body(certificate_quantity=600))
    await registry.resolved(Kind.CANCEL, body(certificate_status="Reserved"))
    assert await parts(registry) == [(1, 600, "Cancelled"), (601, 1000, "Active")]


@pytest.fixture
async def bridge(tmp_path: Path, chain: Chain, clock: Clock) -> AsyncIterator[RegistryNode]:
    """A registry whose node is a bridge, and that knows another one."""
    keys = [chain.issuer.public.hex(), OUTSIDER.public.hex()]
    settings = Settings.model_validate({"topics": {"bridge_keys": keys}, "bridge": {"enabled": False}})
    made = RegistryNode(chain, SqliteStore(tmp_path / "node.db", cache_mib=4), clock, settings)
    await made.open()
    await made.populate()
    yield made
    await made.close()


EXIT = {"chain": "solana", "address": "9xQeWvG816bUx9EPjHmaT23yvVM2ZWbrrpZb9PusVFin"}


async def test_a_certificate_is_locked_to_a_bridge_and_comes_back(bridge: RegistryNode) -> None:
    await bridge.issue(0, 1)
    request = body(certificate_quantity=250, exit=EXIT, bridge=bridge.chain.issuer.public.hex())
    await bridge.resolved(Kind.LOCK, request)
    assert await parts(bridge) == [(1, 250, "Locked"), (251, 1000, "Active")]
    locked = (await held(bridge))[0].token
    assert locked.exit.items() >= EXIT.items()
    assert await refused(bridge, Kind.CANCEL, body(certificate_status="Locked")) == "ERR_STATUS_FORBIDS"
    await bridge.resolved(Kind.UNLOCK, body())
    assert await parts(bridge) == [(1, 250, "Active"), (251, 1000, "Active")]
    await bridge.resolved(Kind.TRANSFER, body(target_account_id=OTHER_ACCOUNT))


async def test_another_bridge_gives_back_itself(bridge: RegistryNode) -> None:
    await bridge.issue(0, 1)
    await bridge.resolved(Kind.LOCK, body(exit=EXIT, bridge=OUTSIDER.public.hex()))
    assert await refused(bridge, Kind.UNLOCK, body()) == "ERR_STATUS_FORBIDS"


async def test_a_node_that_mirrors_gives_nothing_back_of_its_own_accord(registry: RegistryNode) -> None:
    await registry.issue(0, 1)
    await registry.resolved(Kind.LOCK, body(certificate_quantity=250, exit=EXIT))
    assert await refused(registry, Kind.UNLOCK, body()) == "ERR_STATUS_FORBIDS"
    assert await parts(registry) == [(1, 250, "Locked"), (251, 1000, "Active")]


@pytest.mark.parametrize("fields", [{}, {"bridge": PrivateKey.from_int(7).public.hex()}])
async def test_a_bridge_has_to_be_known_and_named(bridge: RegistryNode, fields: dict[str, Any]) -> None:
    await bridge.issue(0, 1)
    assert await refused(bridge, Kind.LOCK, body(exit=EXIT, **fields)) == "ERR_INVALID_FIELD"


# Withdraw


async def intervals(registry: RegistryNode) -> int:
    return await registry.store.count(INTERVALS)


async def test_what_is_withdrawn_whole_can_be_issued_again(registry: RegistryNode) -> None:
    await registry.issue(0, 2)
    first = (await held(registry))[0].token.issuance_id
    outcome = await registry.resolved(
        Kind.WITHDRAW, body(source_certificate_issuance_id=first, reason="meter fault")
    )
    assert outcome.action.result["reason"] == "meter fault"
    assert outcome.action.result["quantity"] == 1000
    assert await intervals(registry) == 1
    assert await refused(registry, Kind.CANCEL, body(source_certificate_issuance_id=first)) == "ERR_STATUS_FORBIDS"
    assert await refused(registry, Kind.WITHDRAW, body(source_certificate_issuance_id=first)) == (
        "ERR_STATUS_FORBIDS"
    )
    await registry.issue(0, 1, energy_wh=900)
    assert (2001, 2900, "Active") in await parts(registry)


async def test_an_interval_withdrawn_in_parts_is_free_after_the_last(registry: RegistryNode) -> None:
    await registry.issue(0, 1)
    await registry.resolved(Kind.TRANSFER, body(target_account_id=OTHER_ACCOUNT, certificate_quantity=400))
    await registry.resolved(Kind.WITHDRAW, body(certificate_quantity=100))
    await registry.resolved(Kind.WITHDRAW, body(OTHER_ACCOUNT))
    assert await intervals(registry) == 1
    twice = await registry.act(Kind.CREATE_MANY, {"device_id": DEVICE, "readings": readings(0, 1)})
    assert twice.action.error["code"] == "ERR_ISSUED_TWICE"
    outcome = await registry.resolved(Kind.WITHDRAW, body())
    assert outcome.action.result["quantity"] == 500
    assert await intervals(registry) == 0
    await registry.issue(0, 1)


async def test_parts_withdrawn_at_once_free_the_interval(registry: RegistryNode) -> None:
    from asyncio import gather

    await registry.issue(0, 1)
    await registry.resolved(Kind.TRANSFER, body(target_account_id=OTHER_ACCOUNT, certificate_quantity=400))
    await gather(registry.resolved(Kind.WITHDRAW, body()), registry.resolved(Kind.WITHDRAW, body(OTHER_ACCOUNT)))
    assert await intervals(registry) == 0


async def test_what_a_notice_leaves_of_a_coin_can_be_moved(registry: RegistryNode) -> None:
    await registry.issue(0, 1)
    await registry.resolved(Kind.WITHDRAW, body(certificate_quantity=100))
    assert await refused(
        registry, Kind.TRANSFER, body(target_account_id=OTHER_ACCOUNT, certificate_quantity=901)
    ) == ("ERR_QUANTITY_LACKING")
    await registry.resolved(Kind.TRANSFER, body(target_account_id=OTHER_ACCOUNT, certificate_quantity=50))
    await registry.resolved(Kind.RESERVE, body())
    assert await parts(registry, OTHER_ACCOUNT) == [(101, 150, "Active")]
    assert await parts(registry) == [(1, 100, "Active"), (151, 1000, "Reserved")]


async def test_a_reserved_coin_goes_on_without_what_was_withdrawn(registry: RegistryNode) -> None:
    await registry.issue(0, 1)
    await registry.resolved(Kind.RESERVE, body())
    await registry.resolved(Kind.WITHDRAW, body(certificate_quantity=100))
    await registry.resolved(Kind.CANCEL, body())
    assert await parts(registry) == [(1, 100, "Active"), (101, 1000, "Cancelled")]
    assert await refused(registry, Kind.TRANSFER, body(target_account_id=OTHER_ACCOUNT)) == "ERR_STATUS_FORBIDS"


async def test_a_whole_issuance_is_withdrawn_wherever_it_is(registry: RegistryNode) -> None:
    await registry.issue(0, 1)
    issuance_id = (await held(registry))[0].token.issuance_id
    await registry.resolved(Kind.TRANSFER, body(target_account_id=OTHER_ACCOUNT, certificate_quantity=400))
    await registry.resolved(Kind.RESERVE, body(certificate_quantity=50))
    request = body(source_certificate_issuance_id=issuance_id, whole_issuance=True)
    outcome = await registry.resolved(Kind.WITHDRAW, request)
    assert outcome.action.result["quantity"] == 1000
    assert await intervals(registry) == 0
    assert len(outcome.made) == 1


async def test_a_whole_issuance_stands_when_some_of_it_is_cancelled(registry: RegistryNode) -> None:
    await registry.issue(0, 1)
    issuance_id = (await held(registry))[0].token.issuance_id
    await registry.resolved(Kind.CANCEL, body(beneficiary=OTHER_ACCOUNT, certificate_quantity=1))
    request = body(source_certificate_issuance_id=issuance_id, whole_issuance=True)
    assert await refused(registry, Kind.WITHDRAW, request) == "ERR_STATUS_FORBIDS"


# Update mutables


@pytest.mark.parametrize(
    ("fields", "source", "target"),
    [
        ({"account_id": OTHER_ACCOUNT}, [], [(1, 1000, "Active")]),
        ({"account_id": OTHER_ACCOUNT, "certificate_status": "Active"}, [], [(1, 1000, "Active")]),
        ({"certificate_status": "Reserved"}, [(1, 1000, "Reserved")], []),
        ({"certificate_status": "Cancelled"}, [(1, 1000, "Cancelled")], []),
        ({"certificate_status": "Withdrawn"}, [(1, 1000, "Active")], []),
    ],
)
async def test_an_update_is_the_action_that_it_amounts_to(
    registry: RegistryNode,
    fields: dict[str, Any],
    source: list[tuple[int, int, str]],
    target: list[tuple[int, int, str]],
) -> None:
    await registry.issue(0, 1)
    await registry.resolved(Kind.UPDATE_MUTABLES, body(**fields))
    assert await parts(registry) == source
    assert await parts(registry, OTHER_ACCOUNT) == target


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({}, "ERR_INVALID_FIELD"),
        ({"certificate_status": "Active"}, "ERR_STATUS_FORBIDS"),
        ({"certificate_status": "Claimed"}, "ERR_STATUS_FORBIDS"),
        ({"certificate_status": "Locked"}, "ERR_STATUS_FORBIDS"),
        ({"certificate_status": "Expired"}, "ERR_STATUS_FORBIDS"),
        ({"certificate_status": "Cancelled", "account_id": OTHER_ACCOUNT}, "ERR_STATUS_FORBIDS"),
    ],
)
async def test_updates_that_are_refused(registry: RegistryNode, fields: dict[str, Any], code: str) -> None:
    await registry.issue(0, 1)
    assert await refused(registry, Kind.UPDATE_MUTABLES, body(**fields)) == code


# Many, again, and elsewhere


async def test_many_bundles_move_in_several_transactions(registry: RegistryNode) -> None:
    await registry.issue(0, 250)
    outcome = await registry.resolved(
        Kind.TRANSFER, body(target_account_id=OTHER_ACCOUNT, certificate_quantity=249_500)
    )
    assert len(outcome.action.txids) == 3
    assert sum(each.token.bundle.quantity for each in await held(registry, OTHER_ACCOUNT)) == 249_500
    assert await parts(registry) == [(249_501, 250_000, "Active")]


async def test_no_more_bundles_than_one_action_may_move(registry: RegistryNode) -> None:
    registry.settings.registry.__dict__["bundles_per_action"] = 20
    await registry.issue(0, 20)
    await registry.issue(20, 1)
    target = {"target_account_id": OTHER_ACCOUNT}
    assert await refused(registry, Kind.TRANSFER, body(**target)) == "ERR_INVALID_FIELD"
    assert await refused(registry, Kind.TRANSFER, body(certificate_quantity=20_001, **target)) == (
        "ERR_INVALID_FIELD"
    )
    await registry.resolved(Kind.TRANSFER, body(certificate_quantity=20_000, **target))


async def test_a_plan_is_made_again_from_its_memo(registry: RegistryNode) -> None:
    """Between two transactions of one action, some of its coins are spent and the rest are not."""
    await registry.issue(0, 3)
    handler = registry.registry.queue.handler(Kind.CANCEL)
    action = Action(new_id(0), 1, Kind.CANCEL, body(certificate_quantity=2500), 0, None, ACCOUNT)
    plan = await handler.plan(action, Scene(registry.store, registry.clock.now_ms))
    await registry.resolved(Kind.CANCEL, body(certificate_quantity=1000))
    again = await handler.plan(action.decided(plan.memo), Scene(registry.store, registry.clock.now_ms))
    assert [each.holding.outpoint for each in again.pieces] == [each.holding.outpoint for each in plan.pieces]
    assert [each.outputs for each in again.pieces] == [each.outputs for each in plan.pieces] == [1, 1, 2]
    assert (again.memo, again.result, again.touches) == (plan.memo, plan.result, plan.touches)


async def test_an_action_goes_on_after_a_crash_between_its_transactions(registry: RegistryNode) -> None:
    await registry.issue(0, 150)
    request = body(target_account_id=OTHER_ACCOUNT)
    now_ms = registry.clock.now_ms
    action = Action(new_id(now_ms), 10**15, Kind.TRANSFER, request, now_ms, None, ACCOUNT)
    plan = await registry.registry.queue.handler(Kind.TRANSFER).plan(action, Scene(registry.store, now_ms))
    await registry.registry.stop()
    await registry.store.commit([Insert(ACTIONS, action.decided(plan.memo).document())])
    await registry.registry.start()
    outcome = await registry.registry.queue.outcome(action.action_id)
    assert outcome.action.state is State.RESOLVED
    assert await parts(registry) == []
    assert len(await held(registry, OTHER_ACCOUNT)) == 150


async def test_what_is_done_is_not_done_again_when_the_rest_failed(registry: RegistryNode) -> None:
    await registry.issue(0, 250)
    sender, sent = registry.registry.sender, []
    send = sender.send

    async def failing(run: Any, alongside: Any) -> Any:
        sent.append(run)
        if len(sent) == 2:
            raise Unavailable("the line is down")
        return await send(run, alongside)

    sender.send = failing  # type: ignore[method-assign]
    outcome = await registry.resolved(Kind.TRANSFER, body(target_account_id=OTHER_ACCOUNT))
    assert [run.outputs for run in sent] == [100, 100, 50, 100]
    assert len(outcome.action.txids) == 3
    assert await parts(registry) == []
    assert len(await held(registry, OTHER_ACCOUNT)) == 250


async def test_what_only_claims_to_stand_in_an_account_is_not_taken(registry: RegistryNode) -> None:
    await registry.issue(0, 1)
    transaction, _ = await registry.chain.issue((500,), account_id=ACCOUNT)
    await registry.node.submit(transaction)
    foreign = [each for each in await held(registry) if each.key_id is None]
    assert [each.token.bundle.quantity for each in foreign] == [500]
    await registry.resolved(Kind.TRANSFER, body(target_account_id=OTHER_ACCOUNT))
    assert await parts(registry, OTHER_ACCOUNT) == [(1, 1000, "Active")]
    assert await refused(registry, Kind.TRANSFER, body(target_account_id=OTHER_ACCOUNT)) == "ERR_STATUS_FORBIDS"


async def test_holdings_come_in_the_order_asked_for(registry: RegistryNode) -> None:
    await registry.issue(0, 3)
    outpoints = [each.outpoint for each in await held(registry)][::-1]
    unknown = bytes(36)
    found = await load(registry.store, [outpoints[0], unknown, *outpoints[1:]])
    assert [each.outpoint for each in found] == outpoints
    assert [each.token.bundle.range for each in found] == [Range(2001, 3000), Range(1001, 2000), Range(1, 1000)]
    assert all(each.key_id is not None and each.token.bundle.status is Status.ACTIVE for each in found)
    assert await load(registry.store, []) == []
