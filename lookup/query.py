"""The query language of `ls_metawatt`: JSON to one of three questions. `metawatt.md` is its manual."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import Any, Final, TypeAlias

from certificates.lifecycle import Status
from config.settings import LimitSettings
from lookup.cursor import DIGEST_BYTES
from lookup.filters import FILTERS, Filters, known_keys, parse_filters, refuse, text, whole

DEFAULT_LIMIT: Final = 100
MAX_CURSOR_TEXT: Final = 256


class Sort(StrEnum):
    """The orders of an answer: by admission here, or by the start of production."""

    NEWEST = "newest"
    OLDEST = "oldest"
    LATEST_PERIOD = "latest_period"
    EARLIEST_PERIOD = "earliest_period"

    @property
    def field(self) -> str:
        return "seq" if self in (Sort.NEWEST, Sort.OLDEST) else "period_start"

    @property
    def descending(self) -> bool:
        return self in (Sort.NEWEST, Sort.LATEST_PERIOD)


class Group(StrEnum):
    """What an aggregate can be grouped by."""

    ENERGY_SOURCE = "energy_source"
    COUNTRY = "country"
    HOUR = "hour"
    STATUS = "status"


@dataclass(frozen=True, slots=True)
class Listing:
    """A question for outputs. `limit` outputs at most; `history` generations of ancestors with each."""

    filters: Filters
    sort: Sort
    limit: int
    cursor: str | None = None
    history: int | None = None

    @property
    def digest(self) -> bytes:
        """Names the question apart from its page; the same for two spellings of one question."""
        filters = self.filters
        asked = (
            sorted(filters.equals.items()),
            filters.statuses,
            filters.topics,
            (filters.period_start, filters.period_end, filters.min_quantity, filters.bundle_id),
            self.sort.value,
        )
        return sha256(repr(asked).encode()).digest()[:DIGEST_BYTES]


@dataclass(frozen=True, slots=True)
class Aggregate:
    """A question for sums over the live outputs that satisfy the filters."""

    filters: Filters
    by: tuple[Group, ...]


@dataclass(frozen=True, slots=True)
class Ranges:
    """A question for what became of each range of one issuance."""

    issuance_id: str


Query: TypeAlias = Listing | Aggregate | Ranges

_NAMED: Final = {"all": Filters(), "listActiveOutputs": Filters(statuses=(Status.ACTIVE.value,))}
_PAGING: Final = ("sort", "limit", "cursor", "history")
_LISTING_KEYS: Final = (*FILTERS, *_PAGING)
_TYPED_KEYS: Final = ("type", "value", *_PAGING)
_AGGREGATE_KEYS: Final = ("by", *FILTERS)
_NOT_SUMMED: Final = ("topics", "min_quantity", "bundle_id")


def parse_query(query: Any, limits: LimitSettings) -> Query:
    """The question that a query asks; `BadRequest` (BAD_QUERY) says what cannot be understood of it."""
    if type(query) is str:
        return _named(query, limits)
    if type(query) is not dict:
        refuse(f'a query is "all", "listActiveOutputs" or an object, not {type(query).__name__}')
    if "type" in query:
        return _typed(query, limits)
    if "aggregate" in query:
        known_keys(query, ("aggregate",), "an aggregate's query")
        return _aggregate(query["aggregate"])
    if "ranges" in query:
        known_keys(query, ("ranges",), "a ranges query")
        return _ranges(query["ranges"])
    known_keys(query, _LISTING_KEYS, "the query")
    return _listing(parse_filters(query), query, limits, min(DEFAULT_LIMIT, limits.lookup_limit))


def _named(name: str, limits: LimitSettings) -> Listing:
    """The first METAWATT's queries without arguments."""
    if name not in _NAMED:
        refuse(f'there is no query {name[:64]!r}; there are "all", "listActiveOutputs" and objects')
    return _listing(_NAMED[name], {}, limits, limits.lookup_limit)


def _typed(query: Mapping[str, Any], limits: LimitSettings) -> Listing:
    """The first METAWATT's `{"type": "byIssuanceId", "value": …}`."""
    known_keys(query, _TYPED_KEYS, "a query with a type")
    if query["type"] != "byIssuanceId":
        refuse('the only type of query is "byIssuanceId"; other questions are filters, without a type')
    filters = parse_filters({"issuance_id": text("value", query.get("value"))})
    return _listing(filters, query, limits, limits.lookup_limit)


def _listing(filters: Filters, query: Mapping[str, Any], limits: LimitSettings, usual_limit: int) -> Listing:
    history = query.get("history")
    return Listing(
        filters,
        _sort(query["sort"]) if "sort" in query else usual_sort(filters),
        whole("limit", query.get("limit", usual_limit), 1, limits.lookup_limit),
        _cursor(query.get("cursor")),
        None if history is None else whole("history", history, 0, limits.lookup_history),
    )


def usual_sort(filters: Filters) -> Sort:
    """The order when none is asked for: by production for questions about a device, an account or a
    period, whose records are kept in that order; else by admission. Always the latest first."""
    by_period = filters.has_period or filters.equals.keys() & {"device_id", "device_name", "account_id"}
    return Sort.LATEST_PERIOD if by_period else Sort.NEWEST


def _sort(value: Any) -> Sort:
    known_keys({text("sort", value): None}, list(Sort), "sort")
    return Sort(value)


def _cursor(value: Any) -> str | None:
    if value is None:
        return None
    if type(value) is not str or len(value) > MAX_CURSOR_TEXT:
        refuse("cursor must be the text that an earlier answer gave")
    return str(value)


def _aggregate(value: Any) -> Aggregate:
    if type(value) is not dict:
        refuse('aggregate must be an object such as {"by": ["energy_source"]}')
    known_keys(value, _AGGREGATE_KEYS, "the aggregate")
    for name in _NOT_SUMMED:
        if name in value:
            refuse(f"an aggregate cannot be filtered by {name}")
    by = value.get("by")
    names = by if type(by) is list else [by]
    if not 0 < len(names) <= len(Group):
        refuse(f"by must list 1 to {len(Group)} of {', '.join(Group)}")
    groups = {text("by", name): None for name in names}
    known_keys(groups, list(Group), "by")
    return Aggregate(parse_filters(value), tuple(Group(name) for name in groups))


def _ranges(value: Any) -> Ranges:
    if type(value) is not dict:
        refuse('ranges must be an object such as {"issuance_id": "…"}')
    known_keys(value, ("issuance_id",), "ranges")
    return Ranges(text("ranges.issuance_id", value.get("issuance_id")))
