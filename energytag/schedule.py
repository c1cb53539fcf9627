"""When a recurring action is due: pure arithmetic on the calendar, in UTC.

Every occurrence is reckoned from the first one, never from the one before it, so that nothing drifts: what
began on 31 January falls on 28 February and on 31 March again, what began on 29 February falls on the 29th
again in the next leap year.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import MAXYEAR, UTC, datetime, timedelta
from enum import StrEnum

_MONTHS = 12


class Unit(StrEnum):
    """EnergyTag's units of time between two occurrences."""

    DAYS = "days"
    WEEKS = "weeks"
    MONTHS = "months"
    YEARS = "years"


@dataclass(frozen=True, slots=True)
class Schedule:
    """From `first` on, each `every` units, `number` times including the first; None goes on without end.

    `first` is aware and in UTC, `every` and `number` are at least 1. Occurrences count from 0.
    """

    first: datetime
    unit: Unit = Unit.DAYS
    every: int = 1
    number: int | None = 1

    def at(self, occurrence: int) -> datetime | None:
        """When an occurrence is due; None after the last one, or when no calendar has that year."""
        if self.number is not None and occurrence >= self.number:
            return None
        return self.moved(self.first, occurrence)

    def moved(self, moment: datetime, occurrence: int) -> datetime | None:
        """A moment as far after itself as the occurrence is after the first; None beyond the calendar."""
        steps = self.every * occurrence
        if self.unit is Unit.MONTHS:
            return _months_later(moment, steps)
        if self.unit is Unit.YEARS:
            return _months_later(moment, steps * _MONTHS)
        try:
            return moment + timedelta(**{self.unit.value: steps})
        except OverflowError:
            return None

    def until(self, moment: datetime) -> Iterator[datetime]:
        """The due times up to and including a moment, in order."""
        occurrence = 0
        while (due := self.at(occurrence)) is not None and due <= moment:
            yield due
            occurrence += 1


def _months_later(moment: datetime, months: int) -> datetime | None:
    """The same day of a later month, or that month's last day."""
    year, month = divmod(moment.year * _MONTHS + moment.month - 1 + months, _MONTHS)
    if year > MAXYEAR:
        return None
    day = min(moment.day, monthrange(year, month + 1)[1])
    return moment.replace(year=year, month=month + 1, day=day)


def moment_of(ms: int) -> datetime:
    """Epoch milliseconds as a moment in UTC."""
    return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=ms)


def ms_of(moment: datetime) -> int:
    """Epoch milliseconds of a moment."""
    return (moment - datetime.fromtimestamp(0, UTC)) // timedelta(milliseconds=1)
