"""PushDrop (BRC-48, lock before): data carried in a script that a key can spend.

    <locking key, 33 bytes> OP_CHECKSIG <field 0> … <field n-1> OP_2DROP … OP_DROP

Scripts are built byte for byte as the TypeScript SDK does, and read as it reads them: a field that is one
small number may be an opcode, and the empty field comes back as one zero byte, because its encoding is the
same as that byte's. The SDK's `decode` turns OP_16 into an empty field (an off-by-one there); here it is 0x10,
the byte that had been locked.

Reading is stricter than theirs where looseness would make tokens of scripts that are not spendable by the
key: the lock must be OP_CHECKSIG, nothing but pushes and the drops that match them may follow, and a push
may not be cut off.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from overlay.keys import PrivateKey

MAX_SCRIPT_BYTES: Final = 500_000
MAX_FIELDS: Final = 64
SIGHASH_ALL_FORKID: Final = 0x41

_OP_PUSHDATA1 = 0x4C
_OP_1NEGATE = 0x4F
_OP_RESERVED = 0x50
_OP_2DROP = 0x6D
_OP_DROP = 0x75
_OP_CHECKSIG = 0xAC
_LENGTH_WIDTHS = {0x4C: 1, 0x4D: 2, 0x4E: 4}
_LOCK_END = 35
_SHORTEST = _LOCK_END + 2

_DROPS: Final = tuple(
    bytes((_OP_2DROP,)) * (count // 2) + bytes((_OP_DROP,)) * (count % 2) for count in range(MAX_FIELDS + 1)
)
_SMALL: Final = {
    0x00: b"\x00",
    _OP_1NEGATE: b"\x81",
    **{_OP_RESERVED + n: bytes((n,)) for n in range(1, 17)},
}


class PushDrop(NamedTuple):
    """A decoded script. `locking_key` is 33 bytes, not checked to be on the curve; there is at least
    one field, and at most `MAX_FIELDS`."""

    locking_key: bytes
    fields: tuple[bytes, ...]


def decode(script: bytes) -> PushDrop | None:
    """What a locking script carries; None when it is not a lock-before PushDrop with a compressed key."""
    size = len(script)
    if not _SHORTEST <= size <= MAX_SCRIPT_BYTES or script[0] != 33 or script[34] != _OP_CHECKSIG:
        return None
    if script[1] not in (2, 3):
        return None
    fields: list[bytes] = []
    position = _LOCK_END
    for _ in range(MAX_FIELDS + 1):
        if position >= size:
            return None
        op = script[position]
        position += 1
        if 0 < op < _OP_PUSHDATA1:
            end = position + op
        elif op in _LENGTH_WIDTHS:
            start = position + _LENGTH_WIDTHS[op]
            end = start + int.from_bytes(script[position:start], "little")
            position = start
        elif op in _SMALL:
            fields.append(_SMALL[op])
            continue
        else:
            return _finish(script, position - 1, fields)
        fields.append(script[position:end])
        position = end
    return None


def _finish(script: bytes, drops_start: int, fields: list[bytes]) -> PushDrop | None:
    if not fields or script[drops_start:] != _DROPS[len(fields)]:
        return None
    return PushDrop(script[1:34], tuple(fields))


def encode_push(data: bytes) -> bytes:
    """The shortest push of `data`, small numbers as opcodes."""
    size = len(data)
    if size == 0 or data == b"\x00":
        return b"\x00"
    if size == 1 and 1 <= data[0] <= 16:
        return bytes((_OP_RESERVED + data[0],))
    if data == b"\x81":
        return bytes((_OP_1NEGATE,))
    if size < _OP_PUSHDATA1:
        return bytes((size,)) + data
    for op, width in _LENGTH_WIDTHS.items():
        if size < 1 << 8 * width:
            return bytes((op,)) + size.to_bytes(width, "little") + data
    raise ValueError("a push holds less than 4 GiB")


def lock(locking_key: bytes, fields: Sequence[bytes]) -> bytes:
    """The locking script; ValueError for a key that is not compressed or a number of fields out of bounds."""
    if len(locking_key) != 33:
        raise ValueError("a locking key is 33 bytes, compressed")
    if not 0 < len(fields) <= MAX_FIELDS:
        raise ValueError(f"a PushDrop script has 1 to {MAX_FIELDS} fields")
    pushes = b"".join(map(encode_push, fields))
    return b"\x21" + locking_key + bytes((_OP_CHECKSIG,)) + pushes + _DROPS[len(fields)]


def unlock(key: PrivateKey, sighash: bytes, flags: int = SIGHASH_ALL_FORKID) -> bytes:
    """The unlocking script: one signature of the input's 32-byte sighash, with its flags byte."""
    return encode_push(key.sign(sighash) + bytes((flags,)))
