"""Accounts: who holds certificates.

_id · name · organisation_id · identity_key (33 bytes, None when the account is custodial) · webhook_url ·
wallet_url · whitelist (None: transfers are taken from everybody; a list: from these accounts) · rev
"""

from __future__ import annotations

from basket.keyring import Keyring
from config.errors import ErrorCode, NotFound
from energytag.plan import Holder
from energytag.records import ACCOUNTS
from store.port import Document, Reader


def membership_key(account_id: str, user_id: str) -> str:
    """The key of the membership by which a user acts for an account."""
    return f"{account_id}/{user_id}"


async def account(reader: Reader, account_id: str) -> Document:
    """The account; `NotFound(ACCOUNT_UNKNOWN)` when there is none, or no longer."""
    document = await reader.get(ACCOUNTS, account_id)
    if document is None or document.get("deleted_ms") is not None:
        raise NotFound(f"There is no account {account_id}", ErrorCode.ACCOUNT_UNKNOWN)
    return document


async def holder_of(reader: Reader, keyring: Keyring, account_id: str) -> Holder:
    """The account as an owner of tokens: its user's wallet, else the custodial key derived for it."""
    identity = (await account(reader, account_id))["identity_key"]
    if identity is not None:
        return Holder(account_id, identity, is_custodial=False)
    return Holder(account_id, keyring.account(account_id).public)
