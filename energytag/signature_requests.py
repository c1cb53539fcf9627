"""Requests to users' wallets to sign by themselves, for accounts that allow it (`wallet_signs`).

A row is written in the commit by which an action begins to wait for a signature, and goes when the wallet was
asked. Whether or not it signs, the action waits as any other does: whoever acts for the account may complete it.
"""

from __future__ import annotations

from typing import Final

from energytag.actions import Action
from energytag.draft import is_there
from energytag.records import ACCOUNTS
from energytag.signing import Prepared
from store.port import Collection, Document, Index, Insert, Reader, Write

REQUESTS: Final = Collection(
    "registry_signature_requests",
    key="text",
    fields={"due_ms": "int", "attempts": "int"},
    indexes=(Index("due", ("due_ms",)),),
)
"""Key: the action's id. `account_id`; `due_ms` is when the wallet is asked next, `attempts` how often it was."""


async def requests_for(reader: Reader, action: Action, now_ms: int) -> list[Write]:
    """What joins the commit that makes the action wait; nothing where its wallet is not to be asked."""
    if action.memo is None or action.account_id is None:
        return []
    if may_ask(await reader.get(ACCOUNTS, action.account_id)) and _can_sign(action.memo["prepared"]):
        row = {"_id": action.action_id, "account_id": action.account_id, "due_ms": now_ms, "attempts": 0}
        return [Insert(REQUESTS, row, keep=True)]
    return []


def may_ask(account: Document | None) -> bool:
    """Whether the account has a wallet of its own, which may be asked to sign."""
    if account is None or not is_there(account):
        return False
    return bool(account.get("wallet_signs") and account["wallet_url"] and account["identity_key"])


def _can_sign(prepared: object) -> bool:
    """Whether it is known how each input is unlocked; of some only the wallet knows."""
    assert isinstance(prepared, dict)
    return all(each.key_id is not None for each in Prepared.from_json(prepared).spends)
