"""Lots are drawn first in first out, never twice, and come back to where they were."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.mirror.book import Book
from bridge.mirror.checks.lot_check import check_lots
from bridge.mirror.ground import MirrorGround
from bridge.mirror.message import UNITS_PER_WH, Message
from bridge.mirror.provenance.drawing import PATIENCE_MS, Lots
from bridge.mirror.provenance.lots import Lot, drawn
from bridge.mirror.records import LOTS, MESSAGES, MIRROR_COLLECTIONS, RELEASES
from bridge.mirror.states import Direction, Hold, Kind, State
from bridge.records import LEASES
from certificates.ranges import Range
from config.settings import BridgeSettings
from energytag.intervals import bridge_claim, interval_row
from energytag.records import INTERVALS, NUMBERS
from store.pages import every
from store.port import Conflict, Delete, Find, Insert, Patch, Put, Write
from store.sqlite import SqliteStore
from tests.bridge.minting_kit import Clock, NoLease

ACCOUNT = "0b7cdd5c-2b0c-4d0e-9d1b-6f6f8a3d9d11"
DEVICES = ("5d1f3f5e-93a2-4a6b-8f5d-0e6a9a1c7b42", "5d1f3f5e-93a2-4a6b-8f5d-0e6a9a1c7b43")
INTERVAL_MS = 900_000
START_MS = 1_767_225_600_000


@dataclass(frozen=True)
class Ground:
    """What of a ground provenance looks at."""

    store: SqliteStore
    bridge: BridgeSettings


class World:
    """Lots, messages, and the pages of one worker."""

    def __init__(self, store: SqliteStore, most: int) -> None:
        self.store = store
        self.clock = Clock()
        self.book = Book(store, NoLease(), self.clock)
        ground = Ground(store, BridgeSettings(lots_per_message=most))
        self.lots = Lots(cast(MirrorGround, ground))
        self._number = 0

    def lot(self, slot: int, units: int, **fields: Any) -> Lot:
        self._number += 1
        reading = (START_MS + self._number).to_bytes(16, "big")
        return replace(
            Lot(
                key=reading.hex(),
                slot=slot,
                reading=reading,
                meter="M",
                device_id=DEVICES[self._number % 2],
                account_id=ACCOUNT,
                interval_start_ms=START_MS + self._number * INTERVAL_MS,
                interval_secs=INTERVAL_MS // 1000,
                units=units,
                left=units,
            ),
            **fields,
        )

    async def mint(self, slot: int, *whs: float, **fields: Any) -> list[Lot]:
        lots = [self.lot(slot, round(wh * UNITS_PER_WH), **fields) for wh in whs]
        await self.store.commit([Insert(LOTS, lot.document()) for lot in lots])
        return lots

    async def stored(self, key: str) -> Lot:
        row = await self.store.get(LOTS, key)
        assert row is not None
        return Lot.read(row)

    async def all_lots(self) -> list[Lot]:
        return [Lot.read(row) for row in await every(self.store, LOTS, Find())]

    async def line(self) -> list[str]:
        return [row["_id"] for row in await every(self.store, LOTS, Find("free"))]

    def message(self, units: int, kind: Kind = Kind.DEPOSIT, **fields: Any) -> Message:
        self._number += 1
        key = self._number.to_bytes(32, "big")
        made = Message(
            key, Direction.IN, kind, "mint", units, key * 2, key * 2 + bytes(6), "who", self.clock.now_ms
        )
        return replace(made, state=State.VALIDATED, **fields)

    async def arrive(self, messages: Sequence[Message]) -> list[Message]:
        async with self.book.page() as page:
            return [page.open(message) for message in messages]

    async def allocate(self, messages: Sequence[Message]) -> list[Message]:
        """As the accountant does it; the messages as they are afterwards."""
        async with self.book.page() as page:
            for each in await self.lots.allocate(messages, page):
                page.move(each, State.ACCOUNTED, facts={"accounted": True, "lots": each.facts["lots"]})
        return [await self.again(each) for each in messages]

    async def deposit(self, *whs: int) -> list[Message]:
        return await self.allocate(await self.arrive([self.message(wh * UNITS_PER_WH) for wh in whs]))

    async def again(self, message: Message) -> Message:
        row = await self.store.get(MESSAGES, message.id)
        assert row is not None
        return Message.read(row)

    async def refund(self, *messages: Message) -> None:
        async with self.book.page() as page:
            for each in messages:
                moved = each if each.state is State.HELD else page.hold(each, Hold.OPERATOR, "asked")
                for state in (State.REFUND_ACCOUNTED, State.DST_SIGNED, State.DST_SEEN, State.DST_FINAL):
                    moved = page.move(moved, state, is_refund=True)
            await self.lots.released(messages, page)
            for each in messages:
                page.move(each, State.REFUNDED)

    async def exit(self, origin: Message, issuance: str, wh: int, slot: int) -> Message:
        facts = {"origin": origin.id.hex(), "issuance_id": issuance, "slot": slot}
        exiting = replace(self.message(wh * UNITS_PER_WH, Kind.EXIT), direction=Direction.OUT, facts=facts)
        async with self.book.page() as page:
            page.open(replace(exiting, state=State.RECEIPTED))
            page.write(*await self.lots.returned(exiting))
        return exiting

    async def fly(self, message: Message) -> None:
        """A release of it that is stored, and open while the message is on its way."""
        open_ms = self.clock.now_ms if message.state is State.DST_SENT else None
        row = {"_id": message.id * 2, "messages": [message.id], "open_ms": open_ms}
        await self.store.commit([Insert(RELEASES, row)])

    async def issued(self, message: Message) -> Message:
        """With a certificate for each of its lots."""
        certificates = [
            [f"{message.id.hex()}/{key}", index, units // UNITS_PER_WH]
            for index, (key, units) in enumerate(drawn(message))
        ]
        async with self.book.page() as page:
            return page.put_off(message, None, facts={**message.facts, "issuances": certificates})


@asynccontextmanager
async def opened(folder: Path, most: int = 5) -> AsyncIterator[World]:
    store = SqliteStore(folder / "node.db", cache_mib=4)
    await store.open([*MIRROR_COLLECTIONS, LEASES, INTERVALS, NUMBERS])
    yield World(store, most)
    await store.close()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with opened(tmp_path) as made:
        yield made


def parts(message: Message) -> list[tuple[str, int]]:
    """Keys of lots, and Wh."""
    return [(key, units // UNITS_PER_WH) for key, units in drawn(message)]


def held(message: Message) -> Hold | None:
    return None if message.reason is None else message.reason.code


# The line


async def test_the_oldest_comes_first_and_one_page_gives_nothing_twice(world: World) -> None:
    (late,) = await world.mint(9, 5)
    first, second = await world.mint(3, 2, 4)
    one, two, three = await world.deposit(1, 4, 3)
    assert parts(one) == [(first.key, 1)]
    assert parts(two) == [(first.key, 1), (second.key, 3)]
    assert parts(three) == [(second.key, 1), (late.key, 2)]
    assert [lot.left // UNITS_PER_WH for lot in await world.all_lots()] == [3, 0, 0]
    assert await world.line() == [late.key]


async def test_what_is_less_than_a_wh_is_never_drawn_nor_put_together(world: World) -> None:
    lots = await world.mint(1, 1.5, 0.7, 2.999999)
    assert await world.line() == [lots[0].key, lots[2].key]
    (all_of_it,) = await world.deposit(3)
    assert parts(all_of_it) == [(lots[0].key, 1), (lots[2].key, 2)]
    world.clock.now_ms += PATIENCE_MS
    assert sum(lot.left for lot in await world.all_lots()) == 2_199_999
    (more,) = await world.deposit(1)
    assert more.state is State.VALIDATED and not drawn(more)


async def test_who_finds_too_little_waits_a_moment_takes_nothing_and_holds_up_nobody(world: World) -> None:
    (lot,) = await world.mint(1, 5)
    much, little = await world.deposit(6, 2)
    assert (much.state, much.due_ms) == (State.VALIDATED, world.clock.now_ms + 500)
    assert parts(little) == [(lot.key, 2)]
    world.clock.now_ms += PATIENCE_MS
    (much,) = await world.allocate([much])
    assert (much.state, held(much)) == (State.HELD, Hold.PROVENANCE_LACKING)
    assert (await world.stored(lot.key)).wh == 3


async def test_who_waited_takes_what_came_meanwhile(world: World) -> None:
    (waiting,) = await world.deposit(6)
    (lot,) = await world.mint(1, 7)
    (waiting,) = await world.allocate([waiting])
    assert (waiting.state, parts(waiting)) == (State.ACCOUNTED, [(lot.key, 6)])


@pytest.mark.parametrize("state", [State.DST_SENT, State.DST_FINAL, State.HELD, State.RECEIPTED])
@pytest.mark.parametrize("kind", [Kind.EXIT, Kind.DEPOSIT])
async def test_exits_on_their_way_are_waited_for_if_they_began_before(
    world: World, state: State, kind: Kind
) -> None:
    crossing = replace(world.message(UNITS_PER_WH, kind), state=state)
    world.clock.now_ms += 1
    (waiting,) = await world.deposit(1)
    await world.arrive([crossing])
    await world.fly(crossing)
    world.clock.now_ms += PATIENCE_MS
    (waiting,) = await world.allocate([waiting])
    is_waited_for = kind is Kind.EXIT and state in (State.DST_SENT, State.DST_FINAL)
    assert waiting.state is (State.VALIDATED if is_waited_for else State.HELD)


async def test_what_began_later_is_not_waited_for(world: World) -> None:
    (waiting,) = await world.deposit(1)
    world.clock.now_ms += PATIENCE_MS
    crossing = replace(world.message(UNITS_PER_WH, Kind.EXIT), state=State.DST_SENT)
    await world.arrive([crossing])
    await world.fly(crossing)
    (waiting,) = await world.allocate([waiting])
    assert held(waiting) is Hold.PROVENANCE_LACKING


async def test_an_interval_that_goes_on_is_passed_over_and_keeps_its_place(world: World) -> None:
    ends_ms = world.clock.now_ms + 1
    going_on, over = await world.mint(1, 5, 5)
    begins = {"interval_start_ms": ends_ms - INTERVAL_MS}
    await world.store.commit([Patch(LOTS, going_on.key, begins)])
    first, waiting, lacking = await world.deposit(3, 4, 9)
    assert parts(first) == [(over.key, 3)]
    assert (waiting.state, waiting.due_ms) == (State.VALIDATED, ends_ms)
    assert lacking.due_ms == world.clock.now_ms + 500
    world.clock.now_ms = ends_ms
    (waiting,) = await world.allocate([waiting])
    assert parts(waiting) == [(going_on.key, 4)]


async def test_a_message_of_too_many_readings_is_held_and_takes_nothing(world: World) -> None:
    await world.mint(1, *([1] * 7))
    six, five = await world.deposit(6, 5)
    assert (six.state, held(six)) == (State.HELD, Hold.FRAGMENTED)
    assert five.state is State.ACCOUNTED and len(parts(five)) == 5


async def test_a_long_line_is_read_no_further_than_is_drawn(world: World) -> None:
    await world.mint(1, *([1] * 1000))
    reads: list[int] = []
    find = world.store.find

    async def counted(collection: Any, asked: Find) -> Any:
        page = await find(collection, asked)
        if collection is LOTS:
            reads.append(len(page.documents))
        return page

    world.store.find = counted  # type: ignore[method-assign]
    await world.deposit(*([2] * 70))
    assert reads == [128, 128]
    reads.clear()
    await world.deposit(1)
    assert reads == [128]


async def test_two_workers_do_not_take_the_same(world: World) -> None:
    await world.mint(1, 3)
    other = World(world.store, 5)
    other.book = Book(world.store, NoLease(), world.clock)
    mine, its = await world.arrive([world.message(2 * UNITS_PER_WH), world.message(2 * UNITS_PER_WH)])
    with pytest.raises(Conflict):
        async with world.book.page() as page:
            await world.lots.allocate([mine], page)
            await other.allocate([its])
            page.put_off(mine, 1)
    assert [lot.wh for lot in await world.all_lots()] == [1]


# Automatic messages


async def automatic(world: World, wh: float, lot: Lot) -> Message:
    units, facts = round(wh * UNITS_PER_WH), {"readings": [lot.reading.hex()]}
    (message,) = await world.arrive([world.message(units, Kind.AUTOMATIC, facts=facts)])
    return message


async def test_an_automatic_message_takes_its_own_reading_and_nobody_else_does(world: World) -> None:
    (own,) = await world.mint(1, 3, is_reserved=True)
    (free,) = await world.mint(2, 1)
    message = await automatic(world, 3, own)
    (deposit,) = await world.arrive([world.message(UNITS_PER_WH)])
    deposit, message = await world.allocate([deposit, message])
    assert parts(deposit) == [(free.key, 1)]
    assert parts(message) == [(own.key, 3)]
    await world.refund(message)
    assert await world.line() == [own.key], "its tokens are somebody's now, who may bring them"


async def test_an_automatic_message_that_is_refunded_before_it_was_accounted_frees_its_lot(world: World) -> None:
    (own,) = await world.mint(1, 3, is_reserved=True)
    await world.refund(await automatic(world, 3, own))
    assert await world.line() == [own.key]
    assert (await world.stored(own.key)).wh == 3


async def test_an_automatic_message_without_its_lot_is_held_at_once(world: World) -> None:
    gone, dusty = world.lot(1, 5 * UNITS_PER_WH), world.lot(1, UNITS_PER_WH + 1)
    messages = await world.allocate([await automatic(world, 5, gone), await automatic(world, 1.5, dusty)])
    assert [held(each) for each in messages] == [Hold.PROVENANCE_LACKING, Hold.DUST]


# What the registry issued otherwise


def issued(lot: Lot, *, begins_ms: int = 0, ends_ms: int = 0) -> list[Write]:
    """The registry's own issuance over a lot's interval."""
    start, end = lot.interval_ms
    guard = interval_row(lot.series, (start + begins_ms, end + ends_ms), "issuance", Range(1, 5), "action")
    return [
        Put(INTERVALS, guard),
        Put(NUMBERS, {"_id": lot.series, "next": 6, "last_end_ms": end + 1_000 * INTERVAL_MS}),
    ]


@pytest.mark.parametrize(("begins_ms", "ends_ms"), [(0, 0), (-1, 0), (1, 0), (-60_000, 60_000), (0, -1)])
async def test_a_lot_that_was_issued_otherwise_leaves_the_line_for_good(
    world: World, begins_ms: int, ends_ms: int
) -> None:
    gone, next_one = await world.mint(1, 5, 5)
    (own,) = await world.mint(1, 5, is_reserved=True)
    await world.store.commit([*issued(gone, begins_ms=begins_ms, ends_ms=ends_ms), *issued(own)])
    message = await automatic(world, 5, own)
    (deposit,) = await world.arrive([world.message(3 * UNITS_PER_WH)])
    deposit, message = await world.allocate([deposit, message])
    assert parts(deposit) == [(next_one.key, 3)]
    assert held(message) is Hold.ISSUED_ELSEWHERE
    await world.refund(message)
    assert await world.line() == [next_one.key]


async def test_a_lot_of_which_the_bridge_issued_stays_in_line(world: World) -> None:
    (lot,) = await world.mint(1, 5)
    await world.store.commit(issued(lot, begins_ms=2 * INTERVAL_MS, ends_ms=2 * INTERVAL_MS))
    await world.store.commit(bridge_claim(lot.series, lot.interval_ms))
    (deposit,) = await world.deposit(3)
    assert parts(deposit) == [(lot.key, 3)]


# Back


async def test_a_refund_goes_back_to_where_it_was_in_line(world: World) -> None:
    first, second = await world.mint(1, 2, 5)
    one, two = await world.deposit(3, 1)
    await world.refund(one)
    assert await world.line() == [first.key, second.key]
    (again,) = await world.deposit(6)
    assert parts(again) == [(first.key, 2), (second.key, 4)]
    await world.refund(two, again)
    assert [lot.wh for lot in await world.all_lots()] == [2, 5]


async def test_what_exits_stands_in_line_by_its_release(world: World) -> None:
    old, fresh = *(await world.mint(1, 2)), *(await world.mint(50, 5))
    (message,) = await world.deposit(2)
    message = await world.issued(message)
    (issuance, _, _) = message.facts["issuances"][0]
    exits = [await world.exit(message, issuance, 1, slot) for slot in (49, 51)]
    line = await world.line()
    assert line == [exits[0].id.hex(), fresh.key, exits[1].id.hex()]
    lot = await world.stored(line[0])
    assert (lot.reading, lot.interval_ms, lot.wh) == (old.reading, old.interval_ms, 1)
    await world.exit(message, "another's", 1, 52)
    assert await world.line() == line


async def test_an_exit_told_twice_is_one_lot(world: World) -> None:
    await world.mint(1, 2)
    (message,) = await world.deposit(2)
    message = await world.issued(message)
    exiting = await world.exit(message, message.facts["issuances"][0][0], 2, 9)
    (taken,) = await world.deposit(2)
    assert parts(taken) == [(exiting.id.hex(), 2)]
    async with world.book.page() as page:
        page.write(*await world.lots.returned(exiting))
    assert await world.line() == []


async def test_a_message_that_has_its_lots_keeps_them(world: World) -> None:
    await world.mint(1, 5)
    (message,) = await world.deposit(2)
    async with world.book.page() as page:
        assert await world.lots.allocate([message], page) == [message]
    assert [lot.wh for lot in await world.all_lots()] == [3]


# The check


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"left": 4 * UNITS_PER_WH}, "lacks 1000000 base units, and messages have 2000000 of it"),
        ({"left": 6 * UNITS_PER_WH}, "has 6000000 base units left of 5000000"),
        ({"free": None}, "stands in line at None, and should at 1"),
        ({"from": "ab" * 32}, "of no exit that ended with as much"),
    ],
)
async def test_a_lot_that_does_not_tally_is_found(world: World, change: dict[str, Any], told: str) -> None:
    (lot,) = await world.mint(1, 5)
    await world.deposit(2)
    assert await check_lots(world.store) == []
    await world.store.commit([Patch(LOTS, lot.key, change)])
    assert any(told in fault for fault in await check_lots(world.store))


async def test_a_lot_that_is_gone_is_missed(world: World) -> None:
    (lot,) = await world.mint(1, 5)
    await world.deposit(2)
    await world.store.commit([Delete(LOTS, lot.key)])
    (fault,) = await check_lots(world.store)
    assert lot.key in fault and "is not there" in fault


# Whatever happens


@dataclass
class Model:
    """Lots as a list, drawn from by hand."""

    lots: list[Lot] = field(default_factory=list)

    def line(self) -> list[Lot]:
        return sorted((lot for lot in self.lots if lot.place is not None), key=lambda lot: (lot.slot, lot.key))

    def change(self, lot: Lot) -> None:
        self.lots = [lot if each.key == lot.key else each for each in self.lots]

    def lot(self, key: str) -> Lot:
        return next(lot for lot in self.lots if lot.key == key)

    def draw(self, wh: int, most: int) -> list[tuple[str, int]]:
        taken: list[tuple[str, int]] = []
        for lot in self.line()[:most]:
            taken.append((lot.key, min(wh, lot.wh)))
            wh -= taken[-1][1]
            if not wh:
                break
        if wh:
            return []
        for key, part in taken:
            self.change(self.lot(key).less(part))
        return taken


MOST = 3
OPERATIONS = st.one_of(
    st.tuples(st.just("mint"), st.integers(0, 3), st.lists(st.integers(0, 6_500_000), min_size=1, max_size=4)),
    st.tuples(st.just("deposit"), st.just(0), st.lists(st.integers(1, 9), min_size=1, max_size=4)),
    st.tuples(st.just("refund"), st.integers(0, 50), st.lists(st.integers(0, 50), max_size=2)),
    st.tuples(st.just("exit"), st.integers(0, 50), st.lists(st.integers(1, 5), min_size=1, max_size=3)),
    st.tuples(st.just("issue"), st.integers(0, 50), st.just([])),
)


@dataclass
class Run:
    """The real thing and the model, side by side."""

    world: World
    model: Model = field(default_factory=Model)
    standing: list[Message] = field(default_factory=list)
    issuances: list[tuple[Message, str, str, int]] = field(default_factory=list)
    minted: dict[bytes, int] = field(default_factory=dict)
    slot: int = 1

    async def mint(self, step: int, units: Sequence[int]) -> None:
        self.slot += step
        lots = await self.world.mint(self.slot, *(each / UNITS_PER_WH for each in units))
        self.model.lots += lots
        self.minted |= {lot.reading: lot.units for lot in lots}

    async def deposit(self, _: int, whs: Sequence[int]) -> None:
        messages = await self.world.deposit(*whs)
        for wh, message in zip(whs, messages, strict=True):
            assert parts(message) == self.model.draw(wh, MOST)
            if message.state is State.ACCOUNTED:
                self.standing.append(message)
                assert sum(units for _, units in drawn(message)) == message.units
            else:
                assert held(message) in (None, Hold.FRAGMENTED)

    async def refund(self, at: int, more: Sequence[int]) -> None:
        """Of messages whose certificates were not issued."""
        chosen = list(_chosen(self.standing, [at, *more]))
        if not chosen:
            return
        await self.world.refund(*chosen)
        for message in chosen:
            self.standing.remove(message)
            for key, units in drawn(message):
                self.model.change(self.model.lot(key).more(units))

    async def issue(self, at: int, _: Sequence[int]) -> None:
        for message in _chosen(self.standing, [at]):
            self.standing.remove(message)
            made = await self.world.issued(message)
            for (key, _units), (issuance, _, wh) in zip(drawn(made), made.facts["issuances"], strict=True):
                self.issuances.append((made, issuance, key, wh))

    async def exit(self, at: int, whs: Sequence[int]) -> None:
        for wanted in whs:
            for chosen in _chosen(self.issuances, [at]):
                self.issuances.remove(chosen)
                message, issuance, key, left = chosen
                wh = min(wanted, left)
                self.slot += 1
                exiting = await self.world.exit(message, issuance, wh, self.slot)
                if left > wh:
                    self.issuances.append((message, issuance, key, left - wh))
                lot, units = self.model.lot(key), wh * UNITS_PER_WH
                self.model.lots.append(
                    replace(lot, key=exiting.id.hex(), slot=self.slot, units=units, left=units, source="exit")
                )

    async def check(self) -> None:
        """Line and lots are the model's; of each reading there is as much as was minted, in tokens or in
        certificates, and never both."""
        assert await self.world.line() == [lot.key for lot in self.model.line()]
        lots = {lot.key: lot for lot in await self.world.all_lots()}
        assert {key: lot.left for key, lot in lots.items()} == {lot.key: lot.left for lot in self.model.lots}
        found = dict.fromkeys(self.minted, 0)
        for lot in lots.values():
            found[lot.reading] += lot.left
        for message in self.standing:
            for key, units in drawn(message):
                found[lots[key].reading] += units
        for _, _, key, wh in self.issuances:
            found[lots[key].reading] += wh * UNITS_PER_WH
        assert found == self.minted
        assert await check_lots(self.world.store) == []


def _chosen(among: Sequence[Any], numbers: Iterable[int]) -> Iterable[Any]:
    return [among[number] for number in dict.fromkeys(each % len(among) for each in numbers)] if among else []


async def run(operations: Sequence[tuple[str, int, list[int]]]) -> None:
    with TemporaryDirectory() as folder:
        async with opened(Path(folder), MOST) as world:
            going = Run(world)
            for name, number, numbers in operations:
                await getattr(going, name)(number, numbers)
                await going.check()


@settings(max_examples=40, deadline=None)
@given(st.lists(OPERATIONS, max_size=25))
def test_whatever_comes_and_goes_no_wh_is_there_twice_and_the_oldest_goes_first(
    operations: list[tuple[str, int, list[int]]],
) -> None:
    asyncio.run(run([("mint", 0, [3_000_000, 1_500_000, 500_000, 6_000_000]), *operations]))
