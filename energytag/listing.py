"""Lists of the directory, page by page: one or several walks, one after another."""

from __future__ import annotations

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import orjson

from config.errors import BadRequest, ErrorCode
from energytag.draft import is_there
from store.port import Collection, Document, Find, Reader, Scalar

MOST_LISTED: Final = 1000
MAX_CURSOR_TEXT: Final = 512
_ROUNDS: Final = 50

Pick: TypeAlias = Callable[[Sequence[Document]], Awaitable[list[Document]]]
Position: TypeAlias = tuple[Scalar, ...] | None


async def live(documents: Sequence[Document]) -> list[Document]:
    """Without gravestones."""
    return [each for each in documents if is_there(each)]


@dataclass(frozen=True, slots=True)
class Walk:
    """A part of a list. Parts follow each other by `name`; `pick` turns what is walked over into what is listed."""

    name: str
    collection: Collection
    index: str | None = None
    equals: Mapping[str, Scalar] = field(default_factory=dict)
    pick: Pick = live
    lower: Scalar = None
    upper: Scalar = None


@dataclass(frozen=True, slots=True)
class Page:
    """Documents, and the cursor to go on with, None at the end. A page may be short, or empty, before the end."""

    documents: list[Document]
    cursor: str | None


async def listed(reader: Reader, walks: Sequence[Walk], limit: int, cursor: str | None = None) -> Page:
    """The next `limit` documents at most."""
    reached, position = ("", None) if cursor is None else _decoded(cursor)
    found: list[Document] = []
    rounds = 0
    for walk in sorted((walk for walk in walks if walk.name >= reached), key=lambda walk: walk.name):
        after = position if walk.name == reached else None
        while True:
            if len(found) == limit or rounds == _ROUNDS:
                return Page(found, _encoded(walk.name, after))
            rounds += 1
            page = await reader.find(walk.collection, _find(walk, limit - len(found), after))
            found += await walk.pick(page.documents)
            after = page.last
            if after is None:
                break
    return Page(found, None)


def _find(walk: Walk, limit: int, after: Position) -> Find:
    return Find(walk.index, walk.equals, walk.lower, walk.upper, limit=limit, after=after)


def _encoded(name: str, after: Position) -> str:
    return urlsafe_b64encode(orjson.dumps([name, after])).rstrip(b"=").decode()


def _decoded(cursor: str) -> tuple[str, Position]:
    """Whether the position suits the walk is the store's to say."""
    try:
        match orjson.loads(urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4))):
            case [str(name), None]:
                return name, None
            case [str(name), [*position]] if all(_is_scalar(each) for each in position):
                return name, tuple(position)
    except (UnicodeEncodeError, binascii.Error, orjson.JSONDecodeError):
        pass
    raise BadRequest("This is not a cursor of this list", ErrorCode.BAD_CURSOR)


def _is_scalar(value: Any) -> bool:
    return value is None or isinstance(value, str)
