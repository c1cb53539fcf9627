"""A meter that is simulated: its site, its key, its owner's wallet, and a clock of its own."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from solders.keypair import Keypair

from bridge.meters.formats import Format
from bridge.simulator.clock import MeterClock
from bridge.simulator.message import Measured, signed_reading
from bridge.simulator.site import Site

_NUMBER: Final = re.compile(r"(.*?)([0-9]*)").fullmatch


@dataclass(frozen=True, slots=True)
class Meter:
    """`wallet` is base58. Times are those of the meter's own clock, epoch milliseconds."""

    serial: str
    site: Site
    key: Keypair
    wallet: str
    form: Format
    interval_secs: int
    clock: MeterClock

    @property
    def interval_ms(self) -> int:
        return self.interval_secs * 1000

    def current_start_ms(self) -> int:
        """When the interval began that is under way."""
        now_ms = self.clock.read()
        return now_ms - now_ms % self.interval_ms

    def measured(self, start_ms: int) -> Measured:
        """What it counted in the interval that began then; the same at every call."""
        return Measured(self.serial, self.wallet, start_ms, self.site.energy(start_ms, self.interval_ms))

    def signed(self, measured: Measured) -> dict[str, Any]:
        """The body that submits a reading."""
        return signed_reading(measured, self.form, self.key)

    def registration(self) -> dict[str, Any]:
        """What registers it."""
        return {
            "serial": self.serial,
            "wallet": self.wallet,
            "public_key": str(self.key.pubkey()),
            "format": self.form.value,
            "interval_secs": self.interval_secs,
        }


def serials(first: str, count: int) -> list[str]:
    """So many serials, counted on from the number that the first one ends with: METER-001, METER-002, …"""
    parts = _NUMBER(first)
    stem, number = parts.groups() if parts else (first, "")
    if not number:
        return [first, *(f"{first}-{n}" for n in range(2, count + 1))]
    return [f"{stem}{int(number) + n:0{len(number)}d}" for n in range(count)]
