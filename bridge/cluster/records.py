"""What the cluster stores, in a file of its own: the blocks, and the accounts as they were at the root.

The journal is the blocks themselves: at a start the accounts are read, and the transactions of the blocks
after the root are executed again. What a fork undid is taken out, so that the journal is one chain.
"""

from __future__ import annotations

from typing import Final

from store.port import Collection, Index

HEADER: Final = Collection(name="solana_header", key="text")
"""One document, `chain`: `genesis`, `genesis_secs` (epoch), `faucet` (a seed), `reserved` (no slot beyond it
was ever opened), `root` (the slot that ACCOUNTS are of), `first_available`, `transactions` (how many landed)."""

BLOCKS: Final = Collection(name="solana_blocks", key="int", clustered=True)
"""By slot, those that have transactions: `time` (epoch seconds). The others can be told from SKIPPED."""

SKIPPED: Final = Collection(name="solana_skipped", key="int", clustered=True)
"""Slots that have no block, by the first of each range: `last`."""

TRANSACTIONS: Final = Collection(
    name="solana_transactions",
    key="bytes",  # the first signature, 64 B
    fields={"position": "int"},
    indexes=(Index("position", ("position",)),),
)
"""`position` is the slot and the index within its block (`position_of`); `body` is `packed(executed)`."""

ADDRESSES: Final = Collection(name="solana_addresses", key="bytes", clustered=True)
"""By address (32 B) and slot (8 B, big-endian): `signatures`, joined, of the block's transactions that name it."""

ACCOUNTS: Final = Collection(name="solana_accounts", key="bytes", clustered=True)
"""By address: `state`, the account as solders serializes it. Those that exist at the root."""

CLUSTER_COLLECTIONS: Final = (HEADER, BLOCKS, SKIPPED, TRANSACTIONS, ADDRESSES, ACCOUNTS)

_INDEX_BITS: Final = 20


def position_of(slot: int, index: int = 0) -> int:
    """The order of transactions over all blocks, as one number."""
    return slot << _INDEX_BITS | index


def slot_of(position: int) -> int:
    """The slot of a position."""
    return position >> _INDEX_BITS


def address_key(address: bytes, slot: int) -> bytes:
    """The key of an address's transactions in a block."""
    return address + slot.to_bytes(8, "big")
