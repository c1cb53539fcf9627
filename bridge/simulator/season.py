"""The time of the year and of the day at a place."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

_DAYS_A_YEAR: Final = 365.25
_DEGREES_AN_HOUR: Final = 15
_MIDSUMMER_DAY: Final = 172
"""Of the northern half."""


@dataclass(frozen=True, slots=True)
class Place:
    """Degrees, north and east positive."""

    latitude: float
    longitude: float

    def solar_hour(self, at_ms: int) -> float:
        """The hour of the day by the sun, 12 at noon, in [0, 24)."""
        hours = at_ms / 3_600_000 + self.longitude / _DEGREES_AN_HOUR
        return hours % 24

    def summer(self, at_ms: int) -> float:
        """1 in midsummer, -1 in midwinter, by the half of the globe; 0 all year at the equator."""
        phase = math.cos(math.tau * (day_of_year(at_ms) - _MIDSUMMER_DAY) / _DAYS_A_YEAR)
        return phase * max(-1.0, min(1.0, self.latitude / 30))


def day_of_year(at_ms: int) -> float:
    """Days since the year began (UTC), with their fraction."""
    at = datetime.fromtimestamp(at_ms / 1000, UTC)
    return (at - at.replace(month=1, day=1, hour=0, minute=0, second=0, microsecond=0)).total_seconds() / 86_400
