"""Memberships: which users act for which accounts.

_id: <account id>/<user id> · account_id · user_id
"""

from __future__ import annotations

from typing import Final

from config.errors import BadRequest, ErrorCode
from energytag.draft import Draft
from energytag.records import MEMBERSHIPS, USERS
from store.pages import every
from store.port import Document, Find, Reader

MOST_MEMBERS: Final = 1000
"""Users that one account may have."""


def membership_key(account_id: str, user_id: str) -> str:
    return f"{account_id}/{user_id}"


async def is_member(reader: Reader, account_id: str, user_id: str) -> bool:
    return await reader.get(MEMBERSHIPS, membership_key(account_id, user_id)) is not None


async def members_of(reader: Reader, account_id: str) -> list[Document]:
    """The users who act for an account."""
    rows = await every(reader, MEMBERSHIPS, Find("account", {"account_id": account_id}))
    users = await reader.get_many(USERS, [row["user_id"] for row in rows])
    return [users[row["user_id"]] for row in rows if row["user_id"] in users]


async def join(draft: Draft, account_id: str, user_id: str) -> None:
    """Have a user act for an account; nothing happens when he does already."""
    if await is_member(draft.reader, account_id, user_id):
        return
    if await draft.reader.count(MEMBERSHIPS, Find("account", {"account_id": account_id})) >= MOST_MEMBERS:
        raise BadRequest(f"An account may have {MOST_MEMBERS} users", ErrorCode.INVALID_FIELD)
    key = membership_key(account_id, user_id)
    draft.insert(MEMBERSHIPS, {"_id": key, "account_id": account_id, "user_id": user_id})


async def part(draft: Draft, index: str, subject_id: str) -> None:
    """End all memberships of an account or of a user, whichever `index` names."""
    for row in await every(draft.reader, MEMBERSHIPS, Find(index, {f"{index}_id": subject_id})):
        draft.remove(MEMBERSHIPS, row["_id"])
