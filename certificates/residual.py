"""The residual mix: what of a zone's electricity nobody may claim by a certificate, by source.

Of a zone and a period, for each energy source, in watt-hours:

    production   per device and clock hour the greater of what was measured and what was issued: energy that
                 was metered and never certified counts, and so does energy whose metering is kept elsewhere
    cancelled    certificates Cancelled or Claimed: their attributes have an owner for good
    exported     certificates that left for another registry or chain: claimed there, or not, but not here
    residual     production − cancelled − exported

The residual holds what is *held* (Active, Reserved, Locked: it may still be cancelled, so that the mix is
provisional while there is any), what *expired* (can be claimed no more, and its attributes fall back to
everybody), what was *lost* (its coin was destroyed), and what was never issued. *Withdrawn* certificates count
as if they had never been issued; their energy is production only as far as it was measured.

When the zone's whole consumption is given, what exceeds the production that is known here is *untracked*:
nobody here knows its source. Residual and untracked are then together what was consumed without a certificate.

Energy counts in the hour in which its interval begins, whole: nothing is spread, nothing is rounded.
Storage shows on both sides, as certificates cancelled for charging, and as those issued on discharging.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fractions import Fraction
from typing import Final

from certificates.matching import HOUR_SECS

UNTRACKED: Final = "untracked"


class Fate(StrEnum):
    """What has become of issued energy."""

    HELD = "held"
    CANCELLED = "cancelled"
    EXPORTED = "exported"
    EXPIRED = "expired"
    LOST = "lost"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True, slots=True)
class Balance:
    """One source in a zone and a period, watt-hours; the terms are the module's."""

    production_wh: int
    measured_wh: int
    fates: Mapping[Fate, int]

    @property
    def issued_wh(self) -> int:
        """Without what was withdrawn."""
        return sum(energy_wh for fate, energy_wh in self.fates.items() if fate is not Fate.WITHDRAWN)

    @property
    def residual_wh(self) -> int:
        return self.production_wh - self.fates.get(Fate.CANCELLED, 0) - self.fates.get(Fate.EXPORTED, 0)


@dataclass(slots=True)
class ResidualMix:
    """Adds up one zone and period: tell it of every reading and of every certificate, then ask."""

    _measured: Counter[tuple[str, str, int]] = field(default_factory=Counter)
    _issued: Counter[tuple[str, str, int]] = field(default_factory=Counter)
    _fates: dict[str, Counter[Fate]] = field(default_factory=dict)

    def measured(self, source: str, device_id: str, start: int, energy_wh: int) -> None:
        """A reading of production, in the hour in which its interval starts (epoch seconds)."""
        self._measured[source, device_id, start - start % HOUR_SECS] += energy_wh

    def issued(self, source: str, device_id: str, start: int, energy_wh: int, fate: Fate) -> None:
        """A certificate, or a part of one, and what has become of it."""
        self._fates.setdefault(source, Counter())[fate] += energy_wh
        if fate is not Fate.WITHDRAWN:
            self._issued[source, device_id, start - start % HOUR_SECS] += energy_wh

    def balances(self) -> dict[str, Balance]:
        """By source, in the order of their names."""
        production: Counter[str] = Counter()
        measured: Counter[str] = Counter()
        for key in self._measured.keys() | self._issued.keys():
            production[key[0]] += max(self._measured[key], self._issued[key])
            measured[key[0]] += self._measured[key]
        sources = sorted(production.keys() | self._fates.keys())
        return {
            source: Balance(production[source], measured[source], dict(self._fates.get(source, {})))
            for source in sources
        }


def untracked_wh(balances: Mapping[str, Balance], consumption_wh: int) -> int:
    """What a zone consumed beyond the production that is known; 0 when it consumed less, and exported."""
    return max(0, consumption_wh - sum(each.production_wh for each in balances.values()))


def mix(balances: Mapping[str, Balance], untracked: int = 0) -> dict[str, Fraction]:
    """Each source's part of the residual mix, `UNTRACKED` among them; they add up to 1. Empty when nothing is
    residual."""
    parts = {source: each.residual_wh for source, each in balances.items()} | {UNTRACKED: untracked}
    whole = sum(parts.values())
    return {source: Fraction(part, whole) for source, part in parts.items() if part} if whole else {}
