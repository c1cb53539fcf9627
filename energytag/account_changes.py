"""What changes accounts: their registration, who acts for them, and whom they take transfers from.

An account's holder manages it within his own organisation; what reaches beyond it is the administrator's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from config.errors import ErrorCode, Forbidden, NotFound
from energytag.access import Caller
from energytag.accounts import account, holds_certificates
from energytag.actions import Action, new_id
from energytag.consent import consent
from energytag.draft import Draft, StillInUse, exists, is_there
from energytag.memberships import is_member, join, membership_key, part
from energytag.organisations import organisation
from energytag.records import ACCOUNTS, DEVICES, MEMBERSHIPS
from energytag.users import requester, user
from store.port import Document

_LINKS: Final = ("webhook_url", "wallet_url")


async def create(draft: Draft, action: Action) -> str:
    """A new account; a holder who makes one acts for it."""
    request = action.request
    caller = await requester(draft.reader, action)
    await organisation(draft.reader, request["organisation_id"])
    _demand_own(caller, request["organisation_id"])
    account_id = new_id(draft.now_ms)
    links = {name: request.get(name) for name in _LINKS}
    links["identity_key"] = _identity(request.get("identity_key"))
    document = {
        "_id": account_id,
        "name": request["account_name"],
        "organisation_id": request["organisation_id"],
        **links,
        "wallet_signs": await consent(draft.reader, action, {}, links),
        "whitelist": await _whitelist(draft, request.get("whitelist")),
        "rev": 1,
    }
    draft.insert(ACCOUNTS, document)
    if caller.user_id is not None and not caller.is_administrator:
        await join(draft, account_id, caller.user_id)
    return account_id


async def update(draft: Draft, action: Action) -> str:
    request = action.request
    caller = await requester(draft.reader, action)
    old = await account(draft.reader, request["account_id"])
    organisation_id = request["organisation_id"]
    if organisation_id != old["organisation_id"]:
        await organisation(draft.reader, organisation_id)
        _demand_administrator(caller, "An account moves to another organisation")
    changes: dict[str, Any] = {"organisation_id": organisation_id, **(await _changes(draft, old, request))}
    changes["wallet_signs"] = await consent(draft.reader, action, old, old | changes)
    if user_id := request.get("user_id"):
        await _add_user(draft, caller, old["_id"], organisation_id, user_id)
    if user_id := request.get("remove_user_id"):
        await _remove_user(draft, old["_id"], user_id)
    draft.change(ACCOUNTS, old, changes)
    return str(old["_id"])


async def delete(draft: Draft, action: Action) -> str:
    old = await account(draft.reader, action.request["account_id"])
    if await holds_certificates(draft.reader, old["_id"]):
        raise StillInUse(f"Account {old['_id']} still has certificates")
    if await exists(draft.reader, DEVICES, "account", account_id=old["_id"]):
        raise StillInUse(f"Account {old['_id']} still has devices")
    await part(draft, "account", old["_id"])
    draft.bury(ACCOUNTS, old)
    return str(old["_id"])


async def update_whitelist(draft: Draft, action: Action) -> str:
    old = await account(draft.reader, action.request["account_id"])
    draft.change(ACCOUNTS, old, {"whitelist": await _whitelist(draft, action.request["whitelist"])})
    return str(old["_id"])


async def _changes(draft: Draft, old: Document, request: Mapping[str, Any]) -> dict[str, Any]:
    """The changed fields of the account itself."""
    changes = {name: request[name] for name in _LINKS if name in request}
    if "account_name" in request:
        changes["name"] = request["account_name"]
    if "whitelist" in request:
        changes["whitelist"] = await _whitelist(draft, request["whitelist"])
    if "identity_key" in request:
        changes["identity_key"] = await _new_identity(draft, old, request["identity_key"])
    return changes


async def _new_identity(draft: Draft, old: Document, digits: str | None) -> bytes | None:
    """Certificates stay locked to the key that they were made for, so there must be none."""
    identity_key = _identity(digits)
    if identity_key != old["identity_key"] and await holds_certificates(draft.reader, old["_id"]):
        raise StillInUse("identity_key changes only while no certificates stand in the account")
    return identity_key


def _identity(digits: str | None) -> bytes | None:
    return None if digits is None else bytes.fromhex(digits)


async def _whitelist(draft: Draft, account_ids: list[str] | None) -> list[str] | None:
    """A whitelist of accounts that exist, each once, in order."""
    if account_ids is None:
        return None
    known = await draft.reader.get_many(ACCOUNTS, list(dict.fromkeys(account_ids)))
    for account_id in account_ids:
        if not is_there(known.get(account_id)):
            raise NotFound(f"There is no account {account_id}", ErrorCode.ACCOUNT_UNKNOWN)
    return sorted(set(account_ids))


async def _add_user(draft: Draft, caller: Caller, account_id: str, organisation_id: str, user_id: str) -> None:
    if (await user(draft.reader, user_id))["organisation_id"] != organisation_id:
        _demand_administrator(caller, "A user of another organisation is added")
    await join(draft, account_id, user_id)


async def _remove_user(draft: Draft, account_id: str, user_id: str) -> None:
    if not await is_member(draft.reader, account_id, user_id):
        raise NotFound(f"User {user_id} does not act for account {account_id}", ErrorCode.USER_UNKNOWN)
    draft.remove(MEMBERSHIPS, membership_key(account_id, user_id))


def _demand_own(caller: Caller, organisation_id: str) -> None:
    if not caller.is_administrator and caller.organisation_id != organisation_id:
        raise Forbidden("This is not your organisation")


def _demand_administrator(caller: Caller, what: str) -> None:
    if not caller.is_administrator:
        raise Forbidden(f"{what} by the registry administrator only")
