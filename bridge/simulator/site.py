"""A site with a meter: what stands there, and how much energy it gives in an interval.

Power is a model's, and a float; energy is counted in whole milliwatt-hours from where it is first told (`Energy`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from bridge.simulator.household import household_watts
from bridge.simulator.noise import between
from bridge.simulator.season import Place
from bridge.simulator.sun import panel_watts
from bridge.simulator.wind import turbine_watts, wind_speed

_DAY_MS: Final = 86_400_000
_SAMPLE_MS: Final = 60_000
_MOST_SAMPLES: Final = 15
_MWH_A_KWH: Final = 1_000_000


class SiteKind(StrEnum):
    """What stands at a site, beside the household that each has."""

    SOLAR = "solar"
    WIND = "wind"
    LOAD = "load"
    """Nothing: it only draws, and so has never anything to submit."""


MIX: Final = tuple(
    map(SiteKind, ("solar", "wind", "solar", "load", "wind", "solar", "solar", "wind", "load", "solar"))
)
"""The kinds of ten meters one after another, when none is asked for."""


@dataclass(frozen=True, slots=True)
class Energy:
    """What a site gave and drew in an interval, in milliwatt-hours (a millionth of a kWh)."""

    generated_mwh: int
    consumed_mwh: int

    @property
    def surplus_mwh(self) -> int:
        """What is left to be tokenized; not above zero when the household drew it all."""
        return self.generated_mwh - self.consumed_mwh


@dataclass(frozen=True, slots=True)
class Site:
    """`name` is what its weather and household are drawn from. Powers are in watts. `speed` is how many times
    faster than the clock the days and seasons go by, counted from midnight (UTC)."""

    name: str
    kind: SiteKind
    place: Place
    peak_watts: float
    mean_load_watts: float
    speed: int = 1

    def energy(self, start_ms: int, length_ms: int) -> Energy:
        """Of the interval that begins then."""
        samples = max(1, min(_MOST_SAMPLES, length_ms * self.speed // _SAMPLE_MS))
        times = [start_ms + length_ms * (2 * n + 1) // (2 * samples) for n in range(samples)]
        generated = sum(map(self.generated_watts, times)) / samples
        consumed = sum(map(self.consumed_watts, times)) / samples
        return Energy(_milliwatt_hours(generated, length_ms), _milliwatt_hours(consumed, length_ms))

    def generated_watts(self, at_ms: int) -> float:
        at_ms = self._shown(at_ms)
        if self.kind is SiteKind.SOLAR:
            return panel_watts(self.name, self.place, self.peak_watts, at_ms)
        if self.kind is SiteKind.WIND:
            return turbine_watts(wind_speed(self.name, self.place, at_ms), self.peak_watts)
        return 0.0

    def consumed_watts(self, at_ms: int) -> float:
        return household_watts(self.name, self.place, self.mean_load_watts, self._shown(at_ms))

    def _shown(self, at_ms: int) -> int:
        midnight_ms = at_ms - at_ms % _DAY_MS
        return midnight_ms + (at_ms - midnight_ms) * self.speed


def site_of(seed: int, serial: str, kind: SiteKind, speed: int = 1) -> Site:
    """The site that a seed gives a meter, anywhere that people live: the sun always shines on some."""
    name = f"{seed} {serial}"
    place = Place(between(-45, 62, name, "latitude"), between(-180, 180, name, "longitude"))
    low, high = (3_000, 12_000) if kind is SiteKind.SOLAR else (10_000, 60_000)
    return Site(
        name=name,
        kind=kind,
        place=place,
        peak_watts=0.0 if kind is SiteKind.LOAD else between(low, high, name, "peak"),
        mean_load_watts=between(250, 700, name, "load"),
        speed=speed,
    )


def kwh_text(mwh: int) -> str:
    """Milliwatt-hours, at least 0, as kWh with exactly six decimals."""
    whole, rest = divmod(mwh, _MWH_A_KWH)
    return f"{whole}.{rest:06d}"


def _milliwatt_hours(watts: float, length_ms: int) -> int:
    return round(watts * length_ms / 3_600)
