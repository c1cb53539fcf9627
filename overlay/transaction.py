"""A parsed transaction: a value, parsed once and shared by all who judge or index it.

Byte order is in the names: `txid` and every `source_txid` here are internal order (as hashed, as on the
wire); `*_hex` is display order (reversed).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from struct import unpack_from
from typing import NamedTuple

from config.errors import BadRequest, ErrorCode
from overlay.sdk import hash256

MAX_INPUTS = 25_000
MAX_OUTPUTS = 25_000
MAX_SATOSHIS = 21_000_000 * 100_000_000


class Input(NamedTuple):
    source_txid: bytes
    source_index: int
    unlocking_script: bytes
    sequence: int

    @property
    def outpoint(self) -> bytes:
        """The spent outpoint, 36 bytes as on the wire: txid, then index u32 little endian."""
        return outpoint(self.source_txid, self.source_index)


class Output(NamedTuple):
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

    def __hash__(self) -> int:
        return hash(self.txid)

    @property
    def txid_hex(self) -> str:
        return self.txid[::-1].hex()

    @property
    def is_coinbase(self) -> bool:
        """Whether this transaction makes new coins: its one input names no output."""
        return len(self.inputs) == 1 and self.inputs[0].source_txid == bytes(32)

    @classmethod
    def parse(cls, raw: bytes) -> Transaction:
        """Parse exactly these bytes; `BadRequest` for anything else, as `parse_at`."""
        try:
            transaction, end = parse_at(raw, 0)
        except (IndexError, struct.error) as error:
            raise malformed("a transaction ends too early") from error
        if end != len(raw):
            raise malformed("bytes follow the transaction")
        return transaction


def malformed(message: str) -> BadRequest:
    return BadRequest(message, ErrorCode.ENVELOPE_MALFORMED)


def outpoint(txid: bytes, index: int) -> bytes:
    """36 bytes as on the wire."""
    return txid + index.to_bytes(4, "little")


def split_outpoint(value: bytes) -> tuple[bytes, int]:
    """The txid (internal order) and index of a 36-byte outpoint."""
    return value[:32], int.from_bytes(value[32:], "little")


def show_outpoint(value: bytes) -> str:
    """`txid.vout` for people, the txid in display order."""
    txid, index = split_outpoint(value)
    return f"{txid[::-1].hex()}.{index}"


def read_outpoint(text: str) -> bytes:
    """What `show_outpoint` was given; ValueError when it gave no such text."""
    txid_hex, _, digits = text.partition(".")
    index = int(digits)
    if not 0 <= index < 2**32:
        raise ValueError(f"{index} is not the index of an output")
    return outpoint(txid_from_hex(txid_hex), index)


def txid_from_hex(text: str) -> bytes:
    """Internal-order txid from display hex; ValueError when it is not 64 hex digits."""
    value = bytes.fromhex(text)
    if len(value) != 32:
        raise ValueError("a txid is 64 hex digits")
    return value[::-1]


def read_count(data: bytes, position: int) -> tuple[int, int]:
    """A CompactSize and where it ends; IndexError or struct.error when cut short.

    Longer forms than needed are refused, as nodes do: a txid must have one encoding.
    """
    first = data[position]
    if first < 0xFD:
        return first, position + 1
    if first == 0xFD:
        (value,) = unpack_from("<H", data, position + 1)
        least, end = 0xFD, position + 3
    elif first == 0xFE:
        (value,) = unpack_from("<I", data, position + 1)
        least, end = 0x10000, position + 5
    else:
        (value,) = unpack_from("<Q", data, position + 1)
        least, end = 0x100000000, position + 9
    if value < least:
        raise malformed("a length is written longer than it need be")
    return value, end


def _read_script(data: bytes, position: int) -> tuple[bytes, int]:
    length, position = read_count(data, position)
    end = position + length
    if end > len(data):
        raise malformed("a script ends too early")
    return data[position:end], end


def _check_totals(inputs: list[Input], outputs: list[Output]) -> None:
    """No block holds a transaction that counts an outpoint twice (CVE-2018-17144) or pays more than exists."""
    if len(inputs) > 1 and len({(spent.source_txid, spent.source_index) for spent in inputs}) != len(inputs):
        raise BadRequest("a transaction spends an output twice", ErrorCode.DOUBLE_SPEND)
    if len(outputs) > 1 and sum([output.satoshis for output in outputs]) > MAX_SATOSHIS:
        raise BadRequest("outputs hold more satoshis together than exist", ErrorCode.VALUE_NOT_CONSERVED)


def parse_at(data: bytes, start: int) -> tuple[Transaction, int]:
    """Parse the transaction that begins at `start`; returns it and where it ends.

    Raises `BadRequest` with ENVELOPE_MALFORMED, DOUBLE_SPEND (within itself) or VALUE_NOT_CONSERVED (more than
    exists), or IndexError or struct.error when the bytes are cut short.
    """
    (version,) = unpack_from("<I", data, start)
    count, position = read_count(data, start + 4)
    if not 0 < count <= MAX_INPUTS:
        raise malformed(f"a transaction has 1 to {MAX_INPUTS} inputs")
    inputs = []
    for _ in range(count):
        source = data[position : position + 32]
        (index,) = unpack_from("<I", data, position + 32)
        script, position = _read_script(data, position + 36)
        (sequence,) = unpack_from("<I", data, position)
        position += 4
        inputs.append(Input(source, index, script, sequence))
    count, position = read_count(data, position)
    if not 0 < count <= MAX_OUTPUTS:
        raise malformed(f"a transaction has 1 to {MAX_OUTPUTS} outputs")
    outputs = []
    for _ in range(count):
        (satoshis,) = unpack_from("<Q", data, position)
        if satoshis > MAX_SATOSHIS:
            raise malformed("an output holds more satoshis than exist")
        script, position = _read_script(data, position + 8)
        outputs.append(Output(satoshis, script))
    _check_totals(inputs, outputs)
    (lock_time,) = unpack_from("<I", data, position)
    position += 4
    raw = data[start:position]
    return Transaction(hash256(raw), raw, version, tuple(inputs), tuple(outputs), lock_time), position
