"""Matching: consumption against cancelled certificates, zone by zone and period by period, in integers.

Within one zone and one period, what is matched is the lesser of what was consumed and what was cancelled. A
period is an hour, and at coarser granularity a UTC day, an ISO week, a month or a year: there both sides are
summed over the period first, so that the night's consumption may be met by the noon's production. Coverage
can therefore only rise from the hour to the year; the hour is the honest figure, the year the customary one.

Energy never crosses zones: certificates of one zone cover nothing of another, whatever the granularity.

An interval that does not coincide with an hour is spread over the hours that it overlaps, by time: each gets
the whole watt-hours of its share, and those left over go one by one to the hours with the largest
remainders, the earliest first when they are equal. Equal intervals of a zone are added up before they are
spread, so that the answer does not depend on how a bundle was split, and the sums are exact.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from fractions import Fraction
from functools import lru_cache
from typing import Final, NamedTuple, TypeAlias

HOUR_SECS: Final = 3600
_DAY_SECS: Final = 86_400
_REMEMBERED: Final = 16_384
"""Days whose periods are kept: every hour of a day asks for the same ones."""

Hours: TypeAlias = Mapping[int, int]
"""Watt-hours by the hour's start, epoch seconds."""


class Granularity(StrEnum):
    """How long the periods are within which energy is matched; all of them in UTC."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    YEAR = "year"


class Flow(NamedTuple):
    """Energy of an interval (epoch seconds, the end not included) in a zone: consumed, or cancelled."""

    zone: str
    start: int
    end: int
    energy_wh: int


class Window(NamedTuple):
    """A time to look at: epoch seconds on the hour, the end not included."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Match:
    """Consumption and cancelled energy of one zone and one period, or the sum of several of them."""

    start: int
    end: int
    consumption_wh: int
    cancelled_wh: int
    matched_wh: int

    @property
    def excess_wh(self) -> int:
        """Cancelled beyond what was consumed: it covers nothing."""
        return self.cancelled_wh - self.matched_wh

    @property
    def uncovered_wh(self) -> int:
        """Consumed without certificates."""
        return self.consumption_wh - self.matched_wh

    @property
    def coverage(self) -> Fraction | None:
        """The part of the consumption that is matched. None without consumption: where there is nothing to
        cover, neither 0 nor 100 percent would be true."""
        return Fraction(self.matched_wh, self.consumption_wh) if self.consumption_wh else None


def spread(start: int, end: int, energy_wh: int) -> Iterator[tuple[int, int]]:
    """An interval's energy by hours, `(hour, Wh)` in order; the sum is `energy_wh`. ValueError for an interval
    that is not above zero, or energy below."""
    length = end - start
    if length <= 0 or energy_wh < 0:
        raise ValueError(f"{energy_wh} Wh from {start} to {end} is not energy of an interval")
    hours = range(start - start % HOUR_SECS, end, HOUR_SECS)
    shares = [divmod(energy_wh * (min(end, hour + HOUR_SECS) - max(start, hour)), length) for hour in hours]
    left_over = energy_wh - sum(share for share, _ in shares)
    # The sort is stable: of equal remainders the earliest comes first.
    favoured = set(sorted(range(len(shares)), key=lambda place: -shares[place][1])[:left_over])
    for place, hour in enumerate(hours):
        yield hour, shares[place][0] + (place in favoured)


def by_hour(flows: Iterable[Flow], window: Window) -> dict[str, dict[int, int]]:
    """Watt-hours by zone and hour, of the hours within the window; hours without energy are left out."""
    intervals: Counter[tuple[str, int, int]] = Counter()
    for flow in flows:
        intervals[flow.zone, flow.start, flow.end] += flow.energy_wh
    zones: dict[str, Counter[int]] = {}
    for (zone, start, end), energy_wh in intervals.items():
        for hour, share_wh in spread(start, end, energy_wh):
            if share_wh and window.start <= hour < window.end:
                zones.setdefault(zone, Counter())[hour] += share_wh
    return {zone: dict(hours) for zone, hours in zones.items()}


def match(consumed: Hours, cancelled: Hours, granularity: Granularity, window: Window) -> list[Match]:
    """One zone's periods in order; those without any energy are left out. A period that reaches beyond the
    window is cut to it: only hours within count, and the match says so by its `start` and `end`."""
    periods: dict[tuple[int, int], list[int]] = {}
    for side, hours in enumerate((consumed, cancelled)):
        for hour, energy_wh in hours.items():
            periods.setdefault(period_of(hour, granularity), [0, 0])[side] += energy_wh
    return [
        Match(max(start, window.start), min(end, window.end), used_wh, given_wh, min(used_wh, given_wh))
        for (start, end), (used_wh, given_wh) in sorted(periods.items())
    ]


def total(matches: Iterable[Match], window: Window) -> Match:
    """The sum of matches: of the periods of a zone, or of zones. What is matched is added up, and never
    matched anew across periods or zones."""
    consumption_wh = cancelled_wh = matched_wh = 0
    for each in matches:
        consumption_wh += each.consumption_wh
        cancelled_wh += each.cancelled_wh
        matched_wh += each.matched_wh
    return Match(window.start, window.end, consumption_wh, cancelled_wh, matched_wh)


def period_of(moment: int, granularity: Granularity) -> tuple[int, int]:
    """The period that holds a moment: start and end, epoch seconds, the end not included."""
    if granularity is Granularity.HOUR:
        hour = moment - moment % HOUR_SECS
        return hour, hour + HOUR_SECS
    return _period_of_day(moment - moment % _DAY_SECS, granularity)


@lru_cache(_REMEMBERED)
def _period_of_day(midnight: int, granularity: Granularity) -> tuple[int, int]:
    day = datetime.fromtimestamp(midnight, UTC)
    match granularity:
        case Granularity.WEEK:
            monday = day - timedelta(days=day.weekday())
            return _between(monday, monday + timedelta(days=7))
        case Granularity.MONTH:
            first = day.replace(day=1)
            return _between(first, (first + timedelta(days=31)).replace(day=1))
        case Granularity.YEAR:
            first = day.replace(month=1, day=1)
            return _between(first, first.replace(year=first.year + 1))
        case _:
            return midnight, midnight + _DAY_SECS


def percent(part: Fraction | None) -> str | None:
    """A part as percent with two decimals, rounded down: `100.00` is said of the whole and of nothing less."""
    if part is None:
        return None
    whole, hundredths = divmod(part.numerator * 10_000 // part.denominator, 100)
    return f"{whole}.{hundredths:02d}"


def _between(start: datetime, end: datetime) -> tuple[int, int]:
    return int(start.timestamp()), int(end.timestamp())
