"""Which meters a caller may hear of."""

from __future__ import annotations

from bridge.records import METERS
from energytag.access import Caller
from energytag.records import MEMBERSHIPS
from store.pages import pages
from store.port import Find, Reader


async def audible_meters(reader: Reader, caller: Caller, most: int) -> frozenset[str] | None:
    """The serials of the meters of those accounts that the caller acts for, `most` at most; None for an
    administrator, who hears of all."""
    if caller.is_administrator:
        return None
    serials: list[str] = []
    if caller.user_id is not None:
        async for accounts in pages(reader, MEMBERSHIPS, Find("user", {"user_id": caller.user_id})):
            for row in accounts:
                serials += await _meters_of(reader, row["account_id"], most - len(serials))
    return frozenset(serials)


async def _meters_of(reader: Reader, account_id: str, most: int) -> list[str]:
    if most <= 0:
        return []
    page = await reader.find(METERS, Find("account", {"account_id": account_id}, limit=most))
    return [row["_id"] for row in page.documents]
