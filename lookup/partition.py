"""The partition of an issuance: what became of each of its certificates (I5).

Every certificate of an issuance is in one output that is live, or in one that was lost. Their ranges, cut where
a notice begins or ends, cover what was issued without overlap or gap. Where they do not, the node has not
seen everything, and the gap is shown as `unknown`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from certificates.lifecycle import Status
from certificates.ranges import Range, merge, partitions, subtract
from lookup.doubles import overlapping
from lookup.filters import refuse
from lookup.records import CERTIFICATES
from lookup.standing import Notices, applying, notices_for, status_of
from overlay.transaction import show_outpoint
from store.port import Document, Find, Reader

UNKNOWN: Final = "unknown"


async def partition(issuance_id: str, reader: Reader, now_secs: int, budget: int) -> dict[str, Any]:
    """The issuance and its ranges as JSON; `issued` is None when no certificate of it was ever admitted
    here. BAD_QUERY when it has more outputs, spent ones included, than `budget`."""
    records = await _records(issuance_id, reader, budget)
    if not records:
        return {"issuance_id": issuance_id, "issued": None, "ranges": []}
    notices = await notices_for(records, reader)
    parts = [part for record in records for part in _parts(record, notices, now_secs)]
    issued = Range(records[0]["issued_start"], records[0]["issued_end"])
    parts += _gaps(issued, parts)
    return {
        **_heading(records[0], issued),
        "doubles": await overlapping(records[0], reader),
        "is_partition": partitions([_range(part) for part in parts if part["status"] != UNKNOWN], [issued]),
        "ranges": sorted(parts, key=_range),
        "totals": _totals(parts),
    }


async def _records(issuance_id: str, reader: Reader, budget: int) -> list[Document]:
    page = await reader.find(CERTIFICATES, Find("issuance", {"issuance_id": issuance_id}, limit=budget))
    if page.last is not None:
        refuse(f"the issuance has more than {budget} outputs; list them by the filter issuance_id instead")
    return [record for record in page.documents if not record["unissued"]]


def _heading(record: Document, issued: Range) -> dict[str, Any]:
    return {
        "issuance_id": record["issuance_id"],
        "issuer": record["issuer"].hex(),
        "device_id": record["device_id"],
        "face_value": record["face_value"],
        "issued": {"start": issued.start, "end": issued.end, "quantity": issued.quantity},
    }


def _parts(record: Document, notices: Notices, now_secs: int) -> list[dict[str, Any]]:
    """The ranges of one output, as they stand; none for history."""
    status = status_of(record, False, now_secs)
    if status is None:
        return []
    own = Range(record["range_start"], record["range_end"])
    withdrawn = _clipped((notice.range for notice in applying(record, notices)), own)
    parts = [_part(record, each, status) for each in subtract([own], withdrawn)]
    return parts + [_part(record, each, Status.WITHDRAWN.value) for each in withdrawn]


def _clipped(ranges: Iterable[Range], own: Range) -> list[Range]:
    return merge(Range(max(each.start, own.start), min(each.end, own.end)) for each in ranges)


def _part(record: Document, each: Range, status: str) -> dict[str, Any]:
    part = {
        "start": each.start,
        "end": each.end,
        "quantity": each.quantity,
        "status": status,
        "token_status": record["status"],
        "outpoint": show_outpoint(record["_id"]),
    }
    if record["lost"] and record["spent_by"]:
        part["lost_by"] = record["spent_by"][::-1].hex()
    return part


def _gaps(issued: Range, parts: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    gaps = subtract([issued], [_range(part) for part in parts])
    return [{"start": gap.start, "end": gap.end, "quantity": gap.quantity, "status": UNKNOWN} for gap in gaps]


def _range(part: dict[str, Any]) -> Range:
    return Range(part["start"], part["end"])


def _totals(parts: Sequence[dict[str, Any]]) -> dict[str, int]:
    totals: dict[str, int] = {}
    for part in parts:
        totals[part["status"]] = totals.get(part["status"], 0) + part["quantity"]
    return totals
