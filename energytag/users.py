"""Users: who calls.

_id · name · primary_contact · organisation_id · role (list of `access.Role`) · identity_key (33 bytes of the
wallet that logs in, None without) · tokens_since (epoch seconds: tokens of that second and before are
refused; 0 for none) · rev
"""

from __future__ import annotations

from typing import Any, Final

from config.errors import BadRequest, ErrorCode, NotFound
from energytag.access import OPERATOR, Caller, Role
from energytag.accounts import account
from energytag.actions import Action, new_id
from energytag.draft import Draft, is_there
from energytag.memberships import join, part
from energytag.organisations import organisation
from energytag.records import USERS
from store.port import Document, Find, Reader

_COPIED: Final = ("name", "primary_contact", "organisation_id")


class IdentityTaken(BadRequest):
    """Another user has this identity key."""

    default_code = ErrorCode.INVALID_FIELD


async def user(reader: Reader, user_id: str) -> Document:
    """The user; `NotFound(USER_UNKNOWN)` when there is none, or no longer."""
    document = await reader.get(USERS, user_id)
    if document is None or not is_there(document):
        raise NotFound(f"There is no user {user_id}", ErrorCode.USER_UNKNOWN)
    return document


async def user_of_identity(reader: Reader, identity_key: bytes) -> Document | None:
    """The user who logs in with this wallet."""
    page = await reader.find(USERS, Find("identity", {"identity_key": identity_key}, limit=1))
    return page.documents[0] if page.documents else None


def caller_as(document: Document) -> Caller:
    """A user as one who calls."""
    roles = frozenset(Role(role) for role in document["role"])
    return Caller(document["_id"], roles, document["organisation_id"])


async def requester(reader: Reader, action: Action) -> Caller:
    """Who asked for an action, with the roles that he has now."""
    return OPERATOR if action.user_id is None else caller_as(await user(reader, action.user_id))


async def create(draft: Draft, action: Action) -> str:
    request = action.request
    await organisation(draft.reader, request["organisation_id"])
    user_id = new_id(draft.now_ms)
    document = {
        "_id": user_id,
        **{name: request[name] for name in _COPIED},
        "role": _roles(request["role"]),
        "identity_key": await _free_identity(draft, user_id, request.get("identity_key")),
        "tokens_since": 0,
        "rev": 1,
    }
    draft.insert(USERS, document)
    return user_id


async def update(draft: Draft, action: Action) -> str:
    request = action.request
    old = await user(draft.reader, request["user_id"])
    changes: dict[str, Any] = {name: request[name] for name in _COPIED if name in request}
    await organisation(draft.reader, request["organisation_id"])
    changes["role"] = _roles(request["role"])
    if "identity_key" in request:
        changes["identity_key"] = await _free_identity(draft, old["_id"], request["identity_key"])
    if request.get("revoke_tokens"):
        changes["tokens_since"] = draft.now_ms // 1000
    if account_id := request.get("account_id"):
        await join(draft, (await account(draft.reader, account_id))["_id"], old["_id"])
    draft.change(USERS, old, changes)
    return str(old["_id"])


async def delete(draft: Draft, action: Action) -> str:
    old = await user(draft.reader, action.request["user_id"])
    await part(draft, "user", old["_id"])
    draft.bury(USERS, old)
    return str(old["_id"])


def _roles(given: list[str]) -> list[str]:
    return sorted(set(given))


async def _free_identity(draft: Draft, user_id: str, digits: str | None) -> bytes | None:
    """An identity key that no other user has."""
    if digits is None:
        return None
    identity_key = bytes.fromhex(digits)
    other = await user_of_identity(draft.reader, identity_key)
    if other is not None and other["_id"] != user_id:
        raise IdentityTaken()
    return identity_key
