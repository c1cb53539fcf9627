"""A parsed transaction: a value, parsed once and shared by all who judge or index it.

Byte order is in the names: `txid` and every `source_txid` here are internal order (as hashed, as on the
wire); `*_hex` is display order (reversed).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Input:
    source_txid: bytes
    source_index: int
    unlocking_script: bytes
    sequence: int

    @property
    def outpoint(self) -> bytes:
        """The spent outpoint, 36 bytes as on the wire: txid, then index u32 little endian."""
        return outpoint(self.source_txid, self.source_index)


@dataclass(frozen=True, slots=True)
class Output:
    satoshis: int
    script: bytes


@dataclass(frozen=True, slots=True)
class Transaction:
    """`raw` are the very bytes that `txid` is the hash of."""

    txid: bytes
    raw: bytes
    version: int
    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]
    lock_time: int

    @property
    def txid_hex(self) -> str:
        return self.txid[::-1].hex()


def outpoint(txid: bytes, index: int) -> bytes:
    """36 bytes as on the wire."""
    return txid + index.to_bytes(4, "little")


def split_outpoint(value: bytes) -> tuple[bytes, int]:
    """The txid (internal order) and index of a 36-byte outpoint."""
    return value[:32], int.from_bytes(value[32:], "little")


def txid_from_hex(text: str) -> bytes:
    """Internal-order txid from display hex; ValueError when it is not 64 hex digits."""
    value = bytes.fromhex(text)
    if len(value) != 32:
        raise ValueError("a txid is 64 hex digits")
    return value[::-1]
