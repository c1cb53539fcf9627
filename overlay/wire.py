"""Transactions as bytes: raw, Extended Format (BRC-30), and BEEF (BRC-62, 95, 96) as it is written.

Byte strings in here are in wire order, so txids are in internal order. What is read must be whole: bytes
that are missing or left over are refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, TypeAlias

from config.errors import BadRequest, ErrorCode
from overlay.sdk import hash256
from overlay.transaction import Input, Output, Transaction
from overlay.varint import read_varint, write_varint

EXTENDED_MARKER: Final = bytes.fromhex("0000000000ef")

_BEEF_VERSIONS: Final = {1: bytes.fromhex("0100beef"), 2: bytes.fromhex("0200beef")}
_ATOMIC_PREFIX: Final = bytes.fromhex("01010101")

Proven: TypeAlias = tuple[Transaction, bytes | None]
"""A transaction and, when it is mined, its BUMP in binary."""


def parse(raw: bytes) -> Transaction:
    """A raw transaction; `BadRequest(ENVELOPE_MALFORMED)` when it is not exactly one."""
    return Transaction.parse(raw)


def make_transaction(
    inputs: Sequence[Input], outputs: Sequence[Output], version: int = 1, lock_time: int = 0
) -> Transaction:
    """A transaction of these parts, with its raw bytes and txid."""
    raw = serialize(version, inputs, outputs, lock_time)
    return Transaction(hash256(raw), raw, version, tuple(inputs), tuple(outputs), lock_time)


def serialize(version: int, inputs: Sequence[Input], outputs: Sequence[Output], lock_time: int) -> bytes:
    """The raw bytes; lengths in their shortest form."""
    parts = [version.to_bytes(4, "little"), write_varint(len(inputs))]
    parts += map(_serialize_input, inputs)
    parts += (serialize_outputs(outputs, counted=True), lock_time.to_bytes(4, "little"))
    return b"".join(parts)


def _serialize_input(spent: Input) -> bytes:
    return spent.outpoint + write_script(spent.unlocking_script) + spent.sequence.to_bytes(4, "little")


def serialize_output(output: Output) -> bytes:
    return output.satoshis.to_bytes(8, "little") + write_script(output.script)


def serialize_outputs(outputs: Sequence[Output], counted: bool = False) -> bytes:
    """Outputs one after the other, as in a transaction, behind their number when `counted`."""
    count = write_varint(len(outputs)) if counted else b""
    return count + b"".join(map(serialize_output, outputs))


def write_script(script: bytes) -> bytes:
    """A script behind its length."""
    return write_varint(len(script)) + script


def is_extended(data: bytes) -> bool:
    """Whether these bytes say that they are in Extended Format."""
    return data[4:10] == EXTENDED_MARKER


def to_extended(transaction: Transaction, sources: Sequence[Output]) -> bytes:
    """Extended Format: the transaction with the output that each input spends, in the inputs' order."""
    if len(sources) != len(transaction.inputs):
        raise ValueError("Extended Format wants the spent output of every input")
    parts = [transaction.version.to_bytes(4, "little"), EXTENDED_MARKER, write_varint(len(sources))]
    for spent, source in zip(transaction.inputs, sources, strict=True):
        parts += (_serialize_input(spent), serialize_output(source))
    parts += (serialize_outputs(transaction.outputs, counted=True), transaction.lock_time.to_bytes(4, "little"))
    return b"".join(parts)


def parse_extended(data: bytes) -> tuple[Transaction, tuple[Output, ...]]:
    """The transaction, and the outputs its inputs are said to spend; errors as `parse`."""
    if not is_extended(data):
        raise BadRequest("not in Extended Format", ErrorCode.ENVELOPE_MALFORMED)
    position = 4 + len(EXTENDED_MARKER)
    count, position = read_varint(data, position)
    plain = [data[:4], write_varint(count)]
    sources: list[Output] = []
    for _ in range(count):
        start = position
        _, position = _read_script(data, position + 36)
        position += 4
        plain.append(data[start:position])
        satoshis = int.from_bytes(data[position : position + 8], "little")
        script, position = _read_script(data, position + 8)
        sources.append(Output(satoshis, script))
    plain.append(data[position:])
    return parse(b"".join(plain)), tuple(sources)


def parse_sent(data: bytes) -> tuple[Transaction, tuple[Output, ...] | None]:
    """A transaction as it is broadcast: in Extended Format, with the outputs its inputs are said to spend; or raw,
    and None. Errors as `parse`."""
    return parse_extended(data) if is_extended(data) else (parse(data), None)


def _read_script(data: bytes, position: int) -> tuple[bytes, int]:
    size, position = read_varint(data, position)
    end = position + size
    if end > len(data):
        raise BadRequest("a script is cut off", ErrorCode.ENVELOPE_MALFORMED)
    return data[position:end], end


def write_beef(
    transactions: Sequence[Proven], version: Literal[1, 2] = 1, atomic_txid: bytes | None = None
) -> bytes:
    """A BEEF of transactions, parents first; with `atomic_txid` an Atomic BEEF (BRC-95) for that subject.

    Equal BUMPs are written once.
    """
    places: dict[bytes, int] = {}
    for _, bump in transactions:
        if bump is not None:
            places.setdefault(bump, len(places))
    write = _beef_entry_v1 if version == 1 else _beef_entry_v2
    parts = [] if atomic_txid is None else [_ATOMIC_PREFIX, atomic_txid]
    parts += (_BEEF_VERSIONS[version], write_varint(len(places)), *places, write_varint(len(transactions)))
    parts += [write(transaction.raw, places[bump] if bump else None) for transaction, bump in transactions]
    return b"".join(parts)


def _beef_entry_v1(raw: bytes, bump_index: int | None) -> bytes:
    return raw + (b"\x00" if bump_index is None else b"\x01" + write_varint(bump_index))


def _beef_entry_v2(raw: bytes, bump_index: int | None) -> bytes:
    return (b"\x00" if bump_index is None else b"\x01" + write_varint(bump_index)) + raw
