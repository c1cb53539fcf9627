"""Recurring actions: each occurrence once, at or after its time, and nothing skipped silently."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from config.errors import NotFound
from energytag import recurring
from energytag.actions import Action, Kind, State
from energytag.models.common import moment_of_ms
from energytag.rebuild import rebuild
from energytag.records import ACTIONS, MEMBERSHIPS, USERS
from energytag.recurring import RECURRING, occurrence_id, occurrences_of, series_of
from lookup.records import CERTIFICATES
from store.port import Delete, Find, Put
from store.sqlite import SqliteStore
from tests.energytag.kit import ACCOUNT, ORGANISATION, OTHER_ACCOUNT, RegistryNode, moment
from tests.overlay.kit import Chain, Clock

DAY_MS = 86_400_000
USER = "3f0b8f8a-5d0e-4b63-9a0e-2f1f4c1b7a01"


def transfer(clock: Clock, **fields: Any) -> dict[str, Any]:
    """A daily transfer of 1000 certificates, from tomorrow on."""
    return {
        "source_account_id": ACCOUNT,
        "source_user_id": USER,
        "target_account_id": OTHER_ACCOUNT,
        "certificate_quantity": 1000,
        "initial_transfer_datetime": moment_of_ms(clock.now_ms + DAY_MS),
        "recurring_transfer_period_units": "days",
        "recurring_transfer_period_quantity": 1,
        "number_of_recurring_transfers": 3,
    } | fields


async def begin(registry: RegistryNode, request: dict[str, Any], kind: Kind = Kind.RECURRING_TRANSFER) -> str:
    outcome = await registry.resolved(kind, request)
    return str(outcome.action.result["recurring_id"])


async def run_due(registry: RegistryNode) -> list[Action]:
    """Enqueue what is due and wait for it; the occurrences in the order of the queue."""
    known = {each["_id"] for each in (await registry.store.find(ACTIONS, Find("seq", limit=5000))).documents}
    await recurring.due(registry.registry.ground, registry.registry.act)
    page = await registry.store.find(ACTIONS, Find("seq", limit=5000))
    return [await settled(registry, each["_id"]) for each in page.documents if each["_id"] not in known]


async def settled(registry: RegistryNode, action_id: str) -> Action:
    async with asyncio.timeout(20):
        while True:
            action = await registry.registry.action(action_id)
            if action.state.is_final:
                return action
            await asyncio.sleep(0.01)


async def held(registry: RegistryNode, account_id: str) -> int:
    page = await registry.store.find(
        CERTIFICATES, Find("account", {"live": 1, "account_id": account_id}, limit=500)
    )
    return sum(record["quantity"] for record in page.documents)


async def test_a_series_runs_its_number_of_times(registry: RegistryNode, clock: Clock) -> None:
    await registry.issue(0, 5)
    series = await begin(registry, transfer(clock))
    assert await run_due(registry) == []
    for occurrence in range(3):
        clock.now_ms += DAY_MS
        (action,) = await run_due(registry)
        assert action.action_id == occurrence_id(series, occurrence)
        assert action.state is State.RESOLVED
        assert action.txids
        assert action.result["recurring_id"] == series
        assert action.result["due_datetime"] == moment_of_ms(clock.now_ms)
        assert await held(registry, OTHER_ACCOUNT) == 1000 * (occurrence + 1)
    clock.now_ms += 10 * DAY_MS
    assert await run_due(registry) == []
    document = await series_of(registry.store, series)
    assert (document["state"], document["next_ms"], document["occurrence"]) == ("finished", None, 3)


async def test_what_was_missed_runs_late_in_the_order_of_its_times(registry: RegistryNode, clock: Clock) -> None:
    await registry.issue(0, 5)
    daily = await begin(registry, transfer(clock))
    hours_later = moment_of_ms(clock.now_ms + DAY_MS + 3_600_000)
    other = await begin(
        registry, transfer(clock, initial_transfer_datetime=hours_later, number_of_recurring_transfers=1)
    )
    clock.now_ms += 40 * DAY_MS
    actions = await run_due(registry)
    assert [(each.request["recurring_id"], each.request["occurrence"]) for each in actions] == [
        (daily, 0),
        (other, 0),
        (daily, 1),
        (daily, 2),
    ]
    assert [each.request["due_datetime"] for each in actions] == sorted(
        each.request["due_datetime"] for each in actions
    )
    assert {each.state for each in actions} == {State.RESOLVED}
    assert await held(registry, OTHER_ACCOUNT) == 4000


async def test_nothing_to_move_is_a_rejected_occurrence_and_the_series_goes_on(
    registry: RegistryNode, clock: Clock
) -> None:
    series = await begin(registry, transfer(clock))
    clock.now_ms += DAY_MS
    (first,) = await run_due(registry)
    assert first.state is State.REJECTED
    assert first.error is not None
    assert first.error["code"] == "ERR_NOTHING_SELECTED"
    await registry.issue(0, 1)
    clock.now_ms += DAY_MS
    (second,) = await run_due(registry)
    assert second.state is State.RESOLVED
    document = await series_of(registry.store, series)
    told = await occurrences_of(registry.store, document, 10)
    assert [each.state for each in told] == [State.RESOLVED, State.REJECTED]


async def test_two_processes_that_look_at_once_make_each_occurrence_once(
    registry: RegistryNode, clock: Clock
) -> None:
    await registry.issue(0, 5)
    await begin(registry, transfer(clock))
    clock.now_ms += 40 * DAY_MS
    ground, act = registry.registry.ground, registry.registry.act
    await asyncio.gather(*(recurring.due(ground, act) for _ in range(5)))
    page = await registry.store.find(ACTIONS, Find("seq", limit=100))
    runs = [each["_id"] for each in page.documents if each["kind"] == Kind.RECURRING_RUN]
    assert len(runs) == len(set(runs)) == 3
    for each in runs:
        await settled(registry, each)
    assert await held(registry, OTHER_ACCOUNT) == 3000


async def test_a_stopped_series_does_nothing_more(registry: RegistryNode, clock: Clock) -> None:
    await registry.issue(0, 5)
    series = await begin(registry, transfer(clock))
    clock.now_ms += DAY_MS
    await run_due(registry)
    stopped = await registry.resolved(Kind.RECURRING_STOP, {"recurring_id": series})
    assert stopped.action.result == {"recurring_id": series, "occurrences": 1}
    clock.now_ms += 40 * DAY_MS
    assert await run_due(registry) == []
    again = await registry.act(Kind.RECURRING_STOP, {"recurring_id": series})
    assert again.action.error is not None
    assert again.action.error["code"] == "ERR_STATUS_FORBIDS"


async def test_an_occurrence_that_waits_behind_the_stop_is_rejected(registry: RegistryNode, clock: Clock) -> None:
    await registry.issue(0, 5)
    series = await begin(registry, transfer(clock))
    clock.now_ms += DAY_MS
    await registry.registry.stop()
    act = registry.registry.act
    await act(Kind.RECURRING_STOP, {"recurring_id": series}, user_id=None, account_id=ACCOUNT, wait_secs=0)
    assert await recurring.due(registry.registry.ground, act) == 1
    await registry.registry.start()
    run = await settled(registry, occurrence_id(series, 0))
    assert run.error is not None
    assert run.error["code"] == "ERR_STATUS_FORBIDS"
    assert await held(registry, OTHER_ACCOUNT) == 0
    assert (await series_of(registry.store, series))["state"] == "stopped"


async def test_a_series_survives_a_restart(tmp_path: Path, chain: Chain, clock: Clock) -> None:
    node = RegistryNode(chain, SqliteStore(tmp_path / "again.db", cache_mib=4), clock)
    await node.open()
    await node.populate()
    await node.issue(0, 5)
    series = await begin(node, transfer(clock))
    await node.close()
    clock.now_ms += 2 * DAY_MS
    node = RegistryNode(chain, SqliteStore(tmp_path / "again.db", cache_mib=4), clock)
    await node.open()
    actions = await run_due(node)
    assert [each.action_id for each in actions] == [occurrence_id(series, 0), occurrence_id(series, 1)]
    assert await held(node, OTHER_ACCOUNT) == 2000
    await node.close()


async def test_one_who_may_not_any_longer_is_refused_at_the_occurrence(
    registry: RegistryNode, clock: Clock
) -> None:
    await registry.issue(0, 5)
    user = {
        "_id": USER,
        "name": "N",
        "organisation_id": ORGANISATION,
        "role": ["Account Holder"],
        "identity_key": None,
    }
    member = {"_id": f"{ACCOUNT}/{USER}", "account_id": ACCOUNT, "user_id": USER}
    await registry.store.commit([Put(USERS, user | {"rev": 0}), Put(MEMBERSHIPS, member)])
    outcome = await registry.registry.act(
        Kind.RECURRING_TRANSFER, transfer(clock), user_id=USER, account_id=ACCOUNT, wait_secs=10
    )
    assert outcome.action.state is State.RESOLVED
    clock.now_ms += DAY_MS
    (first,) = await run_due(registry)
    assert first.state is State.RESOLVED
    await registry.store.commit([Delete(MEMBERSHIPS, member["_id"])])
    clock.now_ms += DAY_MS
    (second,) = await run_due(registry)
    assert second.error is not None
    assert second.error["code"] == "ERR_FORBIDDEN"
    assert await held(registry, OTHER_ACCOUNT) == 1000


async def test_cancellations_and_claims_recur_too(registry: RegistryNode, clock: Clock) -> None:
    await registry.issue(0, 2)
    base = {"source_account_id": ACCOUNT, "source_user_id": USER}
    cancel = base | {"certificate_quantity": 1000, "initial_cancellation_datetime": moment_of_ms(clock.now_ms)}
    claim = base | {"initial_claim_datetime": moment_of_ms(clock.now_ms + 1)}
    await begin(registry, cancel, Kind.RECURRING_CANCEL)
    await begin(registry, claim, Kind.RECURRING_CLAIM)
    clock.now_ms += 1
    cancelled, claimed = await run_due(registry)
    assert (cancelled.state, claimed.state) == (State.RESOLVED, State.RESOLVED)
    page = await registry.store.find(CERTIFICATES, Find("account", {"live": 1, "account_id": ACCOUNT}, limit=100))
    assert sorted(record["status"] for record in page.documents) == ["Active", "Claimed"]


async def test_the_window_of_production_moves_when_told(registry: RegistryNode, clock: Clock) -> None:
    await registry.issue(0, 48)
    window = {"certificate_period_start": moment(0), "certificate_period_end": moment(24)}
    request = transfer(clock, **window, certificate_period_moves=True)
    del request["certificate_quantity"]
    await begin(registry, request)
    clock.now_ms += 2 * DAY_MS
    first, second = await run_due(registry)
    assert (first.request["certificate_period_start"], first.request["certificate_period_end"]) == (
        moment(0),
        moment(24),
    )
    assert (second.request["certificate_period_start"], second.request["certificate_period_end"]) == (
        moment(24),
        moment(48),
    )
    assert await held(registry, OTHER_ACCOUNT) == 48_000


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"source_account_id": "00000000-0000-0000-0000-000000000000"}, "ERR_ACCOUNT_UNKNOWN"),
        ({"target_account_id": "00000000-0000-0000-0000-000000000000"}, "ERR_ACCOUNT_UNKNOWN"),
        ({"target_account_id": None}, "ERR_INVALID_FIELD"),
        ({"target_account_id": ACCOUNT}, "ERR_INVALID_FIELD"),
        (
            {"initial_transfer_datetime": "2020-01-01T00:00:00Z", "number_of_recurring_transfers": 101},
            "ERR_INVALID_FIELD",
        ),
    ],
)
async def test_what_cannot_be_begun(
    registry: RegistryNode, clock: Clock, fields: dict[str, Any], code: str
) -> None:
    outcome = await registry.act(Kind.RECURRING_TRANSFER, transfer(clock, **fields))
    assert outcome.action.error is not None
    assert outcome.action.error["code"] == code
    assert await registry.store.count(RECURRING) == 0


async def test_a_series_that_is_not_there(registry: RegistryNode) -> None:
    with pytest.raises(NotFound):
        await series_of(registry.store, "nowhere")
    outcome = await registry.act(Kind.RECURRING_STOP, {"recurring_id": "nowhere"})
    assert outcome.action.error is not None
    assert outcome.action.error["code"] == "ERR_RECORD_UNKNOWN"


async def test_the_log_gives_the_series_again(registry: RegistryNode, clock: Clock) -> None:
    await registry.issue(0, 5)
    finished = await begin(registry, transfer(clock))
    stopped = await begin(registry, transfer(clock, number_of_recurring_transfers=None))
    going_on = await begin(registry, transfer(clock, recurring_transfer_period_units="months"))
    clock.now_ms += DAY_MS
    await run_due(registry)
    # An occurrence that is in the queue behind the stop: it comes to nothing, and does not begin the series anew.
    clock.now_ms += DAY_MS
    await registry.registry.stop()
    act = registry.registry.act
    await act(Kind.RECURRING_STOP, {"recurring_id": stopped}, user_id=None, account_id=ACCOUNT, wait_secs=0)
    await recurring.due(registry.registry.ground, act)
    await registry.registry.start()
    await settled(registry, occurrence_id(stopped, 1))
    clock.now_ms += DAY_MS
    await run_due(registry)
    before = [await series_of(registry.store, each) for each in (finished, stopped, going_on)]
    assert [each["state"] for each in before] == ["finished", "stopped", "active"]
    await rebuild(registry.store, registry.keyring)
    assert [await series_of(registry.store, each) for each in (finished, stopped, going_on)] == before
