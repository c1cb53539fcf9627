"""Which charges a discharge draws on: FIFO, LIFO, the weighted average, or what the operator chose.

Energy is exact. A charge is what went into the store, in Wh; a discharge of D Wh at efficiency e takes D / e Wh
of charged energy, which is a fraction as a rule and is kept as one. So when the efficiency is that of a whole
interval, its discharges use its charges up to the last Wh, and the proportions of each add up to exactly 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from typing import Final

from config.errors import BadRequest, ErrorCode

_NONE: Final = Fraction(0)


class EnergyLacking(BadRequest):
    """There is less energy to allocate than is asked for."""

    default_code = ErrorCode.ENERGY_LACKING


class Method(StrEnum):
    """How a storage operator allocates, in EnergyTag's words."""

    FIFO = "FIFO"
    LIFO = "LIFO"
    WEIGHTED_AVERAGE = "weighted average"
    DISCRETION = "operator's discretion"


@dataclass(frozen=True, slots=True)
class Charge:
    """A charge, and what of the energy that went in is not allocated yet."""

    charge_id: str
    start_ms: int
    end_ms: int
    left_wh: Fraction


@dataclass(frozen=True, slots=True)
class Draw:
    """What a discharge takes from one charge: `input_wh` of what went in, of which `output_wh` come out."""

    charge_id: str
    input_wh: Fraction
    output_wh: Fraction

    @property
    def losses_wh(self) -> Fraction:
        return self.input_wh - self.output_wh


@dataclass(frozen=True, slots=True)
class Allocation:
    """A discharge of `discharge_wh` and the charges that it draws on; no charge is in it twice."""

    discharge_wh: int
    draws: tuple[Draw, ...]

    @property
    def input_wh(self) -> Fraction:
        return sum((draw.input_wh for draw in self.draws), _NONE)

    @property
    def output_wh(self) -> Fraction:
        return sum((draw.output_wh for draw in self.draws), _NONE)

    @property
    def uncovered_wh(self) -> Fraction:
        """What of the discharge no charge covers."""
        return self.discharge_wh - self.output_wh

    @property
    def losses_wh(self) -> Fraction:
        """Charged energy that went in for this discharge and did not come out."""
        return self.input_wh - self.output_wh

    @property
    def proportions(self) -> tuple[Fraction, ...]:
        """The share of the discharge that each draw covers; they add up to 1 when nothing is uncovered."""
        return tuple(draw.output_wh / self.discharge_wh for draw in self.draws)

    @property
    def bits(self) -> int:
        """The size of its largest number. Every new efficiency factor makes the fractions that are left longer."""
        numbers = (number for draw in self.draws for number in (draw.input_wh, draw.output_wh))
        return max((max(each.numerator, each.denominator).bit_length() for each in numbers), default=0)


def allocate(charges: Sequence[Charge], discharge_wh: int, efficiency: Fraction, method: Method) -> Allocation:
    """As much of a discharge as the charges cover. The order in which they are given does not matter.

    ValueError for the operator's discretion, for which there is `allocate_chosen`, an efficiency that is not
    above 0 and at most 1, or a discharge that is not above 0.
    """
    if method is Method.DISCRETION:
        raise ValueError("the operator's choice is not computed")
    needed_wh = _needed(discharge_wh, efficiency)
    taken = _TAKE[method](sorted(charges, key=_order), needed_wh)
    return Allocation(discharge_wh, tuple(Draw(each, wh, wh * efficiency) for each, wh in taken if wh > 0))


def allocate_chosen(
    charges: Sequence[Charge], chosen_wh: Mapping[str, int], discharge_wh: int, efficiency: Fraction
) -> Allocation:
    """The allocation that an operator chose: by charge id, the Wh of the discharge that it covers.

    `EnergyLacking` when the choice is not the whole discharge, or a charge has less than it is to give. KeyError
    for a charge that is not among `charges`.
    """
    _needed(discharge_wh, efficiency)
    by_id = {charge.charge_id: charge for charge in charges}
    if sum(chosen_wh.values()) != discharge_wh or min(chosen_wh.values()) < 1:
        raise EnergyLacking(f"the allocations are {sum(chosen_wh.values())} Wh, the discharge is {discharge_wh} Wh")
    draws = []
    for charge_id, output_wh in chosen_wh.items():
        input_wh, left_wh = output_wh / efficiency, by_id[charge_id].left_wh
        if input_wh > left_wh:
            most_wh = left_wh * efficiency
            raise EnergyLacking(f"charge {charge_id} can give {shown_wh(most_wh)} Wh more, not {output_wh} Wh")
        draws.append(Draw(charge_id, input_wh, Fraction(output_wh)))
    return Allocation(discharge_wh, tuple(draws))


def shown_wh(energy_wh: Fraction) -> str:
    """Energy for a message: whole Wh, and the exact rest as a fraction where there is one."""
    whole, rest = divmod(energy_wh, 1)
    return str(whole) if rest == 0 else f"{whole} + {rest}"


def _needed(discharge_wh: int, efficiency: Fraction) -> Fraction:
    if not 0 < efficiency <= 1:
        raise ValueError(f"an efficiency of {efficiency} is not above 0 and at most 1")
    if discharge_wh < 1:
        raise ValueError(f"a discharge of {discharge_wh} Wh is not above 0")
    return discharge_wh / efficiency


def _order(charge: Charge) -> tuple[int, int, str]:
    return charge.end_ms, charge.start_ms, charge.charge_id


def _in_turn(charges: Sequence[Charge], needed_wh: Fraction) -> list[tuple[str, Fraction]]:
    taken = []
    for charge in charges:
        if needed_wh == 0:
            break
        taken_wh = min(needed_wh, charge.left_wh)
        taken.append((charge.charge_id, taken_wh))
        needed_wh -= taken_wh
    return taken


def _last_first(charges: Sequence[Charge], needed_wh: Fraction) -> list[tuple[str, Fraction]]:
    return _in_turn(charges[::-1], needed_wh)


def _in_proportion(charges: Sequence[Charge], needed_wh: Fraction) -> list[tuple[str, Fraction]]:
    """Each gives in proportion to what is left of it, to the Wh: whole Wh first, then a Wh more, or what is
    still needed, to those whose share was cut most. Exact shares would make the fractions grow with every
    discharge, without end."""
    total_wh = sum((charge.left_wh for charge in charges), _NONE)
    needed_wh = min(needed_wh, total_wh)
    if needed_wh == 0:
        return []
    exact = [charge.left_wh * needed_wh / total_wh for charge in charges]
    taken = [Fraction(int(share)) for share in exact]
    rest_wh = needed_wh - sum(taken, _NONE)
    for index in sorted(range(len(charges)), key=lambda each: taken[each] - exact[each]):
        more_wh = min(Fraction(1), charges[index].left_wh - taken[index], rest_wh)
        taken[index] += more_wh
        rest_wh -= more_wh
    return [(charge.charge_id, wh) for charge, wh in zip(charges, taken, strict=True)]


_TAKE: Final[Mapping[Method, Callable[[Sequence[Charge], Fraction], list[tuple[str, Fraction]]]]] = {
    Method.FIFO: _in_turn,
    Method.LIFO: _last_first,
    Method.WEIGHTED_AVERAGE: _in_proportion,
}
