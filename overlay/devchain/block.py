"""Blocks of the dev chain: coinbases, headers that link and meet the easy target, and their Merkle trees."""

from __future__ import annotations

import secrets
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from overlay.chain import Header
from overlay.merkle import MerkleTree
from overlay.sdk import hash256
from overlay.transaction import Input, Output, Transaction
from overlay.wire import make_transaction

SUBSIDY_SATOSHIS: Final = 50 * 100_000_000
EASY_BITS: Final = 0x207FFFFF
"""The regression test network's target: every second hash meets it."""

_EASY_TARGET = 0x7FFFFF << 8 * (0x20 - 3)
_VERSION = 0x2000_0000
_TAG = b"/metawatt dev/"
_NO_SOURCE = bytes(32)
_NO_INDEX = 0xFFFF_FFFF


@dataclass(frozen=True)
class Block:
    """A mined block, coinbase first."""

    header: Header
    transactions: tuple[Transaction, ...]

    @cached_property
    def _tree(self) -> MerkleTree:
        return MerkleTree([transaction.txid for transaction in self.transactions])

    def bump(self, index: int) -> bytes:
        """The BUMP of the transaction at that place."""
        return self._tree.bump(index, self.header.height)


def header_time(header: Header) -> int:
    """Seconds since the epoch, as the header says."""
    return int.from_bytes(header.raw[68:72], "little")


def mine_block(
    previous: Header | None, time_secs: int, reward_script: bytes, transactions: Sequence[Transaction], fees: int
) -> Block:
    """A block on top of `previous` (None for the first) with these transactions behind its coinbase."""
    height = previous.height + 1 if previous else 0
    members = (coinbase(height, reward_script, SUBSIDY_SATOSHIS + fees), *transactions)
    root = MerkleTree([transaction.txid for transaction in members]).root
    return Block(mine_header(previous, time_secs, root), members)


def mine_header(previous: Header | None, time_secs: int, merkle_root: bytes) -> Header:
    """Search the nonce. Twice on average, so it is not worth a thread."""
    height = previous.height + 1 if previous else 0
    parent = previous.hash if previous else _NO_SOURCE
    head = struct.pack("<I", _VERSION) + parent + merkle_root + struct.pack("<II", time_secs, EASY_BITS)
    nonce = 0
    while True:
        raw = head + struct.pack("<I", nonce)
        digest = hash256(raw)
        if int.from_bytes(digest, "little") <= _EASY_TARGET:
            return Header(height, digest, parent, merkle_root, raw)
        nonce += 1


def coinbase(height: int, script: bytes, satoshis: int) -> Transaction:
    """The transaction that makes a block's new coins. Its height (BIP34) and eight random bytes make its txid
    unlike any other's, also that of the block it replaces in a reorganisation."""
    tag = _push(_script_number(height)) + _push(_TAG + secrets.token_bytes(8))
    return make_transaction([Input(_NO_SOURCE, _NO_INDEX, tag, 0xFFFF_FFFF)], [Output(satoshis, script)])


def _push(data: bytes) -> bytes:
    return bytes((len(data),)) + data


def _script_number(value: int) -> bytes:
    """Little endian with a sign bit, the shortest; a height is never negative."""
    return value.to_bytes(value.bit_length() // 8 + 1, "little")
