"""Households: what they draw by hour, weekday and season, with appliances that come on for a while."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Final

from bridge.simulator.noise import HOUR_MS, draw, smooth
from bridge.simulator.season import Place

_WORKDAY: Final = (
    35,
    30,
    28,
    27,
    28,
    35,
    60,
    85,
    75,
    55,
    50,
    50,
    55,
    52,
    50,
    52,
    62,
    85,
    120,
    135,
    125,
    105,
    75,
    50,
)
_WEEKEND: Final = (
    42,
    35,
    30,
    28,
    28,
    30,
    38,
    55,
    78,
    90,
    92,
    92,
    98,
    95,
    85,
    80,
    82,
    95,
    115,
    125,
    118,
    100,
    78,
    55,
)
"""By the hour, percent of the mean."""
_APPLIANCE_MS: Final = HOUR_MS // 4
_APPLIANCE_WATTS: Final = 1800.0


def household_watts(name: str, place: Place, mean_watts: float, at_ms: int) -> float:
    """What a household draws that draws `mean_watts` over the year, appliances not counted."""
    # Winters are lit and heated, and where it is hot summers are cooled: both ends of the year cost.
    by_season = 1 + 0.25 * abs(place.summer(at_ms)) - 0.05
    restless = 0.8 + 0.4 * smooth(f"{name} load", at_ms, HOUR_MS // 6)
    share = _share(place, at_ms)
    return mean_watts * share * by_season * restless + _appliances(name, share, at_ms)


def _share(place: Place, at_ms: int) -> float:
    """The profile at that hour, as a share of the mean, between the values of two full hours."""
    hour = place.solar_hour(at_ms)
    local = datetime.fromtimestamp(at_ms / 1000, UTC) + timedelta(hours=place.longitude / 15)
    profile = _WEEKEND if local.weekday() >= 5 else _WORKDAY
    first = math.floor(hour) % 24
    part = hour - math.floor(hour)
    return (profile[first] * (1 - part) + profile[(first + 1) % 24] * part) / 100


def _appliances(name: str, share: float, at_ms: int) -> float:
    """A kettle, a washing machine: on for a quarter of an hour, more often when people are at home."""
    return _APPLIANCE_WATTS if draw(name, "appliance", at_ms // _APPLIANCE_MS) < 0.05 * share else 0.0
