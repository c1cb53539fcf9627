"""Due times: months of different length, leap days, the last occurrence."""

from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energytag.schedule import Schedule, Unit, moment_of, ms_of


def day(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("first", "unit", "every", "due"),
    [
        ("2026-01-31", Unit.DAYS, 1, ["2026-01-31", "2026-02-01", "2026-02-02"]),
        ("2026-02-27", Unit.DAYS, 2, ["2026-02-27", "2026-03-01", "2026-03-03"]),
        ("2026-12-28", Unit.WEEKS, 1, ["2026-12-28", "2027-01-04", "2027-01-11"]),
        ("2026-01-05", Unit.WEEKS, 2, ["2026-01-05", "2026-01-19", "2026-02-02"]),
        ("2026-01-15", Unit.MONTHS, 1, ["2026-01-15", "2026-02-15", "2026-03-15"]),
        ("2026-01-31", Unit.MONTHS, 1, ["2026-01-31", "2026-02-28", "2026-03-31", "2026-04-30", "2026-05-31"]),
        ("2028-01-30", Unit.MONTHS, 1, ["2028-01-30", "2028-02-29", "2028-03-30"]),
        ("2026-11-30", Unit.MONTHS, 3, ["2026-11-30", "2027-02-28", "2027-05-30", "2027-08-30"]),
        ("2026-12-31", Unit.MONTHS, 12, ["2026-12-31", "2027-12-31"]),
        ("2028-02-29", Unit.YEARS, 1, ["2028-02-29", "2029-02-28", "2030-02-28", "2031-02-28", "2032-02-29"]),
        ("2099-02-28", Unit.YEARS, 1, ["2099-02-28", "2100-02-28", "2101-02-28"]),
        ("2096-02-29", Unit.YEARS, 4, ["2096-02-29", "2100-02-28", "2104-02-29"]),
    ],
)
def test_due_times(first, unit, every, due):
    schedule = Schedule(day(first), unit, every, None)
    assert [schedule.at(number) for number in range(len(due))] == [day(text) for text in due]


def test_the_time_of_day_stays():
    schedule = Schedule(datetime(2026, 1, 31, 23, 59, 59, 999000, UTC), Unit.MONTHS, 1, None)
    assert schedule.at(1) == datetime(2026, 2, 28, 23, 59, 59, 999000, UTC)


@pytest.mark.parametrize("unit", Unit)
def test_the_number_counts_the_first(unit):
    schedule = Schedule(day("2026-01-31"), unit, 1, 3)
    assert schedule.at(2) is not None
    assert schedule.at(3) is None


@pytest.mark.parametrize("unit", Unit)
def test_a_series_without_end_ends_with_the_calendar(unit):
    schedule = Schedule(day("9998-06-01"), unit, 1000, None)
    assert schedule.at(0) == day("9998-06-01")
    assert schedule.at(10**9) is None


def test_what_is_due_by_a_moment_includes_the_moment():
    schedule = Schedule(day("2026-01-01"), Unit.DAYS, 1, None)
    assert list(schedule.until(day("2026-01-03"))) == [day(f"2026-01-0{number}") for number in (1, 2, 3)]
    assert list(schedule.until(day("2026-01-03") - timedelta(microseconds=1)))[-1] == day("2026-01-02")
    assert list(schedule.until(day("2025-12-31"))) == []


def test_a_window_moves_with_the_schedule():
    schedule = Schedule(day("2026-02-01"), Unit.MONTHS, 1, None)
    assert schedule.moved(day("2026-01-01"), 1) == day("2026-02-01")
    assert schedule.moved(day("2026-01-31"), 1) == day("2026-02-28")


moments = st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))


@given(moments, st.sampled_from(Unit), st.integers(1, 400))
def test_occurrences_ascend_and_keep_to_their_day(first, unit, every):
    schedule = Schedule(first, unit, every, None)
    due = [moment for number in range(20) if (moment := schedule.at(number)) is not None]
    assert due[0] == first
    assert all(earlier < later for earlier, later in pairwise(due))
    if unit in (Unit.MONTHS, Unit.YEARS):
        assert all(moment.day == first.day or moment.day >= 28 for moment in due)
    assert list(islice(schedule.until(due[-1]), 20)) == due


@given(st.integers(0, 4_102_444_800_000))
def test_milliseconds_and_moments_are_inverse(ms):
    assert ms_of(moment_of(ms)) == ms
