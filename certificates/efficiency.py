"""How much of what goes into a store comes out: the efficiency factor of EnergyTag's standard, and losses.

The factor of an interval is its total output by its total input. Input is everything that the device took in,
also what it used itself (*parasitic* consumption), whether that is part of the charges or metered apart.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from certificates.allocation import EnergyLacking
from config.errors import BadRequest, ErrorCode

MAX_INTERVAL_MS: Final = 184 * 86_400_000
"""Six months, the longest of them."""


@dataclass(frozen=True, slots=True)
class Flow:
    """Energy that went into a store or came out of it, from `start_ms` to `end_ms` (epoch milliseconds)."""

    start_ms: int
    end_ms: int
    energy_wh: int

    def lies_in(self, interval: tuple[int, int]) -> bool:
        return interval[0] <= self.start_ms and self.end_ms <= interval[1]


@dataclass(frozen=True, slots=True)
class Efficiency:
    """Totals of an interval; `input_wh` includes `parasitic_wh`. There is input and output, and not more output."""

    input_wh: int
    output_wh: int
    parasitic_wh: int = 0

    @property
    def factor(self) -> Fraction:
        return Fraction(self.output_wh, self.input_wh)

    @property
    def losses_wh(self) -> int:
        return self.input_wh - self.output_wh


def measure(
    charges: Iterable[Flow], discharges: Iterable[Flow], interval: tuple[int, int], parasitic_wh: int = 0
) -> Efficiency:
    """The efficiency of an interval (epoch milliseconds), by the flows that lie wholly in it.

    `BadRequest(INTERVAL_INVALID)` unless the interval is above zero and at most six months; `EnergyLacking` when
    nothing went in, nothing came out, or more came out than went in.
    """
    if not 0 < interval[1] - interval[0] <= MAX_INTERVAL_MS:
        raise BadRequest("an efficiency interval is above zero and at most six months", ErrorCode.INTERVAL_INVALID)
    input_wh = sum(each.energy_wh for each in charges if each.lies_in(interval)) + parasitic_wh
    output_wh = sum(each.energy_wh for each in discharges if each.lies_in(interval))
    if not 0 < output_wh <= input_wh:
        raise EnergyLacking(
            f"in the efficiency interval {input_wh} Wh went in and {output_wh} Wh came out: that is no efficiency"
        )
    return Efficiency(input_wh, output_wh, parasitic_wh)
