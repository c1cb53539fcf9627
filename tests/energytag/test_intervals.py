"""Numbers go on, and no interval is issued twice: one series as a batch of plans sees it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certificates.ranges import Range
from energytag.intervals import (
    HOUR_MS,
    IssuedTwice,
    Series,
    WrongNumber,
    interval_key,
    interval_row,
    load_series,
    series_key,
    start_of,
    windows,
)
from energytag.records import INTERVALS, NUMBERS
from store.port import Insert, Store
from store.sqlite import SqliteStore

KEY = series_key("5d1f3f5e-93a2-4a6b-8f5d-0e6a9a1c7b42", "electricity")


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = SqliteStore(tmp_path / "registry.db")
    await opened.open([INTERVALS, NUMBERS])
    yield opened
    await opened.close()


def hours(start: float, end: float) -> tuple[int, int]:
    return int(start * HOUR_MS), int(end * HOUR_MS)


def row(start: float, end: float, action_id: str = "earlier") -> Insert:
    return Insert(INTERVALS, interval_row(KEY, hours(start, end), "some issuance", Range(1, 5), action_id))


def test_a_series_is_a_device_and_a_carrier() -> None:
    assert series_key("a", "Electricity") == series_key("a", "electricity") != series_key("b", "electricity")
    assert series_key("a", "hydrogen") != series_key("a", "electricity")


@given(st.integers(-(2**60), 2**60), st.integers(-(2**60), 2**60))
def test_keys_are_in_the_order_of_time(left: int, right: int) -> None:
    assert (interval_key(KEY, left) < interval_key(KEY, right)) == (left < right)
    assert start_of({"_id": interval_key(KEY, left)}) == left


@pytest.mark.parametrize(
    ("interval", "free"),
    [
        ((9, 10), True),
        ((11, 12), True),
        ((10, 11), False),
        ((9.5, 10.5), False),
        ((10.25, 10.5), False),
        ((10.5, 11.5), False),
        ((9.5, 11.5), False),
        ((9.75, 10), True),
    ],
)
def test_what_overlaps_an_interval_that_is_taken(interval: tuple[float, float], free: bool) -> None:
    series = Series.of(KEY, None)
    series.take(hours(10, 11))
    if free:
        series.take(hours(*interval))
        assert series.taken == sorted([hours(10, 11), hours(*interval)])
    else:
        with pytest.raises(IssuedTwice):
            series.take(hours(*interval))


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 4)), max_size=30))
def test_what_is_taken_never_overlaps(asked: list[tuple[int, int]]) -> None:
    series = Series.of(KEY, None)
    held: list[tuple[int, int]] = []
    for start, length in asked:
        interval = (start, start + length)
        free = all(interval[1] <= one[0] or one[1] <= interval[0] for one in held)
        try:
            series.take(interval)
        except IssuedTwice:
            assert not free
        else:
            assert free
            held.append(interval)
    assert series.taken == sorted(held)
    assert series.last_end_ms == max((end for _, end in held), default=0)


def test_numbers_go_on_and_another_beginning_is_refused() -> None:
    series = Series.of(KEY, None)
    assert series.number(100) == Range(1, 100)
    assert series.number(1, 101) == Range(101, 101)
    with pytest.raises(WrongNumber, match="must be 102"):
        series.number(5, 101)
    assert series.number(5) == Range(102, 106)


async def test_the_past_is_read_once_it_is_issued_into(store: Store) -> None:
    await store.commit([row(5, 6), row(7, 8, "own"), Insert(NUMBERS, {"_id": KEY, "next": 11, "last_end_ms": 8})])
    series = (await load_series(store, [KEY]))[KEY]
    series.last_end_ms = hours(0, 8)[1]
    await series.look_back(store, hours(8, 9), "own")
    assert series.taken == []
    await series.look_back(store, hours(4, 8), "own")
    assert series.taken == [hours(5, 6)], "rows of the action that is planned again are left out"
    with pytest.raises(IssuedTwice):
        series.take(hours(5.5, 6.5))


async def test_an_interval_that_begins_before_the_window_is_seen(store: Store) -> None:
    await store.commit([row(4.5, 5.5)])
    series = Series(KEY, True, 11, hours(0, 100)[1])
    await series.look_back(store, hours(5, 6), "own")
    assert series.taken == [hours(4.5, 5.5)]


async def test_the_write_is_guarded_by_what_was_read(store: Store) -> None:
    series = (await load_series(store, [KEY]))[KEY]
    series.number(10)
    series.take(hours(1, 2))
    await store.commit([series.write(1)])
    again = (await load_series(store, [KEY]))[KEY]
    assert (again.next, again.last_end_ms) == (11, hours(1, 2)[1])
    again.number(5)
    await store.commit([again.write(11)])
    assert (await load_series(store, [KEY]))[KEY].next == 16


def test_between_intervals_that_are_far_apart_nothing_is_looked_at() -> None:
    near = [hours(1, 2), hours(0, 0.5), hours(6, 7)]
    far = hours(9_000, 9_001)
    assert windows([far, *near]) == [hours(0, 7), far]
    assert windows([]) == []
    assert windows([hours(0, 3), hours(1, 2)]) == [hours(0, 3)]


async def test_windows_that_were_read_are_remembered_each(store: Store) -> None:
    await store.commit([row(5, 6), row(500, 501)])
    series = (await load_series(store, [KEY]))[KEY]
    series.last_end_ms = hours(0, 600)[1]
    for window in (hours(5, 6), hours(500, 501)):
        await series.look_back(store, window, "own")
    assert series.taken == [hours(5, 6), hours(500, 501)]
    await store.commit([row(5.5, 5.75), row(550, 551)])
    copied = series.copy()
    await copied.look_back(store, hours(5, 5.5), "own")
    await copied.look_back(store, hours(550, 551), "own")
    assert copied.taken == [hours(5, 6), hours(500, 501), hours(550, 551)], "what was read is not read again"
    assert series.taken == [hours(5, 6), hours(500, 501)]
