"""Any order of crossings, holds, refunds and exits: the books are what the messages add up to, never below zero,
and no more crosses than the limits let."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Coroutine, Iterable
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from bridge.mirror.books.ledger import Ledger
from bridge.mirror.books.limits import Bucket, limit_key
from bridge.mirror.message import UNITS_PER_WH, Message
from bridge.mirror.records import MESSAGES, MIRROR, OUTSTANDING, RELEASES
from bridge.mirror.states import ENDED, Direction, Hold, State
from bridge.records import AttemptState
from config.errors import BadRequest
from store.pages import every
from store.port import Find, Put
from store.sqlite import SqliteStore
from tests.bridge.books_kit import Books

T = TypeVar("T")
MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
WHS = st.lists(st.sampled_from([1, 20, 70, 100, 250]), min_size=1, max_size=4)
CAPACITY_WH = {Direction.IN: 200, Direction.OUT: 100}
EARLY = (State.VALIDATED, State.QUEUED)
READY = (State.ACCOUNTED, State.REFUND_ACCOUNTED, State.DST_SIGNED)
SEED = st.integers(0, 1_000)


class Crossings(RuleBasedStateMachine):
    """Messages are picked among those that a step is for."""

    def __init__(self) -> None:
        super().__init__()
        self._runner = asyncio.Runner()
        self._folder = tempfile.TemporaryDirectory()
        self._signatures = count(1)
        self.passed: list[tuple[int, Direction, int]] = []

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)

    @initialize(mode=st.sampled_from(["lock", "burn"]), delay_secs=st.sampled_from([0, 600]))
    def begin(self, mode: Any, delay_secs: int) -> None:
        self.books = Books(
            SqliteStore(Path(self._folder.name) / "node.db", cache_mib=4),
            mode=mode,
            limit_in_wh=CAPACITY_WH[Direction.IN],
            limit_out_wh=CAPACITY_WH[Direction.OUT],
            limit_window_hours=1,
            large_wh=100,
            large_delay_secs=delay_secs,
        )
        self.run(self.books.open())
        self.deposit([70, 100, 20], 60, [0, 0, 0])

    # What comes

    @rule(whs=WHS, minutes=st.sampled_from([1, 60]), ends=st.lists(SEED, max_size=2))
    def deposit(self, whs: list[int], minutes: int, ends: list[int]) -> None:
        self.run(self.books.deposits(*whs, kind=self.books.arriving))
        self.work(minutes, ends)

    @rule(seed=SEED, whs=WHS)
    def leave(self, seed: int, whs: list[int]) -> None:
        """Of any message whose certificates are issued; more than there is, too."""
        if origin := self._pick(seed, lambda each: "issuances" in each.facts):
            self.run(self.books.exits(origin, *whs))

    # What the lanes do

    @rule(minutes=st.sampled_from([0, 1, 20, 60]), ends=st.lists(SEED, max_size=4))
    def work(self, minutes: int, ends: list[int]) -> None:
        """Time passes, the books are asked for what is due, and some messages come to their end."""
        self.books.clock.now_ms += minutes * MINUTE_MS
        self._account()
        for seed in ends:
            if message := self._pick(seed, lambda each: each.state in READY):
                self.run(self.books.end(message))

    def _account(self) -> None:
        now_ms = self.books.clock.now_ms
        due = [each for each in self._now() if each.state in EARLY and (each.due_ms or 0) <= now_ms]
        for direction in Direction:
            before = [each for each in due if each.direction is direction]
            for each in self.run(self.books.account(*before)) if before else ():
                if each.state is State.ACCOUNTED:
                    self.passed.append((now_ms, direction, each.wh))

    @rule(seed=SEED)
    def sign(self, seed: int) -> None:
        if message := self._pick(seed, lambda each: each.state is State.ACCOUNTED):
            self.run(self.books.sign(message, self._signature()))

    @rule(seed=SEED)
    def fail_at_destination(self, seed: int) -> None:
        """A release that failed for good."""
        failing = self._pick(seed, lambda each: each.state is State.DST_SIGNED and each.direction is Direction.OUT)
        if failing is not None:
            row = {"_id": failing.destination_tx, "open_ms": None, "state": AttemptState.FAILED.value}
            self.run(self.books.store.commit([Put(RELEASES, row)]))
            self.run(self.books.hold(failing, Hold.DESTINATION_UNUSABLE))

    # What people do

    @rule(seed=SEED)
    def hold(self, seed: int) -> None:
        if message := self._pick(seed, lambda each: each.state in (*EARLY, State.ACCOUNTED)):
            self.run(self.books.order("hold", message=message.id.hex()))

    @rule(seed=SEED)
    def release(self, seed: int) -> None:
        held = self._pick(seed, lambda each: each.state is State.HELD)
        if held is None:
            return
        told = self.run(self.books.order("release", message=held.id.hex()))
        if told["message_state"] == State.SRC_FINAL:
            self.run(self._validated(held))

    async def _validated(self, message: Message) -> None:
        async with self.books.book.page() as page:
            page.move(await self.books.read(message), State.VALIDATED)

    @rule(seed=SEED)
    def refund(self, seed: int) -> None:
        if held := self._pick(seed, lambda each: each.state is State.HELD):
            try:
                self.run(self.books.order("refund", message=held.id.hex()))
            except BadRequest:
                assert held.destination_tx is not None, "only what was signed is not given back"

    @rule(direction=st.sampled_from(Direction), is_paused=st.booleans())
    def pause(self, direction: Direction, is_paused: bool) -> None:
        self.run(self.books.pause(direction) if is_paused else self.books.resume(direction))

    # What must hold

    @precondition(lambda self: hasattr(self, "books"))
    @invariant()
    def the_ledger_is_what_the_messages_add_up_to(self) -> None:
        ledger = self.run(self.books.ledger())
        assert ledger.difference == 0
        assert min(ledger.document().values()) >= 0
        assert ledger == self._expected()

    @precondition(lambda self: hasattr(self, "books"))
    @invariant()
    def no_more_comes_back_than_is_outstanding(self) -> None:
        rows = {row["_id"]: row["left"] for row in self.run(every(self.books.store, OUTSTANDING, Find()))}
        ended = [each for each in self._now() if each.direction is Direction.IN and each.state is State.RECEIPTED]
        assert rows.keys() == {each.id for each in ended}
        for each in ended:
            left = [exit_.units for exit_ in self._leaving() if exit_.facts["origin"] == each.id.hex()]
            assert rows[each.id] == each.units - sum(left) >= 0

    @precondition(lambda self: hasattr(self, "books"))
    @invariant()
    def no_bucket_is_fuller_than_full(self) -> None:
        for direction, capacity_wh in CAPACITY_WH.items():
            row = self.run(self.books.store.get(MIRROR, limit_key(direction)))
            bucket = Bucket.read(row, capacity_wh, HOUR_MS, self.books.clock.now_ms)
            assert 0 <= bucket.level <= capacity_wh * HOUR_MS
            queued = [each for each in self._now() if each.direction is direction and each.state is State.QUEUED]
            waiting = [each for each in queued if each.facts["queued"] == "limit"]
            assert bucket.waiting_wh == sum(min(each.wh, capacity_wh) for each in waiting)

    @invariant()
    def no_more_crosses_in_a_window_than_the_limit_lets(self) -> None:
        for begin_ms, direction, _ in self.passed:
            inside = [each for each in self.passed if begin_ms <= each[0] < begin_ms + HOUR_MS]
            own = sum(min(wh, CAPACITY_WH[way]) for _, way, wh in inside if way is direction)
            back = sum(wh for _, way, wh in inside if way is not direction)
            assert own <= 2 * CAPACITY_WH[direction] + back

    def teardown(self) -> None:
        if hasattr(self, "books"):
            self.run(self.books.store.close())
        self._runner.close()
        self._folder.cleanup()

    # Messages

    def _now(self) -> list[Message]:
        return [Message.read(row) for row in self.run(every(self.books.store, MESSAGES, Find()))]

    def _pick(self, seed: int, fits: Callable[[Message], bool]) -> Message | None:
        fitting = [each for each in self._now() if fits(each)]
        return fitting[seed % len(fitting)] if fitting else None

    def _signature(self) -> bytes:
        return next(self._signatures).to_bytes(64, "big")

    def _leaving(self) -> list[Message]:
        """Exits that are in the books, and are not given back."""
        known = self._now()
        return [
            each for each in known if each.direction is Direction.OUT and each.was_accounted and not each.is_refund
        ]

    def _expected(self) -> Ledger:
        came = [each for each in self._now() if each.direction is Direction.IN]
        entered = [each for each in came if each.was_accounted or each.is_refund]
        crossing = [each for each in entered if each.state not in ENDED]
        leaving = self._leaving()
        out = _units(each for each in leaving if each.state is State.RECEIPTED)
        back = _units(each for each in entered if each.state is State.REFUNDED)
        is_burned = self.books.asset.mode == "burn"
        return Ledger(
            custody=0 if is_burned else _units(entered) - out - back,
            burned=_units(entered) if is_burned else 0,
            minted=out + back if is_burned else 0,
            live=_units(each for each in came if each.state is State.RECEIPTED) - _units(leaving),
            in_flight_in=_units(each for each in crossing if not each.is_refund),
            in_flight_out=_units(leaving) - out,
            held=_units(each for each in crossing if each.is_refund),
        )


def _units(messages: Iterable[Message]) -> int:
    return sum(each.wh for each in messages) * UNITS_PER_WH


Crossings.TestCase.settings = settings(
    max_examples=12,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestCrossings = Crossings.TestCase
