"""Turbines: wind that lasts for a while, stronger in winter and by day, and a turbine's power curve."""

from __future__ import annotations

import math
from typing import Final

from bridge.simulator.noise import weather
from bridge.simulator.season import Place

_CUT_IN: Final = 3.0
_RATED: Final = 12.0
_CUT_OUT: Final = 25.0
"""Wind speeds, m/s."""
_SCALE: Final = 8.5
_SHAPE: Final = 2.0
"""Of the Weibull distribution that wind speeds follow."""


def wind_speed(name: str, place: Place, at_ms: int) -> float:
    """m/s at the hub."""
    # Octaves add up to nearly a bell curve about a half, which is spread out to an even draw again.
    even = 0.5 * (1 + math.erf((weather(f"{name} wind", at_ms) - 0.5) / 0.17 / math.sqrt(2)))
    speed = _SCALE * math.pow(-math.log(max(1e-9, 1 - even)), 1 / _SHAPE)
    by_season = 1 - 0.2 * place.summer(at_ms)
    by_hour = 1 + 0.1 * math.cos(math.tau * (place.solar_hour(at_ms) - 15) / 24)
    return speed * by_season * by_hour


def turbine_watts(speed: float, rated_watts: float) -> float:
    """What a turbine gives at a wind speed: as the cube of it between cut-in and rated speed."""
    if speed < _CUT_IN or speed >= _CUT_OUT:
        return 0.0
    cube = (speed**3 - _CUT_IN**3) / (_RATED**3 - _CUT_IN**3)
    return rated_watts * min(1.0, cube)
