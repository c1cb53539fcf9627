"""Panels: the sun's height by latitude, day and hour, the clear sky's light, and clouds before it."""

from __future__ import annotations

import math
from typing import Final

from bridge.simulator.noise import weather
from bridge.simulator.season import Place, day_of_year

_TILT_OF_THE_EARTH: Final = 23.44
_FULL_LIGHT: Final = 1000.0
"""W/m²: what a panel's rated power is stated at."""
_SYSTEM_LOSSES: Final = 0.14


def sine_of_height(place: Place, at_ms: int) -> float:
    """The sine of the sun's height above the horizon; negative at night."""
    declination = math.radians(-_TILT_OF_THE_EARTH * math.cos(math.tau * (day_of_year(at_ms) + 10) / 365.25))
    latitude = math.radians(place.latitude)
    hour_angle = math.radians(15 * (place.solar_hour(at_ms) - 12))
    return math.sin(latitude) * math.sin(declination) + (
        math.cos(latitude) * math.cos(declination) * math.cos(hour_angle)
    )


def clear_sky(sine: float) -> float:
    """Light on the level ground under a clear sky, W/m² (Haurwitz 1945)."""
    return 0.0 if sine <= 0 else 1098 * sine * math.exp(-0.059 / sine)


def through_clouds(cover: float) -> float:
    """The share of light that passes clouds that cover so much of the sky (Kasten and Czeplak 1980)."""
    return float(1 - 0.75 * cover**3.4)


def panel_watts(name: str, place: Place, peak_watts: float, at_ms: int) -> float:
    """What panels of that peak power give."""
    light = clear_sky(sine_of_height(place, at_ms))
    if light <= 0:
        return 0.0
    # Middling noise is a half-clouded sky; its ends are clear and overcast skies, which last.
    cover = max(0.0, min(1.0, 2.2 * weather(f"{name} clouds", at_ms) - 0.6))
    return peak_watts * min(1.0, light / _FULL_LIGHT) * through_clouds(cover) * (1 - _SYSTEM_LOSSES)
