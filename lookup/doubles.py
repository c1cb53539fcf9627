"""Double issuance: one device and interval, issued under more than one issuance id.

No topic can refuse it, since which of the two came first depends on the node (I8). The index tells of it with
every answer instead. `metawatt_intervals` finds intervals that begin alike; around a flagged one, and for the
partition of one issuance, overlaps are sought in the device's own records.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from lookup.records import CERTIFICATES, HOUR_SECS, INTERVALS, interval_keys
from store.port import Delete, Document, Find, Key, Put, Reader, Write

MOST_NEIGHBOURS: Final = 1024
"""Records of one device around one interval that are looked at."""


async def doubles_of(records: Sequence[Document], reader: Reader) -> dict[bytes, list[str]]:
    """The other issuance ids of each record's device and interval, by outpoint; only where there are any."""
    keys = {record["_id"]: _keys(record) for record in records if _is_issued(record)}
    wanted = [key for pair in keys.values() for key in pair]
    marks = await reader.get_many(INTERVALS, wanted) if wanted else {}
    doubles = {}
    for record in records:
        if _is_flagged(record, keys.get(record["_id"], ()), marks) and (
            others := await overlapping(record, reader)
        ):
            doubles[record["_id"]] = others
    return doubles


def _is_issued(record: Document) -> bool:
    return record["device_id"] is not None and not record["unissued"]


def _keys(record: Document) -> tuple[bytes, bytes]:
    return interval_keys(record["device_id"], record["period_start"])


def _is_flagged(record: Document, keys: Sequence[bytes], marks: dict[Key, Document]) -> bool:
    return any(marks[key]["issuance_id"] != record["issuance_id"] for key in keys if key in marks)


async def overlapping(record: Document, reader: Reader) -> list[str]:
    """Other issuance ids of the same device whose interval overlaps this record's, sorted."""
    found = {each["issuance_id"] for each in await _neighbours(record, reader) if _overlaps(each, record)}
    return sorted(found - {record["issuance_id"]})


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
    """Set an interval's marks anew from what remains when a record of it is evicted."""
    if not _is_issued(evicted):
        return ()
    neighbours = await _neighbours(evicted, reader)
    remaining = [
        each
        for each in neighbours
        if each["period_start"] == evicted["period_start"] and each["_id"] != evicted["_id"]
    ]
    first, last = _keys(evicted)
    if not remaining:
        return (Delete(INTERVALS, first), Delete(INTERVALS, last))
    ids = [each["issuance_id"] for each in sorted(remaining, key=lambda each: each["seq"])]
    return (
        Put(INTERVALS, {"_id": first, "issuance_id": ids[0]}),
        Put(INTERVALS, {"_id": last, "issuance_id": next((i for i in reversed(ids) if i != ids[0]), ids[0])}),
    )
