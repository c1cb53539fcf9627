"""Certificates as storage records see them: those that back a charge, and those issued from a discharge."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from certificates.ranges import Range, merge
from energytag.bundles import range_of
from energytag.holdings import shown
from lookup.filters import Filters
from lookup.records import CERTIFICATES
from lookup.search import Shown
from lookup.standing import notices_for
from overlay.transaction import show_outpoint
from store.port import Document, Find, Reader


async def stands_issued(reader: Reader, sdr: Document) -> bool:
    """Whether certificates were issued from a discharge, and not withdrawn whole since."""
    if sdr["issued_by"] is None:
        return False
    return sdr["sdgc"] is None or not await is_withdrawn(reader, sdr["sdgc"])


async def is_withdrawn(reader: Reader, issuance_id: str) -> bool:
    """Whether the issuer's notices withdraw all that an issuance ever was."""
    find = Find("issuance", {"issuance_id": issuance_id}, limit=1)
    for record in (await reader.find(CERTIFICATES, find)).documents:
        notices = (await notices_for([record], reader)).get(issuance_id, ())
        own = (each.range for each in notices if each.issuer == record["issuer"])
        return merge(own) == [Range(record["issued_start"], record["issued_end"])]
    return False


async def standing(
    reader: Reader, issuance_id: str, now_secs: int, numbers: Range | None = None
) -> list[dict[str, Any]]:
    """The bundles of an issuance as they stand now, in EnergyTag's words, with where they are on chain; of those
    that have some of the numbers, when there are any."""
    found = [
        _told(each)
        async for each in _each(reader, issuance_id, now_secs)
        if numbers is None or numbers.overlaps(range_of(each.record))
    ]
    return sorted(found, key=lambda told: int(told["bundle_id_range_start"]))


async def _each(reader: Reader, issuance_id: str, now_secs: int) -> AsyncIterator[Shown]:
    async for page in shown(reader, Filters({"issuance_id": (issuance_id,)}), now_secs):
        for each in page:
            yield each


def _told(each: Shown) -> dict[str, Any]:
    record = each.record
    return {
        "issuance_id": record["issuance_id"],
        "bundle_id_range_start": record["range_start"],
        "bundle_id_range_end": record["range_end"],
        "bundle_quantity": record["quantity"],
        "energy": record["quantity_wh"],
        "certificate_status": each.status,
        "account_id": record["account_id"],
        "tx_id": record["_id"][31::-1].hex(),
        "outpoint": show_outpoint(record["_id"]),
    }
