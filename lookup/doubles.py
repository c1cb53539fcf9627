"""Double issuance: one device and interval, issued under more than one issuance id.

No topic can refuse it, since which of the two came first depends on the node (I8). The index tells of it with
every answer instead. `metawatt_intervals` finds intervals that begin alike; around a flagged one, and for the
partition of one issuance, overlaps are sought in the device's own records.

What mirrors tokens of another chain is issued in as many parts as tokens came: certificates of one issuer for one
interval, each with an `origin`, are no doubles of each other, and have one name in the mark. That together they are
no more than came is for the mirror's parity and receipts to show.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from lookup.records import CERTIFICATES, HOUR_SECS, INTERVALS, interval_key
from store.port import Delete, Document, Find, Insert, Patch, Put, Reader, Write

MOST_NEIGHBOURS: Final = 1024
"""Records of one device around one interval that are looked at."""
_PARTS: Final = "mirrored by "


async def doubles_of(records: Sequence[Document], reader: Reader) -> dict[bytes, list[str]]:
    """The other issuance ids of each record's device and interval, by outpoint; only where there are any."""
    keys = {record["_id"]: _key(record) for record in records if _is_issued(record)}
    marks = await reader.get_many(INTERVALS, list(keys.values())) if keys else {}
    doubles = {}
    for record in records:
        mark = marks.get(keys.get(record["_id"], b""))
        if mark is not None and _is_flagged(record, mark) and (others := await overlapping(record, reader)):
            doubles[record["_id"]] = others
    return doubles


def _is_issued(record: Document) -> bool:
    return record["device_id"] is not None and not record["unissued"]


def _key(record: Document) -> bytes:
    return interval_key(record["device_id"], record["period_start"])


def _is_flagged(record: Document, mark: Document) -> bool:
    parts = {field for field in mark if field.startswith(_PARTS)}
    return {mark["first"], mark["last"], *parts} != {_name(record)}


def _name(record: Document) -> str:
    """What an issuance is called in the mark of its interval; all parts that one issuer mirrors alike."""
    if record.get("is_mirrored"):
        return f"{_PARTS}{record['issuer'].hex()} until {record['period_end']}"
    return str(record["issuance_id"])


def mark_writes(record: Document) -> tuple[Write, ...]:
    """Writes that add an issuance to the mark of its interval, whatever is there. Who comes once, is the last.
    Who comes again and again, has a field to itself, so as not to hide who came between."""
    key, name = _key(record), _name(record)
    fresh: Document = {"_id": key, "first": name, "last": name}
    changes: Document = {name: 1} if record.get("is_mirrored") else {"last": name}
    return Patch(INTERVALS, key, changes, must_exist=False), Insert(INTERVALS, fresh, keep=True)


async def overlapping(record: Document, reader: Reader) -> list[str]:
    """Other issuance ids of the same device whose interval overlaps this record's, sorted."""
    neighbours = await _neighbours(record, reader)
    found = {each["issuance_id"] for each in neighbours if _overlaps(each, record) and not _are_parts(each, record)}
    return sorted(found - {record["issuance_id"]})


def _are_parts(one: Document, other: Document) -> bool:
    """Whether both are parts of one interval that is mirrored."""
    are_mirrored = bool(one.get("is_mirrored") and other.get("is_mirrored"))
    return are_mirrored and all(one[name] == other[name] for name in ("issuer", "period_start", "period_end"))


def _overlaps(one: Document, other: Document) -> bool:
    return bool(one["period_start"] < other["period_end"] and other["period_start"] < one["period_end"])


async def _neighbours(record: Document, reader: Reader) -> list[Document]:
    """Issued records of the device that begin within an hour, the longest interval, before this one's end."""
    find = Find(
        "device",
        {"device_id": record["device_id"]},
        lower=record["period_start"] - HOUR_SECS + 1,
        upper=record["period_end"],
        limit=MOST_NEIGHBOURS,
    )
    page = await reader.find(CERTIFICATES, find)
    return [each for each in page.documents if not each["unissued"]]


async def remark_writes(evicted: Document, reader: Reader) -> Sequence[Write]:
    """Set an interval's mark anew from what remains when a record of it is evicted."""
    if not _is_issued(evicted):
        return ()
    neighbours = await _neighbours(evicted, reader)
    remaining = [
        each
        for each in neighbours
        if each["period_start"] == evicted["period_start"] and each["_id"] != evicted["_id"]
    ]
    key = _key(evicted)
    if not remaining:
        return (Delete(INTERVALS, key),)
    remaining.sort(key=lambda each: int(each["seq"]))
    names = [_name(each) for each in remaining]
    parts = {name: 1 for name in names if name.startswith(_PARTS)}
    return (Put(INTERVALS, {"_id": key, "first": names[0], "last": names[-1], **parts}),)
