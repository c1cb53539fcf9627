"""Readings that contradict each other: held while that is possible, kept, and decided by a person."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bridge.meters.checking import message_of
from bridge.meters.conflicts import Conflicts, MintingForbids, ReadingConflicts, conflict_key
from bridge.meters.registration import Decision
from bridge.records import CONFLICTS, READINGS, ReadingState, reading_key
from config.errors import BadRequest, ErrorCode
from store.port import Conflict, Document, Patch
from store.sqlite import SqliteStore
from tests.bridge.readings_kit import NOW_MS, Gateway, SimpleMeter

METER = SimpleMeter()
KEY = reading_key(METER.serial, NOW_MS)
ATTEMPT = b"\x05" * 64


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    made = Gateway(SqliteStore(tmp_path / "node.db", cache_mib=4))
    await made.open()
    await made.register(METER)
    await made.take(METER, kwh="1")
    yield made
    await made.store.close()


async def stored(gateway: Gateway) -> Document:
    document = await gateway.store.get(READINGS, KEY)
    assert document is not None
    return document


async def contradict(gateway: Gateway, kwh: str) -> None:
    with pytest.raises(ReadingConflicts):
        await gateway.take(METER, kwh=kwh)


async def set_to(gateway: Gateway, state: ReadingState, **more: Any) -> None:
    """As the minter does it."""
    due_ms = NOW_MS if state in (ReadingState.ACCEPTED, ReadingState.RETRY) else None
    await gateway.store.commit([Patch(READINGS, KEY, {"state": state, "due_ms": due_ms} | more)])


def conflicts(gateway: Gateway) -> Conflicts:
    return gateway.intake.conflicts


async def open_ones(gateway: Gateway) -> list[Document]:
    return (await conflicts(gateway).listed(100, None)).documents


@pytest.mark.parametrize(
    ("state", "after"),
    [
        (ReadingState.ACCEPTED, ReadingState.HELD),
        (ReadingState.RETRY, ReadingState.HELD),
        (ReadingState.DEAD, ReadingState.HELD),
        (ReadingState.SIGNED, ReadingState.SIGNED),
        (ReadingState.MINTED, ReadingState.MINTED),
        (ReadingState.HELD, ReadingState.HELD),
        (ReadingState.REJECTED, ReadingState.REJECTED),
    ],
)
async def test_the_first_is_held_while_it_is_not_on_its_way(
    gateway: Gateway, state: ReadingState, after: ReadingState
) -> None:
    await set_to(gateway, state)
    await contradict(gateway, "2")
    found = await stored(gateway)
    assert (found["state"], found["conflicts"]) == (after, 1)
    if after is ReadingState.HELD and state is not ReadingState.HELD:
        assert (found["due_ms"], found["retry_ms"], found["held_for"]) == (None, None, "conflict")
    (kept,) = await open_ones(gateway)
    assert kept["reading"]["kwh"] == "2"
    assert kept["_id"][:16] == KEY


async def test_the_minter_cannot_take_what_is_held(gateway: Gateway) -> None:
    before = await stored(gateway)
    await contradict(gateway, "2")
    expect = {name: before[name] for name in ("state", "attempt", "due_ms")}
    with pytest.raises(Conflict):
        await gateway.store.commit([Patch(READINGS, KEY, {"state": ReadingState.SIGNED}, expect=expect)])


async def test_a_second_reading_that_comes_again_is_kept_once(gateway: Gateway) -> None:
    for _ in range(3):
        await contradict(gateway, "2")
    assert (await stored(gateway))["conflicts"] == 1
    assert len(await open_ones(gateway)) == 1
    assert not (await gateway.take(METER, kwh="1")).is_new


async def test_a_second_one_holds_what_came_back_from_its_transaction(gateway: Gateway) -> None:
    await set_to(gateway, ReadingState.SIGNED, attempt=ATTEMPT)
    await contradict(gateway, "2")
    await set_to(gateway, ReadingState.RETRY)
    await contradict(gateway, "2")
    assert (await stored(gateway))["state"] == ReadingState.HELD


async def test_keep(gateway: Gateway) -> None:
    await contradict(gateway, "2")
    await contradict(gateway, "3")
    gateway.now_ms += 5_000
    decided = await conflicts(gateway).decide(KEY, Decision.KEEP)
    assert decided == await stored(gateway)
    assert (decided["state"], decided["kwh"], decided["due_ms"]) == ("accepted", "1", NOW_MS + 5_000)
    assert (decided["held_for"], decided["error"]) == (None, None)
    assert await open_ones(gateway) == []
    await contradict(gateway, "2")
    assert (await stored(gateway))["state"] == ReadingState.ACCEPTED, "what was decided is not opened again"


async def test_take(gateway: Gateway) -> None:
    await contradict(gateway, "2")
    (second,) = await open_ones(gateway)
    decided = await conflicts(gateway).decide(KEY, Decision.TAKE)
    found = await stored(gateway)
    assert decided == found
    assert (found["state"], found["kwh"], found["units"]) == ("accepted", "2", 2_000_000_000)
    assert found["signature"] == second["reading"]["signature"]
    kept = await conflicts(gateway).of_reading(KEY)
    assert {each["reading"]["kwh"]: each["decision"] for each in kept} == {"2": "take", "1": "replaced"}
    assert not (await gateway.take(METER, kwh="2")).is_new
    await contradict(gateway, "1")
    assert (await stored(gateway))["state"] == ReadingState.ACCEPTED


async def test_take_one_of_several(gateway: Gateway) -> None:
    for kwh in ("2", "3"):
        await contradict(gateway, kwh)
    with pytest.raises(BadRequest) as refused:
        await conflicts(gateway).decide(KEY, Decision.TAKE)
    assert refused.value.code is ErrorCode.INVALID_FIELD
    chosen = next(each["_id"] for each in await open_ones(gateway) if each["reading"]["kwh"] == "3")
    assert (await conflicts(gateway).decide(KEY, Decision.TAKE, chosen))["kwh"] == "3"
    assert await open_ones(gateway) == []


async def test_reject(gateway: Gateway) -> None:
    await contradict(gateway, "2")
    decided = await conflicts(gateway).decide(KEY, Decision.REJECT)
    assert (decided["state"], decided["open_ms"], decided["due_ms"]) == ("rejected", None, None)
    assert await open_ones(gateway) == []
    await contradict(gateway, "2")
    await contradict(gateway, "4")
    assert (await stored(gateway))["state"] == ReadingState.REJECTED


@pytest.mark.parametrize("decision", [Decision.TAKE, Decision.REJECT])
async def test_what_is_minted_can_only_be_kept(gateway: Gateway, decision: Decision) -> None:
    await set_to(gateway, ReadingState.MINTED, attempt=ATTEMPT)
    await contradict(gateway, "2")
    with pytest.raises(MintingForbids):
        await conflicts(gateway).decide(KEY, decision)
    kept = await conflicts(gateway).decide(KEY, Decision.KEEP)
    assert (kept["state"], kept["attempt"]) == (ReadingState.MINTED, ATTEMPT)
    assert await open_ones(gateway) == []


async def test_what_was_signed_for_once_is_not_replaced(gateway: Gateway) -> None:
    await set_to(gateway, ReadingState.RETRY, attempt=ATTEMPT)
    await contradict(gateway, "2")
    with pytest.raises(MintingForbids):
        await conflicts(gateway).decide(KEY, Decision.TAKE)
    assert (await conflicts(gateway).decide(KEY, Decision.REJECT))["state"] == ReadingState.REJECTED


async def test_what_the_minter_holds_is_not_freed_here(gateway: Gateway) -> None:
    await set_to(gateway, ReadingState.HELD)
    await contradict(gateway, "2")
    assert (await conflicts(gateway).decide(KEY, Decision.KEEP))["state"] == ReadingState.HELD


async def test_there_is_nothing_to_decide(gateway: Gateway) -> None:
    with pytest.raises(MintingForbids):
        await conflicts(gateway).decide(KEY, Decision.KEEP)


async def test_two_decisions_at_once_are_one(gateway: Gateway) -> None:
    await contradict(gateway, "2")
    both = [conflicts(gateway).decide(KEY, each) for each in (Decision.TAKE, Decision.REJECT, Decision.KEEP)]
    outcomes = await asyncio.gather(*both, return_exceptions=True)
    assert sum(isinstance(each, dict) for each in outcomes) == 1
    assert sum(isinstance(each, MintingForbids) for each in outcomes) == 2


async def test_a_page_of_open_ones(gateway: Gateway) -> None:
    for number in range(1, 4):
        await gateway.take(METER, NOW_MS - number * 300_000, kwh="1")
        gateway.now_ms += 1
        with pytest.raises(ReadingConflicts):
            await gateway.take(METER, NOW_MS - number * 300_000, kwh="2")
    first = await conflicts(gateway).listed(2, None)
    second = await conflicts(gateway).listed(2, first.cursor)
    times = [each["open_ms"] for each in (*first.documents, *second.documents)]
    assert times == sorted(times)
    assert len(times) == 3
    with pytest.raises(BadRequest) as refused:
        await conflicts(gateway).listed(2, "WzFd")
    assert refused.value.code is ErrorCode.BAD_CURSOR


async def test_a_conflict_is_named_by_its_message(gateway: Gateway) -> None:
    await contradict(gateway, "2")
    (kept,) = await gateway.store.get_many(CONFLICTS, [each["_id"] for each in await open_ones(gateway)])
    (conflict,) = await open_ones(gateway)
    assert kept == conflict_key(conflict["reading"])
    assert message_of(conflict["reading"]) != message_of(await stored(gateway))
