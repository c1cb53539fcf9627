"""The accountant: what may cross, when, and what the books say after each step."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from bridge.mirror.books.accounting import PAUSED_MS, ledger_key
from bridge.mirror.books.ledger import Ledger, LedgerRefuses
from bridge.mirror.message import UNITS_PER_WH, Message
from bridge.mirror.records import LOTS, MIRROR, RELEASES
from bridge.mirror.states import Direction, Hold, Kind, State
from bridge.records import AttemptState
from config.errors import BadRequest, ErrorCode
from store.pages import every
from store.port import Conflict, Find, Insert, Patch
from store.sqlite import SqliteStore
from tests.bridge.books_kit import Books

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


@pytest.fixture
async def made(tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    opened: list[Books] = []

    async def make(**options: Any) -> Books:
        books = Books(SqliteStore(tmp_path / f"{len(opened)}.db", cache_mib=4), **options)
        await books.open()
        opened.append(books)
        return books

    yield make
    for books in opened:
        await books.store.close()


@pytest.fixture
async def books(made: Callable[..., Any]) -> Books:
    found: Books = await made()
    return found


def figures(ledger: Ledger) -> dict[str, int]:
    """In Wh, without those that are 0."""
    assert ledger.difference == 0
    return {name: units // UNITS_PER_WH for name, units in ledger.document().items() if units}


def states(messages: list[Message]) -> list[State]:
    return [each.state for each in messages]


# In


async def test_what_came_is_entered_with_its_lots(books: Books) -> None:
    one, two = await books.account(*await books.deposits(600, 400))
    assert (one.state, two.state) == (State.ACCOUNTED, State.ACCOUNTED)
    assert one.was_accounted
    assert one.facts["lots"][0][1] == 600 * UNITS_PER_WH
    assert figures(await books.ledger()) == {"custody": 1_000, "in_flight_in": 1_000}
    assert await books.outstanding(one) is None
    await books.end(one)
    assert figures(await books.ledger()) == {"custody": 1_000, "in_flight_in": 400, "live": 600}
    assert await books.outstanding(one) == 600


async def test_what_was_burned_lies_in_no_custody(made: Callable[..., Any]) -> None:
    books = await made(mode="burn")
    (burned,) = await books.account(*await books.deposits(600, kind=Kind.BURN))
    await books.end(burned)
    (leaving,) = await books.account(*await books.exits(burned, 200))
    await books.end(leaving)
    assert figures(await books.ledger()) == {"burned": 600, "minted": 200, "live": 400}


async def test_one_without_provenance_enters_nothing(books: Books) -> None:
    deposits = await books.deposits(600)
    await books.store.commit([Patch(LOTS, lot["_id"], {"free": None, "left": 0}) for lot in await lots(books)])
    books.clock.now_ms += 10_000
    (held,) = await books.account(*deposits)
    assert (held.state, held.reason.code) == (State.HELD, Hold.PROVENANCE_LACKING)
    assert await books.ledger() == Ledger()


async def lots(books: Books) -> list[dict[str, Any]]:
    return await every(books.store, LOTS, Find())


# Out


async def test_an_exit_takes_from_the_message_that_it_mirrors(books: Books) -> None:
    (came,) = await books.cross(1_000)
    leaving = await books.account(*await books.exits(came, 300, 500, 201))
    assert states(leaving) == [State.ACCOUNTED, State.ACCOUNTED, State.HELD]
    assert leaving[2].reason.code is Hold.OVERDRAWN
    assert await books.outstanding(came) == 200
    assert figures(await books.ledger()) == {"custody": 1_000, "live": 200, "in_flight_out": 800}
    await books.end(leaving[0])
    assert figures(await books.ledger()) == {"custody": 700, "live": 200, "in_flight_out": 500}


async def test_an_exit_of_nothing_is_overdrawn(books: Books) -> None:
    """The message is unknown, not issued, refunded, no incoming one, or issued another certificate."""
    (came,) = await books.cross(1_000)
    (entered,) = await books.account(*await books.deposits(100))
    (back,) = await books.deposits(100)
    await books.hold(back, Hold.DUST)
    await books.refund(back)
    (leaving,) = await books.account(*await books.exits(came, 100))
    unknown = await books.exits(None, 1, facts={"origin": "ab" * 32, "issuance_id": "x"})
    foreign = await books.exits(None, 1, facts={"origin": came.id.hex(), "issuance_id": "of a rogue"})
    nothing = await books.exits(None, 1)
    exits = [unknown, foreign, nothing, *[await books.exits(each, 1) for each in (entered, back, leaving)]]
    judged = await books.account(*(each for some in exits for each in some))
    assert states(judged) == [State.HELD] * 6
    assert {each.reason.code for each in judged} == {Hold.OVERDRAWN}
    assert await books.outstanding(came) == 900


async def test_an_exit_waits_for_the_end_of_the_message_that_it_mirrors(books: Books) -> None:
    (came,) = await books.account(*await books.deposits(1_000))
    came = await books.sign(came)
    (leaving,) = await books.account(*await books.exits(came, 100))
    assert leaving.state is State.VALIDATED
    assert leaving.due_ms > books.clock.now_ms
    await books.end(came)
    books.clock.now_ms = leaving.due_ms
    (leaving,) = await books.account(leaving)
    assert leaving.state is State.ACCOUNTED


async def test_the_ledger_never_goes_below_zero(books: Books) -> None:
    (came,) = await books.cross(1_000)
    key = ledger_key(books.asset.name)
    await books.store.commit([Patch(MIRROR, key, {"live": 10 * UNITS_PER_WH, "custody": 10 * UNITS_PER_WH})])
    (leaving,) = await books.exits(came, 100)
    with pytest.raises(LedgerRefuses):
        await books.account(leaving)
    assert (await books.read(leaving)).state is State.VALIDATED
    assert await books.outstanding(came) == 1_000


async def test_two_workers_do_not_both_enter(books: Books) -> None:
    (came,) = await books.cross(1_000)
    leaving = await books.exits(came, 600, 600)
    other = Books(books.store)
    with pytest.raises(Conflict):
        async with other.book.page() as late:
            await other.accountant.account([leaving[1]], late)
            await books.account(leaving[0])
    assert await books.outstanding(came) == 400
    (second,) = await books.account(leaving[1])
    assert second.reason.code is Hold.OVERDRAWN


# Limits


async def test_beyond_the_limit_messages_wait_their_turn(made: Callable[..., Any]) -> None:
    books = await made(limit_in_wh=1_000)
    waiting = await books.account(*await books.deposits(800, 600, 100))
    assert states(waiting) == [State.ACCOUNTED, State.QUEUED, State.QUEUED]
    due_ms = [each.due_ms - books.clock.now_ms for each in waiting[1:]]
    assert due_ms == [DAY_MS * 4 // 10, DAY_MS // 2]
    books.clock.now_ms += due_ms[0]
    (second,) = await books.account(waiting[1])
    assert second.state is State.ACCOUNTED
    assert (await books.headroom(Direction.IN)).left_wh == 0


async def test_however_long_they_waited_no_more_than_a_bucket_goes_at_once(made: Callable[..., Any]) -> None:
    books = await made(limit_in_wh=1_000)
    waiting = await books.account(*await books.deposits(*[500] * 8))
    books.clock.now_ms += 30 * DAY_MS
    waiting = await books.account(*waiting[2:])
    assert states(waiting) == [State.ACCOUNTED] * 2 + [State.QUEUED] * 4
    assert [each.due_ms - books.clock.now_ms for each in waiting[2:]] == [DAY_MS // 2 * n for n in range(1, 5)]
    (newcomer,) = await books.account(*await books.deposits(1))
    assert newcomer.due_ms > waiting[-1].due_ms


async def test_what_crosses_one_way_makes_room_the_other_way(made: Callable[..., Any]) -> None:
    books = await made(limit_in_wh=1_000, limit_out_wh=500)
    (came,) = await books.cross(1_000)
    (leaving,) = await books.account(*await books.exits(came, 400))
    assert leaving.state is State.ACCOUNTED
    assert (await books.headroom(Direction.IN)).left_wh == 400
    assert (await books.headroom(Direction.OUT)).left_wh == 100
    await books.account(*await books.deposits(250))
    assert (await books.headroom(Direction.IN)).left_wh == 150
    assert (await books.headroom(Direction.OUT)).left_wh == 350


async def test_what_is_held_gives_its_part_of_the_limit_back(made: Callable[..., Any]) -> None:
    books = await made(limit_out_wh=1_000)
    await books.account(*await books.exits(None, 700))
    assert (await books.headroom(Direction.OUT)).left_wh == 1_000


async def test_who_waits_for_the_end_of_another_message_keeps_no_part_twice(made: Callable[..., Any]) -> None:
    books = await made(limit_out_wh=1_000)
    (came,) = await books.account(*await books.deposits(2_000))
    await books.sign(came)
    exits = await books.exits(came, 700, 700)
    for _ in range(3):
        exits = await books.account(*exits)
    assert states(exits) == [State.VALIDATED, State.VALIDATED]
    assert (await books.headroom(Direction.OUT)).left_wh == 1_000
    await books.end(came)
    exits = await books.account(*exits)
    assert states(exits) == [State.ACCOUNTED, State.QUEUED]
    assert (await books.headroom(Direction.OUT)).waiting_wh == 700


async def test_a_large_message_waits_first_and_for_the_limit_then(made: Callable[..., Any]) -> None:
    books = await made(limit_in_wh=1_000, large_wh=500, large_delay_secs=60)
    (large,) = await books.account(*await books.deposits(700))
    assert (large.state, large.due_ms - books.clock.now_ms) == (State.QUEUED, 60_000)
    assert (await books.headroom(Direction.IN)).left_wh == 1_000
    await books.account(*await books.deposits(400))
    books.clock.now_ms = large.due_ms
    (large,) = await books.account(large)
    assert large.state is State.QUEUED
    assert large.due_ms == books.clock.now_ms + DAY_MS // 10 - 60_000
    books.clock.now_ms = large.due_ms
    (large,) = await books.account(large)
    assert large.state is State.ACCOUNTED


async def test_a_queued_message_that_is_held_leaves_the_queue(made: Callable[..., Any]) -> None:
    books = await made(limit_in_wh=1_000)
    waiting = await books.account(*await books.deposits(1_000, 600, 100))
    assert (await books.headroom(Direction.IN)).waiting_wh == 700
    await books.order("hold", message=waiting[1].id.hex())
    assert (await books.headroom(Direction.IN)).waiting_wh == 100
    await books.order("release", message=waiting[1].id.hex())
    assert (await books.read(waiting[1])).state is State.SRC_FINAL


async def test_nothing_is_entered_in_a_direction_that_is_paused(books: Books) -> None:
    await books.pause(Direction.IN)
    (waiting,) = await books.account(*await books.deposits(5))
    assert (waiting.state, waiting.due_ms) == (State.VALIDATED, books.clock.now_ms + PAUSED_MS)
    await books.resume(Direction.IN)
    assert states(await books.account(waiting)) == [State.ACCOUNTED]


# Refunds


async def test_tokens_that_never_were_entered_are_given_back(books: Books) -> None:
    (came,) = await books.deposits(5)
    await books.hold(came, Hold.MEMO_MISSING)
    back = await books.refund(came)
    assert (back.state, back.is_refund) == (State.REFUND_ACCOUNTED, True)
    assert figures(await books.ledger()) == {"custody": 5, "held": 5}
    assert (await books.end(back)).state is State.REFUNDED
    assert await books.ledger() == Ledger()


async def test_lots_of_what_is_given_back_are_in_line_again(books: Books) -> None:
    (came,) = await books.account(*await books.deposits(5))
    await books.hold(came)
    await books.end(await books.refund(came))
    assert await books.ledger() == Ledger()
    (again,) = await books.deposits(5)
    again, other = await books.account(again, *await books.deposits(5))
    assert states([again, other]) == [State.ACCOUNTED, State.ACCOUNTED]
    assert again.facts["lots"] == came.facts["lots"]


async def test_a_certificate_that_is_given_back_may_leave_again(books: Books) -> None:
    (came,) = await books.cross(1_000)
    (leaving,) = await books.account(*await books.exits(came, 1_000))
    await books.hold(leaving)
    back = await books.refund(leaving)
    assert back.destination_tx is None
    assert figures(await books.ledger()) == {"custody": 1_000, "live": 1_000}
    (again,) = await books.account(*await books.exits(came, 1_000))
    assert again.state is State.ACCOUNTED
    await books.end(back)
    assert figures(await books.ledger()) == {"custody": 1_000, "in_flight_out": 1_000}


async def test_an_exit_that_never_was_entered_gives_nothing_back(books: Books) -> None:
    (came,) = await books.cross(1_000)
    (leaving,) = await books.account(*await books.exits(came, 1_001))
    await books.end(await books.refund(leaving))
    assert figures(await books.ledger()) == {"custody": 1_000, "live": 1_000}
    assert await books.outstanding(came) == 1_000


@pytest.mark.parametrize(
    ("code", "fields"),
    [
        (Hold.SOURCE_DISPUTED, {}),
        (Hold.SOURCE_LOST, {}),
        (Hold.OPERATOR, {"final_ms": None}),
        (Hold.MARKER_FOREIGN, {}),
    ],
)
async def test_what_is_not_sure_is_not_given_back(books: Books, code: Hold, fields: dict[str, Any]) -> None:
    (came,) = await books.deposits(5, **fields)
    await books.hold(came, code)
    with pytest.raises(BadRequest) as refused:
        await books.refund(came)
    assert refused.value.code is ErrorCode.STATUS_FORBIDS
    assert await books.ledger() == Ledger()


async def test_only_what_is_held_is_given_back(books: Books) -> None:
    with pytest.raises(BadRequest, match="VALIDATED"):
        await books.refund((await books.deposits(5))[0])


@pytest.mark.parametrize(
    ("state", "is_refunded"),
    [
        (AttemptState.SENT, False),
        (AttemptState.FINAL, False),
        (AttemptState.EXPIRED, True),
        (AttemptState.FAILED, True),
    ],
)
async def test_an_exit_is_given_back_once_its_release_is_dead(
    books: Books, state: AttemptState, is_refunded: bool
) -> None:
    (came,) = await books.cross(10)
    (leaving,) = await books.account(*await books.exits(came, 10))
    signature = b"s" * 64
    await books.store.commit([Insert(RELEASES, {"_id": signature, "open_ms": None, "state": state.value})])
    await books.sign(leaving, signature)
    await books.hold(leaving, Hold.DESTINATION_UNUSABLE)
    if is_refunded:
        assert (await books.refund(leaving)).state is State.REFUND_ACCOUNTED
        return
    with pytest.raises(BadRequest, match="neither failed nor expired"):
        await books.refund(leaving)


async def test_a_deposit_is_not_given_back_while_its_certificate_may_be_mined(books: Books) -> None:
    (came,) = await books.account(*await books.deposits(10))
    await books.sign(came)
    await books.hold(came, Hold.DESTINATION_CONFLICT)
    with pytest.raises(BadRequest, match="may be mined"):
        await books.refund(came)
