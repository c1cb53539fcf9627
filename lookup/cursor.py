"""Cursors: where an answer ended, in a form that an asker hands back unread.

    base64url(version u8 | query digest 8 B | sort value i64 big endian | outpoint 36 B), without padding

A cursor names a position, not a count, so that records which come or go meanwhile neither repeat nor hide
others. It holds no secret, and any position is a lawful one to go on from: only its shape is checked, and that
it belongs to the question it comes with.
"""

from __future__ import annotations

import binascii
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Final, NamedTuple

from config.errors import BadRequest, ErrorCode

DIGEST_BYTES: Final = 8
_VERSION = 1
_LAYOUT = struct.Struct(">B8sq36s")


class Position(NamedTuple):
    """The sort field's value and the outpoint of the last record that an answer went past."""

    value: int
    outpoint: bytes


def encode_cursor(position: Position, digest: bytes) -> str:
    """The cursor of a position in the answers to the query with that digest."""
    return _as_text(_LAYOUT.pack(_VERSION, digest, position.value, position.outpoint))


def decode_cursor(cursor: str, digest: bytes) -> Position:
    """The position; `BadRequest` (BAD_CURSOR) when this is not a cursor, or is that of another question."""
    version, asked, value, outpoint = _unpacked(cursor)
    if version != _VERSION:
        raise _bad("this node does not know cursors of that version")
    if asked != digest:
        raise _bad("the cursor belongs to another query; only `limit` may change between pages")
    return Position(value, outpoint)


def _unpacked(cursor: str) -> tuple[int, bytes, int, bytes]:
    try:
        packed = urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4))
        version, digest, value, outpoint = _LAYOUT.unpack(packed)
    except (UnicodeEncodeError, binascii.Error, struct.error) as error:
        raise _bad("this is not a cursor of this service") from error
    if _as_text(packed) != cursor:
        raise _bad("this is not a cursor of this service")
    return version, digest, value, outpoint


def _as_text(packed: bytes) -> str:
    return urlsafe_b64encode(packed).rstrip(b"=").decode()


def _bad(message: str) -> BadRequest:
    return BadRequest(message, ErrorCode.BAD_CURSOR)
