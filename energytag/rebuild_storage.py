"""Storage records from the log of actions, and from the certificates that were issued from them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from certificates.bundle import Bundle
from energytag.actions import Action, Kind, State
from energytag.draft import from_json
from energytag.holdings import load
from energytag.storage_issuing import discharge_meant
from energytag.storage_records import COLLECTIONS, SDRS
from lookup.records import CERTIFICATES
from store.pages import every, pages
from store.port import Delete, Document, Find, Patch, Put, Reader, Write

HANDLED: Final = frozenset(
    {
        Kind.CREATE_SCR,
        Kind.CREATE_SDR,
        Kind.ALLOCATE_STORAGE,
        Kind.WITHDRAW_SCR,
        Kind.WITHDRAW_SDR,
        Kind.STORAGE_UPDATE_MUTABLES,
        Kind.ISSUE_SDGC,
    }
)
_BY_NAME: Final = {collection.name: collection for collection in COLLECTIONS}


def writes_of(action: Action) -> list[Write]:
    """The writes of an action, without guards. Applied in the order of the log, to empty collections or to what
    an earlier rebuild left, they give the records as they were; `issued_writes` then adds what was issued. None
    for an action of another area, or one that changed nothing."""
    if action.kind not in HANDLED or action.state is not State.RESOLVED:
        return []
    documents = action.result["documents"]
    writes: list[Write] = [Put(_BY_NAME[each["collection"]], from_json(each["document"])) for each in documents]
    return writes + [Delete(_BY_NAME[each["collection"]], each["key"]) for each in action.result["removed"]]


async def decided_writes(reader: Reader, unfinished: Iterable[Action]) -> list[Write]:
    """Discharges that unfinished actions have claimed: what they decided is no action's result yet. For when all
    resolved actions are written again."""
    writes: list[Write] = []
    for action in unfinished:
        if action.kind is Kind.ISSUE_SDGC and action.memo is not None:
            sdr = await discharge_meant(reader, action.request)
            changes = {"issued_by": action.action_id, "sdgc": None, "rev": sdr["rev"] + 1}
            writes.append(Patch(SDRS, sdr["_id"], changes))
    return writes


async def issued_writes(reader: Reader) -> list[Write]:
    """Which certificates were issued from which discharge, as the certificates themselves say. For when all
    actions are written again, and the index has all certificates."""
    writes: list[Write] = []
    async for sdrs in pages(reader, SDRS):
        for sdr in sdrs:
            if sdr["issued_by"] is not None and sdr["sdgc"] is None:
                writes += await _issued_from(reader, sdr)
    return writes


async def _issued_from(reader: Reader, sdr: Document) -> list[Write]:
    """The latest issuance of the discharge's device and interval that names it."""
    start = sdr["start_ms"] // 1000
    find = Find("device", {"device_id": sdr["device_id"]}, start, start + 1)
    records = await every(reader, CERTIFICATES, find)
    ordered = sorted(records, key=lambda record: int(record["seq"]), reverse=True)
    for holding in await load(reader, [record["_id"] for record in ordered]):
        if _names(holding.token.bundle, sdr["_id"]):
            return [Patch(SDRS, sdr["_id"], {"sdgc": holding.token.issuance_id})]
    return []


def _names(bundle: Bundle, sdr_id: str) -> bool:
    return bundle.attributes.get("sdr_allocation_id") == sdr_id
