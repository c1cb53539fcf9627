"""Aggregates: quantity and energy of the live outputs that some filters would list, by group.

The database sums; what it cannot decide (the window's end, expiry, a filter that no index fixes) becomes a
field to group by, and whole groups are then kept or dropped. Notices are laid over afterwards: the records of
withdrawn issuances move from the group of their token's status to `Withdrawn`.

Two bounds: an aggregate covers at most `limits.lookup_scan` × `ENTRIES_PER_SCAN` index entries and answers at
most `limits.lookup_limit` rows. Tokens that were never issued are not energy and are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

from config.settings import LimitSettings
from lookup.filters import Filters, refuse
from lookup.match import matches, shows
from lookup.planner import Walk, plan
from lookup.query import Aggregate, Group, Sort
from lookup.records import CERTIFICATES, WITHDRAWN
from lookup.standing import LOST, applying, notices_for, status_of
from store.port import Document, Find, Reader

ENTRIES_PER_SCAN: Final = 100

GroupKey: TypeAlias = tuple[str | int | None, ...]


@dataclass(slots=True)
class Sums:
    """One row's sums: outputs, certificates, watt-hours."""

    bundles: int = 0
    quantity: int = 0
    quantity_wh: int = 0

    def add(self, bundles: int, quantity: int, quantity_wh: int) -> None:
        self.bundles += bundles
        self.quantity += quantity
        self.quantity_wh += quantity_wh


@dataclass(slots=True)
class _Table:
    """Rows under way. Expiry is judged at `now_secs`."""

    query: Aggregate
    now_secs: int
    rows: dict[GroupKey, Sums] = field(default_factory=dict)

    @property
    def needs_status(self) -> bool:
        return Group.STATUS in self.query.by or bool(self.query.filters.statuses)

    @property
    def fields(self) -> list[str]:
        """What the database groups by."""
        wanted = ["live", "unissued", "face_value", *self.query.filters.equals]
        wanted += [group.value for group in self.query.by]
        if self.query.filters.has_period:
            wanted += ["period_start", "period_end"]
        if self.needs_status:
            wanted += ["status", "expires"]
        return list(dict.fromkeys(wanted))

    def add(self, group: Document, bundles: int, quantity_wh: int, is_withdrawn: bool = False) -> None:
        """Count records that have these fields in common; a negative count takes them out again."""
        if not group["live"] or group["unissued"] or not matches(group, self.query.filters):
            return
        status = None
        if self.needs_status:
            status = status_of({"lost": None, **group}, is_withdrawn, self.now_secs)
            if not shows(status, self.query.filters):
                return
        row = self.rows.setdefault(self._key(group, status), Sums())
        row.add(bundles, quantity_wh // group["face_value"], quantity_wh)

    def _key(self, group: Document, status: str | None) -> GroupKey:
        return tuple(status if by is Group.STATUS else group[by.value] for by in self.query.by)


async def aggregate(query: Aggregate, reader: Reader, now_secs: int, limits: LimitSettings) -> list[dict[str, Any]]:
    """Rows, ordered by group: the group's values, `bundles` (outputs), `quantity` (certificates) and
    `quantity_wh`, all integers. BAD_QUERY when a bound is met."""
    if LOST in query.filters.statuses:
        refuse("sums are of live outputs; what was lost is told by the filter status and by ranges")
    walks = _walks(query.filters)
    await _check_covered(walks, reader, limits.lookup_scan * ENTRIES_PER_SCAN)
    table = _Table(query, now_secs)
    for walk in walks:
        for total in await reader.aggregate(CERTIFICATES, _find(walk), table.fields, "quantity_wh"):
            table.add(dict(zip(table.fields, total.group, strict=True)), total.count, total.total)
    if table.needs_status:
        await _lay_notices(table, reader, limits.lookup_scan)
    return _told(table, limits.lookup_limit)


def _walks(filters: Filters) -> list[Walk]:
    """Walks that together cover what is asked for, each record in one of them."""
    way = plan(filters, Sort.LATEST_PERIOD if filters.has_period else Sort.NEWEST)
    return [walk for walk in way.walks if "lost" not in walk.equals]


def _find(walk: Walk) -> Find:
    return Find(walk.index, walk.equals, walk.lower, walk.upper)


async def _check_covered(walks: Iterable[Walk], reader: Reader, most: int) -> None:
    covered = 0
    for walk in walks:
        covered += await reader.count(CERTIFICATES, _find(walk))
    if covered > most:
        refuse(f"the aggregate covers {covered} records, more than {most}; narrow it, best by period")


async def _lay_notices(table: _Table, reader: Reader, budget: int) -> None:
    """Move what notices touch to `Withdrawn`, as a listing shows it."""
    for record in await _withdrawn_records(table.query.filters, reader, budget):
        group = {name: record[name] for name in table.fields}
        table.add(group, -1, -record["quantity_wh"])
        table.add(group, 1, record["quantity_wh"], is_withdrawn=True)


async def _withdrawn_records(filters: Filters, reader: Reader, budget: int) -> list[Document]:
    touched: list[Document] = []
    for issuance_id in await _withdrawn_issuances(filters, reader, budget):
        page = await reader.find(CERTIFICATES, Find("issuance", {"issuance_id": issuance_id}, limit=budget))
        notices = await notices_for(page.documents, reader)
        touched += [record for record in page.documents if applying(record, notices)]
        budget -= len(page.documents)
        if page.last is not None or budget < 1:
            refuse("too much was withdrawn to be summed by status; narrow it by issuance_id")
    return touched


async def _withdrawn_issuances(filters: Filters, reader: Reader, budget: int) -> Sequence[str]:
    asked = filters.equals.get("issuance_id")
    if asked is not None:
        return [str(each) for each in await reader.get_many(WITHDRAWN, [str(each) for each in asked])]
    page = await reader.find(WITHDRAWN, Find(limit=budget))
    if page.last is not None:
        refuse("too much was withdrawn to be summed by status; narrow it by issuance_id")
    return [document["_id"] for document in page.documents]


def _told(table: _Table, most: int) -> list[dict[str, Any]]:
    rows = {key: sums for key, sums in table.rows.items() if sums.bundles}
    if len(rows) > most:
        refuse(f"the aggregate has {len(rows)} rows, more than {most}; narrow it, or group by less")
    names = [by.value for by in table.query.by]
    ordered = sorted(rows.items(), key=lambda item: [str(value) for value in item[0]])
    return [{**_values(names, key), **_sums(sums)} for key, sums in ordered]


def _values(names: Sequence[str], key: GroupKey) -> dict[str, Any]:
    return {name: _hour(value) if name == Group.HOUR else value for name, value in zip(names, key, strict=True)}


def _hour(value: Any) -> str:
    return datetime.fromtimestamp(value, UTC).isoformat().replace("+00:00", "Z")


def _sums(sums: Sums) -> dict[str, int]:
    return {"bundles": sums.bundles, "quantity": sums.quantity, "quantity_wh": sums.quantity_wh}
