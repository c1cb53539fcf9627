"""Organisations: the legal persons that users and accounts belong to.

_id · name · business_id · primary_contact · address · website · rev
"""

from __future__ import annotations

from typing import Final

from config.errors import ErrorCode, NotFound
from energytag.actions import Action, new_id
from energytag.draft import Draft, StillInUse, exists, is_there
from energytag.records import ACCOUNTS, ORGANISATIONS, USERS
from store.port import Document, Reader

FIELDS: Final = ("name", "business_id", "primary_contact", "address", "website")


async def organisation(reader: Reader, organisation_id: str) -> Document:
    """The organisation; `NotFound(ORGANISATION_UNKNOWN)` when there is none, or no longer."""
    document = await reader.get(ORGANISATIONS, organisation_id)
    if document is None or not is_there(document):
        raise NotFound(f"There is no organisation {organisation_id}", ErrorCode.ORGANISATION_UNKNOWN)
    return document


async def create(draft: Draft, action: Action) -> str:
    organisation_id = new_id(draft.now_ms)
    fields = {name: action.request.get(name) for name in FIELDS}
    draft.insert(ORGANISATIONS, {"_id": organisation_id, **fields, "rev": 1})
    return organisation_id


async def update(draft: Draft, action: Action) -> str:
    old = await organisation(draft.reader, action.request["organisation_id"])
    changes = {name: action.request[name] for name in FIELDS if name in action.request}
    draft.change(ORGANISATIONS, old, changes)
    return str(old["_id"])


async def delete(draft: Draft, action: Action) -> str:
    old = await organisation(draft.reader, action.request["organisation_id"])
    for collection, what in ((ACCOUNTS, "accounts"), (USERS, "users")):
        if await exists(draft.reader, collection, "organisation", organisation_id=old["_id"]):
            raise StillInUse(f"Organisation {old['_id']} still has {what}")
    draft.bury(ORGANISATIONS, old)
    return str(old["_id"])
