"""Accounts: who holds certificates.

_id · name · organisation_id · identity_key (33 bytes, None when the account is custodial) · webhook_url ·
wallet_url · wallet_signs (may be missing: False) · whitelist (None: transfers are taken from everybody; a list:
from these accounts) · rev
"""

from __future__ import annotations

from basket.keyring import Keyring
from config.errors import ErrorCode, NotFound
from energytag.draft import exists, is_there
from energytag.plan import Holder
from energytag.private import PRIVATE
from energytag.records import ACCOUNTS
from lookup.records import CERTIFICATES
from store.port import Document, Reader


async def account(reader: Reader, account_id: str) -> Document:
    """The account; `NotFound(ACCOUNT_UNKNOWN)` when there is none, or no longer."""
    document = await reader.get(ACCOUNTS, account_id)
    if document is None or not is_there(document):
        raise NotFound(f"There is no account {account_id}", ErrorCode.ACCOUNT_UNKNOWN)
    return document


async def holder_of(reader: Reader, keyring: Keyring, account_id: str) -> Holder:
    """The account as an owner of tokens: its user's wallet, else the custodial key derived for it."""
    identity = (await account(reader, account_id))["identity_key"]
    if identity is not None:
        return Holder(account_id, identity, is_custodial=False)
    return Holder(account_id, keyring.account(account_id).public)


async def holds_certificates(reader: Reader, account_id: str) -> bool:
    """Whether certificates stand in the account, whatever their status, or wait there to be published."""
    if await exists(reader, CERTIFICATES, "account", live=1, account_id=account_id):
        return True
    return await exists(reader, PRIVATE, "account", account_id=account_id)
