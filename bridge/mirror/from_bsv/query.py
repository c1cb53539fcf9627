"""The query language of `ls_metawatt_bridge`: JSON to one of two questions. `exits.md` is its manual."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final, TypeAlias

from lookup.cursor import DIGEST_BYTES
from lookup.filters import known_keys, refuse, text, whole
from lookup.query import DEFAULT_LIMIT, MAX_CURSOR_TEXT
from overlay.transaction import read_outpoint

MOST_ANSWERS: Final = 1000
_KEYS: Final = ("address", "state", "limit", "cursor")


@dataclass(frozen=True, slots=True)
class Single:
    """One exit by its outpoint, 36 B."""

    outpoint: bytes


@dataclass(frozen=True, slots=True)
class Listing:
    """Exits, newest first. `equals` has of `address` and `state` those that were asked for, in that order, which is
    how the indexes are named."""

    equals: Mapping[str, str]
    limit: int
    cursor: str | None

    @property
    def digest(self) -> bytes:
        """Names the question apart from its page."""
        return sha256(repr(sorted(self.equals.items())).encode()).digest()[:DIGEST_BYTES]


Query: TypeAlias = Single | Listing


def parse_query(query: Any, states: Collection[str]) -> Query:
    """The question that a query asks; `BadRequest(BAD_QUERY)` says what cannot be understood of it."""
    if query == "all":
        query = {}
    if type(query) is not dict:
        refuse(f'a query is "all" or an object, not {type(query).__name__}')
    if "outpoint" in query:
        known_keys(query, ("outpoint",), "a query for one outpoint")
        return Single(_outpoint(text("outpoint", query["outpoint"])))
    known_keys(query, _KEYS, "the query")
    equals = {name: text(name, query[name]) for name in ("address", "state") if name in query}
    if "state" in equals and equals["state"] not in states:
        refuse(f"state is one of {', '.join(states)}")
    return Listing(
        equals, whole("limit", query.get("limit", DEFAULT_LIMIT), 1, MOST_ANSWERS), _cursor(query.get("cursor"))
    )


def _outpoint(value: str) -> bytes:
    try:
        return read_outpoint(value)
    except ValueError as error:
        refuse(f"outpoint is <txid, 64 hex digits>.<index>: {error}")


def _cursor(value: Any) -> str | None:
    if value is None:
        return None
    if type(value) is not str or len(value) > MAX_CURSOR_TEXT:
        refuse("cursor must be the text that an earlier answer gave")
    return str(value)
