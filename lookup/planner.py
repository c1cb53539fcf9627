"""Which index answers a question: a pure function from a listing to walks.

An index answers in order when its fields are those that the walk fixes and then the field to sort by. Several
values of a filter are several walks, whose answers are merged. Every filter is also checked on the records
that come: a plan may lead to more than was asked for, never to less.

The choice, first that fits:

1. `issuance`, `owner`: an identity, few records.
2. `device`, `account`: a run of one meter's records, or of one holder's of one status, kept by period.
3. `live_country_source`, kept by admission, when both are given.
4. `other_status…`, when only other statuses than Active are asked for.
5. `live_country`, `live_source`, kept by admission.
6. `live`, `live_period`: everything, by admission or by production.

1 and 2 are also taken when they are kept in another order than is asked for; they are then *gathered*: read
whole, within the scan budget, and sorted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from math import prod
from typing import Final

from certificates.lifecycle import EXPIRING, WITHDRAWABLE, Status
from lookup.filters import Filters
from lookup.query import Sort
from lookup.records import OTHER_STATUSES, UNKNOWN_STATUS
from lookup.standing import LOST
from store.port import Find, Scalar

MOST_WALKS: Final = 32
"""Walks that are merged for one answer; of an account's, each counts once for all its statuses."""
_SHOWN_AS_ACTIVE: Final = frozenset({Status.ACTIVE, Status.EXPIRED, Status.WITHDRAWN})
"""Statuses that a record may show whose token says Active."""
_STANDING: Final = "standing"
"""A filter of the planner's own: the values of `other_status` that a record of the wanted statuses may have."""
_MAY_SHOW_AS: Final[Mapping[str, tuple[Scalar, ...]]] = {
    Status.ACTIVE: (None,),
    Status.EXPIRED: (None, *sorted(status.value for status in EXPIRING - {Status.ACTIVE})),
    Status.WITHDRAWN: (
        None,
        *sorted(status.value for status in WITHDRAWABLE - {Status.ACTIVE}),
        Status.WITHDRAWN.value,
    ),
}
_ALL_STANDINGS: Final = (None, *OTHER_STATUSES, UNKNOWN_STATUS)


@dataclass(frozen=True, slots=True)
class Walk:
    """One walk of `CERTIFICATES`: an index, what it fixes, and bounds on the field that follows."""

    index: str
    equals: Mapping[str, Scalar] = field(default_factory=dict)
    lower: Scalar = None
    upper: Scalar = None

    def find(self, sort: Sort, limit: int, after: tuple[Scalar, ...] | None) -> Find:
        return Find(self.index, self.equals, self.lower, self.upper, sort.descending, limit, after)


@dataclass(frozen=True, slots=True)
class Plan:
    """Walks to merge by the sort field and then the outpoint. `is_gathered`: the indexes keep another order,
    so that they are to be read whole and sorted."""

    walks: tuple[Walk, ...]
    sort: Sort
    is_gathered: bool = False


@dataclass(frozen=True, slots=True)
class _Path:
    """An index, the filters that it needs, and the field that it is kept by. `is_live`: only live records
    are in it, and "live" is its first field."""

    index: str
    filters: tuple[str, ...]
    kept_by: str
    is_live: bool = False
    may_gather: bool = False


_PATHS: Final = (
    _Path("issuance", ("issuance_id",), "seq", may_gather=True),
    _Path("owner", ("owner_key",), "seq", may_gather=True),
    _Path("device", ("device_id",), "period_start", may_gather=True),
    _Path("account", ("account_id", _STANDING), "period_start", is_live=True, may_gather=True),
    _Path("live_country_source", ("country", "energy_source"), "seq", is_live=True),
    _Path("other_status", ("other_status",), "seq"),
    _Path("other_status_period", ("other_status",), "period_start"),
    _Path("live_country", ("country",), "seq", is_live=True),
    _Path("live_source", ("energy_source",), "seq", is_live=True),
    _Path("live", (), "seq", is_live=True),
    _Path("live_period", (), "period_start", is_live=True),
)


def plan(filters: Filters, sort: Sort) -> Plan:
    """The walks that answer a listing."""
    walks: list[Walk] = []
    is_gathered = False
    fixed = _fixed(filters)
    if set(filters.statuses) != {LOST}:
        path = next(path for path in _PATHS if _fits(path, fixed, sort))
        is_gathered = path.kept_by != sort.field
        walks += _walks(path, fixed, filters)
        if not path.is_live and "other_status" not in path.filters:
            return Plan(tuple(walks), sort, is_gathered)
    if {LOST, Status.WITHDRAWN} & set(filters.statuses):
        walks.append(_lost(filters, sort))
    return Plan(tuple(walks), sort, is_gathered)


def _fixed(filters: Filters) -> dict[str, tuple[Scalar, ...]]:
    fixed = dict(filters.equals)
    fixed[_STANDING] = fixed.pop("other_status", ()) or _standings(filters.statuses)
    if filters.statuses and not _SHOWN_AS_ACTIVE & set(filters.statuses):
        fixed["other_status"] = tuple(status for status in OTHER_STATUSES if status in filters.statuses)
    return fixed


def _standings(statuses: Sequence[str]) -> tuple[Scalar, ...]:
    if not statuses:
        return _ALL_STANDINGS
    return tuple(dict.fromkeys(each for status in statuses for each in _MAY_SHOW_AS.get(status, (status,))))


def _fits(path: _Path, fixed: Mapping[str, tuple[Scalar, ...]], sort: Sort) -> bool:
    if not all(name in fixed for name in path.filters):
        return False
    count = prod(len(fixed[name]) for name in path.filters if name != _STANDING)
    return count <= MOST_WALKS and (path.may_gather or path.kept_by == sort.field)


def _walks(path: _Path, fixed: Mapping[str, tuple[Scalar, ...]], filters: Filters) -> list[Walk]:
    always: dict[str, Scalar] = {"live": 1} if path.is_live else {}
    lower, upper = _bounds(path.kept_by, filters)
    fields = ["other_status" if name == _STANDING else name for name in path.filters]
    choices = product(*(fixed[name] for name in path.filters))
    return [Walk(path.index, always | dict(zip(fields, choice, strict=True)), lower, upper) for choice in choices]


def _bounds(kept_by: str, filters: Filters) -> tuple[int | None, int | None]:
    """A window on the start of production. An interval that ends by the window's end began before it."""
    return (filters.period_start, filters.period_end) if kept_by == "period_start" else (None, None)


def _lost(filters: Filters, sort: Sort) -> Walk:
    index = "lost" if sort.field == "seq" else "lost_period"
    return Walk(index, {"lost": 1}, *_bounds(sort.field, filters))
