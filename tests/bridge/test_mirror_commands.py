"""What operators order: checked when it is given, carried out once, answered with what came of it, and logged."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bridge.mirror.alarms import Alarm, Alarms, standing
from bridge.mirror.message import Message
from bridge.mirror.operators.commands import MOST_OPEN, Desk
from bridge.mirror.operators.operating import HOLDABLE, released_to
from bridge.mirror.records import AUDIT, COMMANDS
from bridge.mirror.states import EDGES, Direction, Hold, State
from config.errors import BadRequest, Busy, ErrorCode, NotFound
from store.pages import every
from store.port import Find
from store.sqlite import SqliteStore
from tests.bridge.books_kit import Books

A_MESSAGE = "ab" * 32


@pytest.fixture
async def books(tmp_path: Path) -> AsyncIterator[Books]:
    made = Books(SqliteStore(tmp_path / "node.db", cache_mib=4))
    await made.open()
    yield made
    await made.store.close()


async def notes(books: Books) -> list[dict[str, Any]]:
    entries = [json.loads(row["text"]) for row in await every(books.store, AUDIT, Find())]
    return [note for entry in entries for note in entry.get("notes", ())]


# The desk


@pytest.mark.parametrize(
    ("kind", "arguments", "by"),
    [
        ("explode", {"reason": "x"}, "admin"),
        ("pause", {"reason": "x"}, "admin"),
        ("pause", {"reason": "x", "direction": "up"}, "admin"),
        ("pause", {"reason": "x", "direction": "in", "message": A_MESSAGE}, "admin"),
        ("pause", {"direction": "in"}, "admin"),
        ("pause", {"reason": " ", "direction": "in"}, "admin"),
        ("pause", {"reason": "x" * 501, "direction": "in"}, "admin"),
        ("pause", {"reason": "x", "direction": "in"}, ""),
        ("hold", {"reason": "x", "message": "ab"}, "admin"),
        ("hold", {"reason": "x", "message": "AB" * 32}, "admin"),
        ("refund", {"reason": "x", "message": 7}, "admin"),
    ],
)
async def test_what_cannot_be_ordered_is_refused_at_once(
    books: Books, kind: str, arguments: dict[str, Any], by: str
) -> None:
    with pytest.raises(BadRequest) as refused:
        await books.desk.ask(kind, arguments, by, 0)
    assert refused.value.code is ErrorCode.INVALID_FIELD
    assert await books.store.count(COMMANDS) == 0


async def test_any_process_may_order_and_the_worker_answers(books: Books) -> None:
    elsewhere = Desk(books.store, books.clock)
    asked = asyncio.create_task(elsewhere.ask("pause", {"reason": "storm", "direction": "in"}, "ada", 5))
    while not await books.operating.round():
        await asyncio.sleep(0.01)
    answer = await asked
    assert (answer["state"], answer["direction"], answer["paused"]) == ("done", "in", True)
    assert await elsewhere.outcome(answer["command"]) == answer
    paused = await books.pauses.paused(Direction.IN)
    assert paused is not None
    assert (paused["reason"], paused["by"]) == ("storm", "ada")
    assert {"pause": "in", "reason": "storm", "by": "ada"} in await notes(books)


async def test_what_nobody_carries_out_stays_open(books: Books) -> None:
    answer = await books.desk.ask("pause", {"reason": "x", "direction": "in"}, "admin", 0.1)
    assert answer == {"command": answer["command"], "state": "open"}
    assert await books.operating.round() == 1
    assert (await books.desk.outcome(answer["command"]))["state"] == "done"
    assert await books.operating.round() == 0


async def test_too_many_open_orders_are_refused(books: Books) -> None:
    for _ in range(MOST_OPEN):
        await books.desk.ask("pause", {"reason": "x", "direction": "in"}, "admin", 0)
    with pytest.raises(Busy):
        await books.desk.ask("pause", {"reason": "x", "direction": "in"}, "admin", 0)


async def test_an_unknown_order_has_no_outcome(books: Books) -> None:
    with pytest.raises(NotFound):
        await books.desk.outcome("none")


# Carried out


async def test_a_refusal_comes_back_with_its_code_and_is_logged(books: Books) -> None:
    with pytest.raises(NotFound) as refused:
        await books.order("hold", message=A_MESSAGE)
    assert refused.value.code is ErrorCode.NOT_FOUND
    (note,) = await notes(books)
    assert (note["command"], note["by"], note["refused"]) == ("hold", "admin", "ERR_NOT_FOUND")
    assert note["message"] == A_MESSAGE


async def test_a_direction_that_is_not_paused_is_not_resumed(books: Books) -> None:
    with pytest.raises(BadRequest, match="not paused"):
        await books.order("resume", direction="out")
    await books.order("pause", direction="out")
    assert (await books.order("resume", direction="out"))["paused"] is False
    assert await books.pauses.all() == {}


async def test_a_message_is_held_and_goes_on_where_it_was(books: Books) -> None:
    (message,) = await books.account(*await books.deposits(5))
    told = await books.order("hold", message=message.id.hex())
    assert (told["message"], told["message_state"]) == (message.id.hex(), "HELD")
    held = await books.read(message)
    assert held.reason is not None
    assert (held.reason.code, held.reason.text) == (Hold.OPERATOR, "admin: because")
    assert (await books.order("release", message=message.id.hex()))["message_state"] == "ACCOUNTED"
    with pytest.raises(BadRequest, match="not HELD"):
        await books.order("release", message=message.id.hex())


async def test_what_is_on_its_way_is_not_held(books: Books) -> None:
    (message,) = await books.account(*await books.deposits(5))
    await books.sign(message)
    with pytest.raises(BadRequest) as refused:
        await books.order("hold", message=message.id.hex())
    assert refused.value.code is ErrorCode.STATUS_FORBIDS


async def test_a_refund_is_ordered_and_the_one_that_is_held_goes_on(books: Books) -> None:
    (message,) = await books.deposits(5)
    await books.hold(message, Hold.DUST)
    assert (await books.order("refund", message=message.id.hex()))["message_state"] == "REFUND_ACCOUNTED"
    await books.order("hold", message=message.id.hex())
    assert (await books.order("release", message=message.id.hex()))["message_state"] == "REFUND_ACCOUNTED"
    assert (await books.end(message)).state is State.REFUNDED


async def test_an_order_is_carried_out_once_by_two_workers(books: Books) -> None:
    (message,) = await books.account(*await books.deposits(5))
    await books.desk.ask("hold", {"reason": "x", "message": message.id.hex()}, "admin", 0)
    other = Books(books.store)
    await asyncio.gather(books.operating.round(), other.operating.round())
    assert (await books.read(message)).state is State.HELD
    assert [note["command"] for note in await notes(books)] == ["hold"]


@pytest.mark.parametrize(
    ("fields", "code", "state"),
    [
        ({}, Hold.DUST, State.SRC_FINAL),
        ({"final_ms": None}, Hold.OPERATOR, State.OBSERVED),
        ({}, Hold.SOURCE_DISPUTED, State.OBSERVED),
        ({}, Hold.SOURCE_LOST, State.OBSERVED),
        ({"facts": {"accounted": True}}, Hold.DESTINATION_UNUSABLE, State.ACCOUNTED),
        ({"facts": {"accounted": True}, "is_refund": True}, Hold.DESTINATION_UNUSABLE, State.REFUND_ACCOUNTED),
    ],
)
async def test_where_a_held_message_goes_on(books: Books, fields: dict[str, Any], code: Hold, state: State) -> None:
    (message,) = await books.deposits(5, **fields)
    held: Message = await books.hold(message, code)
    assert released_to(held) is state
    assert state in EDGES[State.HELD]


def test_whatever_may_be_held_has_an_edge_for_it() -> None:
    assert all(State.HELD in EDGES[each] for each in HOLDABLE)


# Alarms


async def test_an_alarm_is_raised_once_and_pauses_what_is_not_paused(books: Books) -> None:
    await books.order("pause", direction="in")
    alarms = Alarms(books.ground)
    assert await alarms.raise_for(Alarm.SOURCE_LOST, "a", "gone")
    assert not await alarms.raise_for(Alarm.SOURCE_LOST, "a", "gone")
    assert await alarms.raise_for(Alarm.SUPPLY_DIFFERS, "b", "more")
    assert [row["alarm"] for row in await standing(books.store)] == ["source_lost", "supply_differs"]
    paused = await books.pauses.all()
    assert [paused[each]["by"] for each in Direction] == ["admin", "bridge"]
    assert await alarms.clear(Alarm.SUPPLY_DIFFERS, "b", "as it was")
    assert not await alarms.clear(Alarm.SUPPLY_DIFFERS, "b", "as it was")
    assert [each for each in await notes(books) if "alarm_over" in each]
    assert len(await standing(books.store)) == 1
