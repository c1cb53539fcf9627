"""The accounts that a transaction names: its message's own keys, then those of lookup tables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from solders.account import Account
from solders.message import MessageV0
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction

LOOKUP_TABLES: Final = Pubkey.from_string("AddressLookupTab1e1111111111111111111111111")

_TABLE_HEADER_BYTES: Final = 56
_KEY_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Keys:
    """`all` in the order of indexes. `loaded_writable` and `loaded_readonly` count those at its end."""

    all: tuple[Pubkey, ...]
    writable: tuple[int, ...]
    loaded_writable: int
    loaded_readonly: int


def keys_of(transaction: VersionedTransaction, account: Callable[[Pubkey], Account | None]) -> Keys:
    """The keys; of a table that does not exist, or is too short, none (the runtime refuses it by itself)."""
    message = transaction.message
    own = message.account_keys
    signers, header = message.header.num_required_signatures, message.header
    writable = [
        *range(signers - header.num_readonly_signed_accounts),
        *range(signers, len(own) - header.num_readonly_unsigned_accounts),
    ]
    if not isinstance(message, MessageV0) or not message.address_table_lookups:
        return Keys(tuple(own), tuple(writable), 0, 0)
    first, second = list[Pubkey](), list[Pubkey]()
    for lookup in message.address_table_lookups:
        table = account(lookup.account_key)
        first += _entries(table, lookup.writable_indexes)
        second += _entries(table, lookup.readonly_indexes)
    writable += range(len(own), len(own) + len(first))
    return Keys((*own, *first, *second), tuple(writable), len(first), len(second))


def _entries(table: Account | None, indexes: bytes) -> list[Pubkey]:
    if table is None or table.owner != LOOKUP_TABLES:
        return []
    data = table.data[_TABLE_HEADER_BYTES:]
    ends = [(index + 1) * _KEY_BYTES for index in indexes]
    return [Pubkey(data[end - _KEY_BYTES : end]) for end in ends if end <= len(data)]
