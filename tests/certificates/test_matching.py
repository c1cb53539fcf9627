"""Matching in integers: spreading, periods, coverage; and the residual mix."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certificates.matching import (
    HOUR_SECS,
    Flow,
    Granularity,
    Match,
    Window,
    by_hour,
    match,
    percent,
    period_of,
    spread,
    total,
)
from certificates.residual import UNTRACKED, Fate, ResidualMix, mix, untracked_wh

HOUR = HOUR_SECS
NINE = int(datetime(2026, 6, 1, 9, tzinfo=UTC).timestamp())
JUNE = Window(NINE - 9 * HOUR, NINE + 21 * HOUR + 29 * 24 * HOUR)


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp())


@pytest.mark.parametrize(
    ("start", "end", "energy_wh", "expected"),
    [
        (NINE, NINE + HOUR, 1001, [1001]),
        (NINE, NINE + 900, 7, [7]),
        (NINE + 1800, NINE + 5400, 1000, [500, 500]),
        # Equal remainders: the watt-hour left over goes to the earlier hour.
        (NINE + 1800, NINE + 5400, 1001, [501, 500]),
        # 20 minutes and 40 minutes: 33⅓ and 66⅔, of which the larger remainder takes the rest.
        (NINE + 2400, NINE + 6000, 100, [33, 67]),
        (NINE + 3599, NINE + 3601, 1, [1, 0]),
        (NINE + 1800, NINE + 5400, 0, [0, 0]),
    ],
)
def test_an_interval_is_spread_over_the_hours_it_overlaps(
    start: int, end: int, energy_wh: int, expected: list[int]
) -> None:
    assert [share for _, share in spread(start, end, energy_wh)] == expected
    assert [hour for hour, _ in spread(start, end, energy_wh)] == [NINE + HOUR * n for n in range(len(expected))]


@pytest.mark.parametrize(("end", "energy_wh"), [(NINE, 1), (NINE - 1, 1), (NINE + 1, -1)])
def test_what_is_no_energy_of_an_interval_is_not_spread(end: int, energy_wh: int) -> None:
    with pytest.raises(ValueError, match="is not energy"):
        list(spread(NINE, end, energy_wh))


@given(st.integers(0, 10**6), st.integers(1, 4 * HOUR), st.integers(0, 2**53))
def test_spreading_loses_no_watt_hour(offset: int, length: int, energy_wh: int) -> None:
    shares = dict(spread(offset, offset + length, energy_wh))
    assert sum(shares.values()) == energy_wh
    for hour, share in shares.items():
        exact = Fraction(energy_wh * (min(offset + length, hour + HOUR) - max(offset, hour)), length)
        assert abs(share - exact) < 1


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=6), st.integers(0, HOUR - 1))
def test_how_a_bundle_was_split_does_not_matter(parts: Sequence[int], offset: int) -> None:
    start, end = NINE + offset, NINE + offset + HOUR
    whole = by_hour([Flow("DE", start, end, sum(parts))], JUNE)
    assert by_hour([Flow("DE", start, end, part) for part in parts], JUNE) == whole


def test_only_hours_within_the_window_count() -> None:
    flows = [Flow("DE", NINE - 1800, NINE + 1800, 100), Flow("DE", NINE + HOUR, NINE + 2 * HOUR, 5)]
    assert by_hour(flows, Window(NINE, NINE + HOUR)) == {"DE": {NINE: 50}}


@pytest.mark.parametrize(
    ("granularity", "moment", "start", "end"),
    [
        ("hour", "2026-06-01T09:59:59Z", "2026-06-01T09:00:00Z", "2026-06-01T10:00:00Z"),
        ("day", "2026-06-01T23:59:59Z", "2026-06-01T00:00:00Z", "2026-06-02T00:00:00Z"),
        # The first of January 2027 is a Friday: ISO week 53 of 2026.
        ("week", "2027-01-01T00:00:00Z", "2026-12-28T00:00:00Z", "2027-01-04T00:00:00Z"),
        ("month", "2028-02-29T12:00:00Z", "2028-02-01T00:00:00Z", "2028-03-01T00:00:00Z"),
        ("month", "2026-12-31T12:00:00Z", "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"),
        ("year", "2028-12-31T23:00:00Z", "2028-01-01T00:00:00Z", "2029-01-01T00:00:00Z"),
    ],
)
def test_periods_are_those_of_the_utc_calendar(granularity: str, moment: str, start: str, end: str) -> None:
    assert period_of(at(moment), Granularity(granularity)) == (at(start), at(end))


def test_an_hour_is_matched_by_the_lesser_side() -> None:
    consumed = {NINE: 100, NINE + HOUR: 50, NINE + 3 * HOUR: 10}
    cancelled = {NINE: 60, NINE + HOUR: 80, NINE + 2 * HOUR: 30}
    told = [
        (each.matched_wh, each.excess_wh, each.uncovered_wh, each.coverage)
        for each in match(consumed, cancelled, Granularity.HOUR, JUNE)
    ]
    assert told == [
        (60, 0, 40, Fraction(3, 5)),
        (50, 30, 0, Fraction(1)),
        (0, 30, 0, None),
        (0, 0, 10, Fraction(0)),
    ]


def test_a_coarser_period_is_matched_on_its_sums_and_cut_to_the_window() -> None:
    window = Window(NINE, NINE + 2 * HOUR)
    whole = match({NINE: 100, NINE + HOUR: 50}, {NINE: 60, NINE + HOUR: 80}, Granularity.DAY, window)
    assert whole == [Match(NINE, NINE + 2 * HOUR, 150, 140, 140)]


def test_no_consumption_has_no_coverage() -> None:
    assert total([], JUNE).coverage is None
    assert percent(None) is None


@pytest.mark.parametrize(
    ("part", "text"),
    [
        (Fraction(1), "100.00"),
        (Fraction(0), "0.00"),
        (Fraction(2, 3), "66.66"),
        (Fraction(9_999_999, 10**7), "99.99"),
    ],
)
def test_percent_is_rounded_down(part: Fraction, text: str) -> None:
    assert percent(part) == text


HOURLY = st.dictionaries(st.integers(0, 800).map(lambda n: NINE + n * HOUR), st.integers(1, 10**9), max_size=30)


@given(HOURLY, HOURLY)
def test_coverage_rises_from_the_hour_to_the_year_and_energy_is_kept(
    consumed: dict[int, int], cancelled: dict[int, int]
) -> None:
    window = Window(NINE, NINE + 801 * HOUR)
    totals = {
        each: total(match(consumed, cancelled, each, window), window)
        for each in (Granularity.HOUR, Granularity.DAY, Granularity.MONTH, Granularity.YEAR, Granularity.WEEK)
    }
    for each in totals.values():
        assert each.consumption_wh == sum(consumed.values()) == each.matched_wh + each.uncovered_wh
        assert each.cancelled_wh == sum(cancelled.values()) == each.matched_wh + each.excess_wh
    matched = {granularity: each.matched_wh for granularity, each in totals.items()}
    assert matched[Granularity.HOUR] <= matched[Granularity.DAY] <= matched[Granularity.MONTH]
    assert matched[Granularity.MONTH] <= matched[Granularity.YEAR]
    assert matched[Granularity.DAY] <= matched[Granularity.WEEK]


def test_the_residual_is_production_less_what_was_cancelled_or_left() -> None:
    zone = ResidualMix()
    zone.measured("wind", "a", NINE, 1000)
    for fate, energy_wh in ((Fate.HELD, 300), (Fate.CANCELLED, 400), (Fate.EXPORTED, 50), (Fate.EXPIRED, 100)):
        zone.issued("wind", "a", NINE, energy_wh, fate)
    zone.issued("solar_pv", "b", NINE, 200, Fate.CANCELLED)
    balances = zone.balances()
    assert list(balances) == ["solar_pv", "wind"]
    wind = balances["wind"]
    assert (wind.production_wh, wind.issued_wh, wind.residual_wh) == (1000, 850, 550)
    assert (balances["solar_pv"].production_wh, balances["solar_pv"].residual_wh) == (200, 0)


def test_withdrawn_energy_is_production_only_when_it_was_measured() -> None:
    zone = ResidualMix()
    zone.issued("wind", "a", NINE, 500, Fate.WITHDRAWN)
    zone.measured("wind", "b", NINE, 70)
    zone.issued("wind", "b", NINE, 500, Fate.WITHDRAWN)
    wind = zone.balances()["wind"]
    assert (wind.production_wh, wind.issued_wh, wind.residual_wh, wind.fates[Fate.WITHDRAWN]) == (70, 0, 70, 1000)


def test_production_is_compared_device_by_device() -> None:
    zone = ResidualMix()
    zone.measured("wind", "a", NINE, 100)
    zone.issued("wind", "b", NINE, 100, Fate.HELD)
    # Four quarters of an hour that were measured, and one certificate of that hour.
    for quarter in range(4):
        zone.measured("wind", "c", NINE + 900 * quarter, 25)
    zone.issued("wind", "c", NINE, 100, Fate.HELD)
    assert zone.balances()["wind"].production_wh == 300


def test_consumption_beyond_known_production_is_untracked() -> None:
    zone = ResidualMix()
    zone.measured("wind", "a", NINE, 300)
    zone.issued("wind", "a", NINE, 100, Fate.CANCELLED)
    balances = zone.balances()
    assert untracked_wh(balances, 1000) == 700
    assert untracked_wh(balances, 200) == 0
    assert mix(balances, 700) == {"wind": Fraction(2, 9), UNTRACKED: Fraction(7, 9)}
    assert mix({}) == {}


FATES = st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 3), st.integers(1, 100), st.sampled_from(Fate)))


@given(FATES, st.integers(0, 10**4))
def test_residual_and_cancelled_are_all_that_was_consumed(
    issued: list[tuple[str, int, int, Fate]], more_wh: int
) -> None:
    zone = ResidualMix()
    for device, hour, energy_wh, fate in issued:
        zone.issued("wind", device, NINE + hour * HOUR, energy_wh, fate)
    balances = zone.balances()
    production = sum(each.production_wh for each in balances.values())
    gone = sum(each.fates.get(fate, 0) for each in balances.values() for fate in (Fate.CANCELLED, Fate.EXPORTED))
    residual = sum(each.residual_wh for each in balances.values())
    assert residual + untracked_wh(balances, production + more_wh) == production + more_wh - gone
    assert all(each.residual_wh >= 0 for each in balances.values())
    assert sum(mix(balances, more_wh).values()) in (0, 1)
