"""Figures of readings and mints: what they say, and that they cost no more when more is stored."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.measure import LEAST_GRACE_SECS, SAMPLE, Figures, Measuring, Minutes, percentile
from bridge.minting.config import ConfigShelf
from bridge.minting.retry import NEVER_MS
from bridge.records import (
    ATTEMPTS,
    BRIDGE_COLLECTIONS,
    CONFLICTS,
    MOVEMENTS,
    READINGS,
    ReadingState,
    reading_key,
)
from config.settings import TokenizationSettings
from store.port import Document, Find, Insert, Store
from store.sqlite import SqliteStore

NOW_MS = 1_780_315_230_000
MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS


@dataclass
class Clock:
    now_ms: int = NOW_MS
    secs: float = 0.0

    def __call__(self) -> int:
        return self.now_ms


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(tmp_path / "node.db", cache_mib=4)
    await store.open(BRIDGE_COLLECTIONS)
    yield store
    await store.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def reading(number: int, submitted_ms: int, state: ReadingState = ReadingState.ACCEPTED, **more: Any) -> Document:
    is_open = state not in (ReadingState.MINTED, ReadingState.REJECTED)
    return {
        "_id": reading_key(f"M-{number}", submitted_ms),
        "meter": f"M-{number}",
        "wallet": "w",
        "interval_start_ms": submitted_ms,
        "submitted_ms": submitted_ms,
        "open_ms": submitted_ms if is_open else None,
        "due_ms": submitted_ms if state is ReadingState.ACCEPTED else None,
        "retry_ms": {ReadingState.RETRY: submitted_ms, ReadingState.DEAD: NEVER_MS}.get(state),
        "minted_ms": None,
        "state": state,
        "attempts": 0,
        **more,
    }


def minted(number: int, submitted_ms: int, took_secs: float) -> Document:
    minted_ms = submitted_ms + round(1000 * took_secs)
    return reading(number, submitted_ms, ReadingState.MINTED, minted_ms=minted_ms)


async def keep(store: Store, *readings: Document) -> None:
    await store.commit([Insert(READINGS, each) for each in readings])


async def figures(store: Store, clock: Clock, **settings: Any) -> Figures:
    return await Measuring(store, TokenizationSettings(**settings), clock, lambda: clock.secs).figures()


async def test_nothing_stored(store: Store, clock: Clock) -> None:
    told = await figures(store, clock)
    assert (told.unminted, told.overdue, told.retries, told.dead, told.held) == (0, 0, 0, 0, 0)
    assert told.oldest_secs == 0
    assert isnan(told.success_ratio) and isnan(told.latency_mean_secs) and isnan(told.latency_p95_secs)
    assert told.is_auto


async def test_what_is_open_by_its_state(store: Store, clock: Clock) -> None:
    ago = NOW_MS - 30_000
    await keep(
        store,
        reading(1, ago),
        reading(2, ago - 300_000, ReadingState.SIGNED),
        reading(3, ago, ReadingState.RETRY, attempts=1),
        reading(4, ago, ReadingState.RETRY, attempts=4),
        reading(5, ago, ReadingState.RETRY, attempts=4),
        reading(6, ago, ReadingState.DEAD, attempts=10),
        reading(7, ago, ReadingState.HELD),
        reading(8, ago, ReadingState.HELD, attempts=2),
        reading(9, ago, ReadingState.REJECTED),
        minted(10, ago - HOUR_MS, 3),
    )
    await store.commit(
        [
            Insert(CONFLICTS, {"_id": b"1", "submitted_ms": 1, "open_ms": 1}),
            Insert(CONFLICTS, {"_id": b"2", "submitted_ms": 1, "open_ms": None}),
            Insert(ATTEMPTS, {"_id": b"1", "open_ms": 1}),
            Insert(ATTEMPTS, {"_id": b"2", "open_ms": None}),
            Insert(MOVEMENTS, {"_id": b"1", "kind": "unexplained", "account": "a", "slot": 1}),
            Insert(MOVEMENTS, {"_id": b"2", "kind": "mint", "account": "a", "slot": 1}),
        ]
    )
    told = await figures(store, clock)
    assert (told.unminted, told.overdue, told.oldest_secs) == (8, 1, 330)
    assert (told.retries, told.retry_attempts_mean, told.retry_attempts_max) == (3, 3.0, 4)
    assert (told.dead, told.held) == (1, 2)
    assert (told.conflicts, told.transactions, told.unexplained) == (1, 1, 1)


async def test_times_are_those_of_the_last_hour(store: Store, clock: Clock) -> None:
    await keep(
        store,
        *[minted(number, NOW_MS - 200_000, secs) for number, secs in enumerate([1, 2, 3, 100])],
        minted(9, NOW_MS - 2 * HOUR_MS, 3000),
    )
    told = await figures(store, clock)
    assert told.latency_mean_secs == 26.5
    assert told.latency_p95_secs == 100


async def test_of_many_mints_the_newest_are_looked_at(store: Store, clock: Clock) -> None:
    slow = [minted(number, NOW_MS - 100_000, 20) for number in range(500)]
    quick = [minted(number, NOW_MS - 50_000, 1) for number in range(SAMPLE)]
    await keep(store, *slow, *quick)
    told = await figures(store, clock)
    assert (told.latency_mean_secs, told.latency_p95_secs) == (1, 1)


@pytest.mark.parametrize(
    ("ago_secs", "is_minted", "success"),
    [
        (200, [True] * 19 + [False], 0.95),
        (200, [False] * 3, 0.0),
        (200, [True] * 3, 1.0),
        # They have not had two poll intervals yet, whatever became of them.
        (100, [False] * 3, float("nan")),
        # No longer within the hour.
        (2 * 3600, [False] * 3, float("nan")),
    ],
)
async def test_success_over_an_hour(
    store: Store, clock: Clock, ago_secs: int, is_minted: list[bool], success: float
) -> None:
    submitted_ms = NOW_MS - ago_secs * 1000
    rows = [
        minted(number, submitted_ms, 5) if done else reading(number, submitted_ms)
        for number, done in enumerate(is_minted)
    ]
    await keep(store, *rows)
    told = await figures(store, clock)
    assert told.success_ratio == pytest.approx(success, nan_ok=True)


async def test_grace_follows_the_poll_interval_that_is_in_force(store: Store, clock: Clock) -> None:
    await keep(store, reading(1, NOW_MS - 400_000))
    assert (await figures(store, clock)).overdue == 1
    assert (await figures(store, clock, polling_interval_secs=300)).overdue == 0
    shelf = ConfigShelf(store, TokenizationSettings())
    await shelf.change(polling_interval_secs=300, auto_mint_enabled=False)
    told = await figures(store, clock)
    assert (told.overdue, told.is_auto) == (0, False)


@hypothesis.settings(deadline=None, max_examples=50)
@given(
    st.lists(st.tuples(st.integers(0, 100 * MINUTE_MS), st.booleans()), max_size=40),
    st.lists(st.integers(0, 5 * MINUTE_MS), min_size=1, max_size=6),
)
async def test_minutes_remembered_are_as_minutes_counted(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, bool]], steps: list[int]
) -> None:
    store = SqliteStore(tmp_path_factory.mktemp("minutes") / "node.db", cache_mib=4)
    await store.open(BRIDGE_COLLECTIONS)
    base_ms = NOW_MS - 100 * MINUTE_MS
    readings = [
        minted(number, base_ms + at, 1) if done else reading(number, base_ms + at)
        for number, (at, done) in enumerate(rows)
    ]
    try:
        await keep(store, *readings)
        remembering, until_ms = Minutes(store), NOW_MS - 20 * MINUTE_MS
        for step in steps:
            until_ms += step
            told = await remembering.success(until_ms)
            assert told == pytest.approx(await Minutes(store).success(until_ms), nan_ok=True)
            assert told == pytest.approx(counted(readings, until_ms), nan_ok=True)
            assert len(remembering._submitted) == 60
    finally:
        await store.close()


def counted(readings: list[Document], until_ms: int) -> float:
    """Success by its definition, over all readings."""
    end_ms = until_ms // MINUTE_MS * MINUTE_MS
    hour = [row for row in readings if end_ms - HOUR_MS <= row["submitted_ms"] < end_ms]
    return sum(row["open_ms"] is None for row in hour) / len(hour) if hour else float("nan")


@pytest.mark.parametrize(
    ("values", "percent", "value"),
    [([], 95, float("nan")), ([7], 95, 7), ([*range(1, 101)], 95, 95), ([1, 2, 3, 4], 50, 2), ([1, 2], 95, 2)],
)
def test_percentiles(values: list[float], percent: int, value: float) -> None:
    assert percentile(values, percent) == pytest.approx(value, nan_ok=True)


async def test_it_is_counted_every_ten_seconds_at_most(store: Store, clock: Clock) -> None:
    measuring = Measuring(store, TokenizationSettings(), clock, lambda: clock.secs)
    first = await measuring.figures()
    await keep(store, reading(1, NOW_MS))
    clock.secs = 9.9
    assert await measuring.figures() is first
    clock.secs = 10.1
    assert (await measuring.figures()).unminted == 1


class Asked:
    """A store that notes what is asked of it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.finds: list[Find] = []

    def __getattr__(self, name: str) -> Any:
        whole = getattr(self._store, name)
        if name not in ("find", "count", "aggregate"):
            return whole

        def noted(collection: Any, find: Find, *rest: Any) -> Any:
            self.finds.append(find)
            return whole(collection, find, *rest)

        return noted


async def test_nothing_is_walked_that_grows_with_what_is_stored(store: Store, clock: Clock) -> None:
    """Only what is open, a bounded number of what is minted, and, once, each minute of the hour."""
    asked: Any = Asked(store)
    measuring = Measuring(asked, TokenizationSettings(), clock, lambda: clock.secs)
    await measuring.figures()
    assert sum(find.index == "submitted" for find in asked.finds) == 60
    for find in asked.finds:
        assert find.index in ("open", "kind", "submitted", "minted")
        if find.index == "submitted":
            assert isinstance(find.lower, int) and find.upper == find.lower + MINUTE_MS
        if find.index == "minted":
            assert find.limit == SAMPLE
    asked.finds.clear()
    clock.secs, clock.now_ms = 60, NOW_MS + MINUTE_MS
    await measuring.figures()
    assert sum(find.index == "submitted" for find in asked.finds) == 1


def test_the_grace_is_what_the_latency_alert_allows() -> None:
    assert LEAST_GRACE_SECS == 120
