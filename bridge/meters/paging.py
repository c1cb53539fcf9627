"""Cursors of lists that are walked along an index: where a page ended, as text that a client hands back."""

from __future__ import annotations

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson

from config.errors import BadRequest, ErrorCode
from store.port import Collection, Document, Find, Reader, Scalar


@dataclass(frozen=True, slots=True)
class Listed:
    """Documents in order, and the cursor to go on with, None at the end."""

    documents: list[Document]
    cursor: str | None


async def listed(reader: Reader, collection: Collection, find: Find, cursor: str | None) -> Listed:
    """A page of `find`; `BadRequest(BAD_CURSOR)` for a cursor of something else."""
    after = None if cursor is None else _position(cursor)
    page = await reader.find(collection, replace(find, after=after))
    return Listed(page.documents, None if page.last is None else _text(page.last))


def _text(position: Sequence[Scalar]) -> str:
    """Bytes are written as hex in a list of their own: JSON has no other way to tell them from text."""
    plain = [[each.hex()] if isinstance(each, bytes) else each for each in position]
    return urlsafe_b64encode(orjson.dumps(plain)).rstrip(b"=").decode()


def _position(cursor: str) -> tuple[Scalar, ...]:
    """Whether it suits the walk is the store's to say."""
    try:
        plain = orjson.loads(urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4)))
        if isinstance(plain, list):
            return tuple(map(_scalar, plain))
    except (UnicodeEncodeError, ValueError, binascii.Error):
        pass
    raise BadRequest("This is not a cursor of this list", ErrorCode.BAD_CURSOR)


def _scalar(plain: Any) -> Scalar:
    match plain:
        case [str(digits)]:
            return bytes.fromhex(digits)
        case None | str() | int():
            return plain
    raise ValueError("no value of an index")
