"""Several processes, one registry: what any of them takes in, the primary works off."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from time import perf_counter

import pytest

from config.errors import Busy
from config.settings import Settings
from energytag.actions import Kind, State
from energytag.audit import check_registry
from energytag.intake import QUICK_LOOK_SECS, Intake
from energytag.records import ACTIONS
from energytag.registry import Registry
from lookup.records import CERTIFICATES
from store.port import Find
from store.sqlite import SqliteStore
from tests.energytag.kit import ACCOUNT, DEVICE, OTHER_ACCOUNT, RegistryNode, readings
from tests.energytag.storage_kit import body
from tests.overlay.kit import Chain, Clock

_HOURS = 40


class Process(RegistryNode):
    """One process: an engine, a store and a registry of its own, over the file that all share."""

    def __init__(self, folder: Path, chain: Chain, clock: Clock, *, primary: bool, most: int = 10_000) -> None:
        settings = Settings.model_validate({"registry": {"waiting_actions": most}})
        super().__init__(chain, SqliteStore(folder / "node.db", cache_mib=4), clock, settings)
        ground = self.registry.ground
        self.registry = Registry(
            ground, self.treasury, lambda _: (), primary=primary, look_secs=QUICK_LOOK_SECS if primary else 1.0
        )


@pytest.fixture
async def primary(tmp_path: Path, chain: Chain, clock: Clock) -> AsyncIterator[Process]:
    made = Process(tmp_path, chain, clock, primary=True)
    await made.open()
    await made.populate()
    yield made
    await made.close()


@pytest.fixture
async def secondary(tmp_path: Path, chain: Chain, clock: Clock, primary: Process) -> AsyncIterator[Process]:
    made = Process(tmp_path, chain, clock, primary=False)
    await made.open()
    yield made
    await made.close()


async def test_the_primary_resolves_what_the_secondary_stores(primary: Process, secondary: Process) -> None:
    began = perf_counter()
    outcome = await secondary.act(Kind.CREATE_MANY, {"device_id": DEVICE, "readings": readings(0, 1)})
    assert outcome.action.state is State.RESOLVED
    assert perf_counter() - began < 2
    assert await primary.store.count(CERTIFICATES) == 1
    assert not secondary.registry.is_at_work


async def test_what_is_refused_is_told_through_the_secondary(primary: Process, secondary: Process) -> None:
    await primary.issue(0, 1)
    again = await secondary.act(Kind.CREATE_MANY, {"device_id": DEVICE, "readings": readings(0, 1)})
    assert again.action.error is not None
    assert again.action.error["code"] == "ERR_ISSUED_TWICE"


async def test_both_at_once_and_each_action_once(primary: Process, secondary: Process) -> None:
    """Every hour is issued through both processes; one of the two wins."""
    jobs = [
        process.act(Kind.CREATE_MANY, {"device_id": DEVICE, "readings": readings(hour, 1)})
        for hour in range(_HOURS)
        for process in (primary, secondary)
    ]
    states = [outcome.action.state for outcome in await asyncio.gather(*jobs)]
    assert states.count(State.RESOLVED) == states.count(State.REJECTED) == _HOURS
    moves = [process.act(Kind.TRANSFER, transfer(300)) for process in (primary, secondary) for _ in range(10)]
    moved = await asyncio.gather(*moves)
    assert {outcome.action.state for outcome in moved} == {State.RESOLVED}
    assert await primary.store.count(ACTIONS, Find("queued", {"queued": 1})) == 0
    assert await check_registry(primary.store, primary.keyring) == []


def transfer(quantity: int) -> dict[str, object]:
    return body(ACCOUNT, target_account_id=OTHER_ACCOUNT, certificate_quantity=quantity)


async def test_a_busy_primary_still_finds_what_others_store(primary: Process, secondary: Process) -> None:
    stop = asyncio.Event()

    async def keep_busy(first: int) -> None:
        hour = first
        while not stop.is_set():
            await primary.issue(hour % 3000, 1)
            hour += 10

    busy = [asyncio.create_task(keep_busy(number)) for number in range(10)]
    try:
        outcome = await secondary.act(Kind.TRANSFER, transfer(10), wait_secs=20)
        assert outcome.action.state is State.RESOLVED
    finally:
        stop.set()
        await asyncio.gather(*busy)


async def test_what_is_stored_while_there_is_no_primary_is_done_at_its_start(
    tmp_path: Path, chain: Chain, clock: Clock, primary: Process, secondary: Process
) -> None:
    await primary.registry.stop()
    request = {"device_id": DEVICE, "readings": readings(0, 1)}
    outcome = await secondary.act(Kind.CREATE_MANY, request, wait_secs=0.1)
    assert outcome.action.state is State.RECEIVED
    await primary.registry.start()
    async with asyncio.timeout(10):
        while not (await secondary.registry.action(outcome.action.action_id)).state.is_final:
            await asyncio.sleep(0.02)
    assert await primary.store.count(CERTIFICATES) == 1


async def test_a_secondary_turns_away_what_is_too_much(
    tmp_path: Path, chain: Chain, clock: Clock, primary: Process
) -> None:
    await primary.registry.stop()
    other = Process(tmp_path, chain, clock, primary=False, most=3)
    await other.open()
    request = {"device_id": DEVICE, "readings": readings(0, 1)}
    try:
        for _ in range(3):
            await other.act(Kind.CREATE_MANY, request, wait_secs=0)
        other.registry.intake._counted = float("-inf")  # as a second later
        with pytest.raises(Busy):
            await other.act(Kind.CREATE_MANY, request, wait_secs=0)
        # When the primary has caught up, there is room again.
        await primary.registry.start()
        while await primary.store.count(ACTIONS, Find("queued", {"queued": 1})):
            await asyncio.sleep(0.02)
        other.registry.intake._counted = float("-inf")
        await other.act(Kind.CREATE_MANY, request, wait_secs=0)
    finally:
        await other.close()


async def test_actions_are_worked_off_in_the_order_of_their_receipt(primary: Process, secondary: Process) -> None:
    await primary.registry.stop()
    for hour in range(6):
        process = secondary if hour % 2 else primary
        await process.act(Kind.CREATE_MANY, {"device_id": DEVICE, "readings": readings(hour, 1)}, wait_secs=0)
    await primary.registry.start()
    waiting = [action.seq for action in primary.registry.intake.waiting.values()]
    assert waiting == sorted(waiting)
    assert len(waiting) == 6


async def test_looking_takes_a_small_part_of_the_time(primary: Process) -> None:
    """However long the queue, and however quick the looks."""
    await primary.registry.stop()
    request = {"device_id": DEVICE, "readings": readings(0, 24)}
    for _ in range(200):
        await primary.act(Kind.CREATE_MANY, request, wait_secs=0)
    intake = Intake(primary.store, 1000, look_secs=0.0)
    await intake.look()
    assert len(intake.waiting) == 200
    assert not intake.is_time_to_look
