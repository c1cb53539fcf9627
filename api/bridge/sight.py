"""Who sees meters and readings: the operator all, a user those of the accounts that he acts for.

Readings say when somebody was at home; so they are not public, though what is minted of them is.
"""

from __future__ import annotations

from collections.abc import Sequence

from config.errors import Forbidden
from energytag.access import Caller
from energytag.memberships import membership_key
from energytag.records import MEMBERSHIPS
from store.port import Document, Reader


async def demand_sight(reader: Reader, caller: Caller, document: Document) -> None:
    """`Forbidden` unless the caller sees this meter, or reading."""
    if not await seen(reader, caller, [document]):
        raise Forbidden("This meter is not of an account that you act for")


async def seen(reader: Reader, caller: Caller, documents: Sequence[Document]) -> list[Document]:
    """Those of them that the caller sees."""
    if caller.is_administrator:
        return list(documents)
    if caller.user_id is None:
        return []
    accounts = {each["account_id"] for each in documents} - {None}
    keys = {account: membership_key(account, caller.user_id) for account in accounts}
    memberships = await reader.get_many(MEMBERSHIPS, list(keys.values()))
    return [each for each in documents if keys.get(each["account_id"]) in memberships]
