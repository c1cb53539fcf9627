"""Selection: which bundles an action takes, and how much of each. Pure; integers and ranges only.

Criteria are EnergyTag's. All that are given hold together, with these exceptions:

- `sparse_filter_list` overrides every other criterion: the bundles of each device whose production interval holds
  the moment named for it.
- A range of certificate numbers goes with an issuance. It may cut bundles at both ends, and when both ends are
  given, all of it must be there.
- `certificate_quantity` is the total over all bundles found, and overrides the range. Bundles are taken in one
  fixed order: the earliest production first, then the lower numbers; the last one is split from its start.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from certificates.document import MAX_INTEGER
from certificates.lifecycle import Status
from certificates.ranges import Range, merge, subtract
from config.errors import BadRequest, ErrorCode
from energytag.models.common import secs_of
from lookup.filters import Filters
from lookup.records import HOUR_SECS, source_name
from store.port import Document

EVERY_NUMBER: Final = Range(0, MAX_INTEGER)


class NothingSelected(BadRequest):
    """No bundle of the account satisfies the filters."""

    default_code = ErrorCode.NOTHING_SELECTED


class QuantityLacking(BadRequest):
    """The bundles found hold less than was asked for."""

    default_code = ErrorCode.QUANTITY_LACKING


@dataclass(frozen=True, slots=True)
class Criteria:
    """What an action asks for, of one account, or of all when `account_id` is None. Moments are epoch seconds.

    `start` and `end` bound certificate numbers; `sparse` has a moment for each device. `sources` are spelt as the
    index spells them.
    """

    account_id: str | None
    issuance_id: str | None = None
    start: int | None = None
    end: int | None = None
    period_start: int | None = None
    period_end: int | None = None
    quantity: int | None = None
    status: Status | None = None
    device_id: str | None = None
    sources: tuple[str, ...] = ()
    sparse: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def read(cls, request: Mapping[str, Any]) -> Criteria:
        """The criteria in a body, as `CertificateActionBase` has checked it."""
        account_id, quantity = request["source_account_id"], request.get("certificate_quantity")
        if sparse := request.get("sparse_filter_list"):
            moments = {device_id: secs_of(moment) for device_id, moment in sparse.items()}
            return cls(account_id, quantity=quantity, sparse=moments)
        status = request.get("certificate_status")
        return cls(
            account_id,
            request.get("source_certificate_issuance_id"),
            request.get("source_certificate_bundle_id_range_start"),
            request.get("source_certificate_bundle_id_range_end"),
            _moment(request.get("certificate_period_start")),
            _moment(request.get("certificate_period_end")),
            quantity,
            None if status is None else Status(status),
            request.get("device_id"),
            tuple(sorted({source_name(each) for each in request.get("energy_source", ())})),
        )

    @property
    def numbers(self) -> Range:
        """The certificate numbers asked for; a quantity overrides the range."""
        if self.quantity is not None:
            return EVERY_NUMBER
        return Range(
            EVERY_NUMBER.start if self.start is None else self.start,
            EVERY_NUMBER.end if self.end is None else self.end,
        )

    def questions(self) -> list[Filters]:
        """What to ask the index, which may answer more than is asked for: one question, or one a device."""
        if not self.sparse:
            equals = {name: values for name, values in self._equals() if values}
            return [Filters(equals, period_start=self.period_start, period_end=self.period_end)]
        return [
            Filters(
                {**self._of_account(), "device_id": (device_id,)},
                period_start=moment - HOUR_SECS,
                period_end=moment + HOUR_SECS,
            )
            for device_id, moment in self.sparse.items()
        ]

    def admits(self, record: Document) -> bool:
        """Whether a record that the index gave is asked for, its status aside."""
        if self.sparse:
            moment = self.sparse[record["device_id"]]
            return bool(record["period_start"] <= moment < record["period_end"])
        return True

    def _of_account(self) -> dict[str, tuple[str, ...]]:
        return {} if self.account_id is None else {"account_id": (self.account_id,)}

    def _equals(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        yield from self._of_account().items()
        yield "issuance_id", () if self.issuance_id is None else (self.issuance_id,)
        yield "device_id", () if self.device_id is None else (self.device_id,)
        yield "energy_source", self.sources


@dataclass(frozen=True, slots=True)
class Candidate:
    """A bundle that may be taken from. `outpoint` is its coin, `whole` all of its numbers, `free` those that no
    notice has withdrawn, ascending; `period_start` is epoch seconds."""

    outpoint: bytes
    issuance_id: str
    period_start: int
    whole: Range
    free: tuple[Range, ...]

    @property
    def quantity(self) -> int:
        return sum(each.quantity for each in self.free)

    def within(self, numbers: Range) -> Candidate:
        """The bundle with only those of its free numbers that lie within."""
        inside = (Range(max(each.start, numbers.start), min(each.end, numbers.end)) for each in self.free)
        free = tuple(each for each in inside if each.start <= each.end)
        return Candidate(self.outpoint, self.issuance_id, self.period_start, self.whole, free)


@dataclass(frozen=True, slots=True)
class Taken:
    """What is taken of one bundle: `parts` of its numbers, ascending and joined. With `kept` they partition
    the bundle."""

    outpoint: bytes
    whole: Range
    parts: tuple[Range, ...]

    @property
    def kept(self) -> list[Range]:
        return subtract([self.whole], self.parts)

    @property
    def quantity(self) -> int:
        return sum(each.quantity for each in self.parts)


def take(criteria: Criteria, candidates: Iterable[Candidate]) -> list[Taken]:
    """What the criteria take of these bundles, in the fixed order.

    Raises `NothingSelected`, or `QuantityLacking` when a quantity, or a range with both ends, is not there whole.
    """
    ordered = sorted((each.within(criteria.numbers) for each in candidates), key=_order)
    found = [each for each in ordered if each.free]
    if not found:
        raise NothingSelected
    if criteria.quantity is not None:
        return list(_first(criteria.quantity, found))
    if criteria.start is not None and criteria.end is not None:
        _check_whole(criteria.numbers, found)
    return [Taken(each.outpoint, each.whole, each.free) for each in found]


def suffices(criteria: Criteria, candidates: Iterable[Candidate], period_start: int) -> bool:
    """Whether what is produced before that moment (epoch seconds) is as much as is asked for, so that nothing
    produced later can be taken."""
    if criteria.quantity is None:
        return False
    return criteria.quantity <= sum(each.quantity for each in candidates if each.period_start < period_start)


def divide(taken: Taken, sizes: Sequence[int]) -> list[Range]:
    """Consecutive parts of these sizes from the start of what is taken, and what is left as one more;
    `QuantityLacking` when the sizes are more than that. Only one unbroken run of numbers can be divided."""
    run = taken.parts[0]
    if sum(sizes) > run.quantity or len(taken.parts) > 1:
        raise QuantityLacking(f"sizes of {sum(sizes)} in all do not fit into {', '.join(map(str, taken.parts))}")
    parts, start = [], run.start
    for size in sizes:
        parts.append(Range(start, start + size - 1))
        start += size
    return [*parts, Range(start, run.end)] if start <= run.end else parts


def _order(candidate: Candidate) -> tuple[Any, ...]:
    return candidate.period_start, candidate.whole, candidate.issuance_id, candidate.outpoint


def _first(quantity: int, candidates: Sequence[Candidate]) -> Iterator[Taken]:
    """The first `quantity` certificates."""
    there = sum(each.quantity for each in candidates)
    if there < quantity:
        raise QuantityLacking(f"{quantity} certificates were asked for, and {there} are there")
    left = quantity
    for each in candidates:
        if not left:
            return
        parts = []
        for free in each.free:
            if left:
                parts.append(Range(free.start, min(free.end, free.start + left - 1)))
                left -= parts[-1].quantity
        yield Taken(each.outpoint, each.whole, tuple(parts))


def _check_whole(numbers: Range, found: Iterable[Candidate]) -> None:
    missing = subtract([numbers], merge(part for each in found for part in each.free))
    if missing:
        raise QuantityLacking(f"certificates {', '.join(map(str, missing[:8]))} are not there to be taken")


def _moment(value: str | None) -> int | None:
    return None if value is None else secs_of(value)
