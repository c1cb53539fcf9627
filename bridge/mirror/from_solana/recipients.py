"""Who a deposit is for: an account of the registry by its id, or an identity key.

<UUID>            the account of that id; it must be there
<66 hex digits>   an identity key, a point of the curve: the account's whose key it is, else a stranger's; not the
                  bridge's own, whose certificates nobody would have
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias
from uuid import UUID

from bridge.mirror.message import Message, Reason
from bridge.mirror.states import Hold
from energytag.draft import is_there
from energytag.records import ACCOUNTS
from overlay.keys import is_public_key
from store.port import Document, Find, Reader

_ACCOUNT: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE | re.ASCII)
_IDENTITY: Final = re.compile(r"[0-9a-f]{66}", re.IGNORECASE | re.ASCII)
_NAMESAKES: Final = 100
"""Accounts of one identity key that are looked at; the first that is there is taken."""


@dataclass(frozen=True, slots=True)
class Account:
    """An account of the registry, by its id."""

    account_id: str

    @property
    def facts(self) -> Mapping[str, str]:
        return {"account_id": self.account_id}


@dataclass(frozen=True, slots=True)
class Stranger:
    """An identity key (33 B) that no account has."""

    identity: bytes

    @property
    def facts(self) -> Mapping[str, str]:
        return {"identity": self.identity.hex()}


Recipient: TypeAlias = Account | Stranger


def parsed(text: str) -> Account | Stranger | Reason:
    """What a recipient is by its form; an identity key may be an account's all the same."""
    if _ACCOUNT.fullmatch(text):
        return Account(str(UUID(text)))
    if not _IDENTITY.fullmatch(text):
        return Reason(Hold.RECIPIENT_MALFORMED, "the recipient is neither an account's id nor 66 hex digits")
    identity = bytes.fromhex(text)
    if not is_public_key(identity):
        return Reason(Hold.RECIPIENT_MALFORMED, "the recipient has the form of an identity key, but is none")
    return Stranger(identity)


class Recipients:
    """Looks recipients up in the registry. `own` is the bridge's identity key."""

    def __init__(self, reader: Reader, own: bytes) -> None:
        self._reader = reader
        self._own = own

    async def found(self, messages: Sequence[Message]) -> list[Recipient | Reason]:
        """For each message who it is for, or why it cannot be told."""
        wanted = [parsed(message.recipient) for message in messages]
        by_key = await self._of_keys({each.identity for each in wanted if isinstance(each, Stranger)})
        named = [self._named(each, by_key) if isinstance(each, Stranger) else each for each in wanted]
        ids = list({each.account_id for each in named if isinstance(each, Account)})
        accounts = await self._reader.get_many(ACCOUNTS, ids)
        return [
            _checked(each, accounts.get(each.account_id)) if isinstance(each, Account) else each for each in named
        ]

    def _named(self, stranger: Stranger, by_key: Mapping[bytes, Account]) -> Recipient | Reason:
        if stranger.identity == self._own:
            return Reason(Hold.RECIPIENT_MALFORMED, "the recipient is the bridge itself")
        return by_key.get(stranger.identity, stranger)

    async def _of_keys(self, identities: set[bytes]) -> dict[bytes, Account]:
        """The accounts of these keys; of several with one key, the one that is first by its id."""
        found: dict[bytes, Account] = {}
        for identity in identities:
            find = Find("identity", {"identity_key": identity}, limit=_NAMESAKES)
            rows = [row for row in (await self._reader.find(ACCOUNTS, find)).documents if is_there(row)]
            if rows:
                found[identity] = Account(rows[0]["_id"])
        return found


def _checked(account: Account, row: Document | None) -> Recipient | Reason:
    if row is not None and is_there(row):
        return account
    return Reason(Hold.RECIPIENT_UNKNOWN, f"there is no account {account.account_id}")
