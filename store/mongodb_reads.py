"""Walks, counts and aggregates as MongoDB queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from store.mongodb_codec import Codec
from store.mongodb_statements import Documents
from store.port import Collection, Document, Find, Kind, Page, Scalar, Total
from store.values import INT64_MIN, KEY_FIELD
from store.walk import Segment, Term, Walk

_KEY_INDEX: Final = "_id_"
_LEAST: Final[Mapping[Kind, Scalar]] = {"bytes": b"", "text": "", "int": INT64_MIN}
_OPERATORS: Final = {"=": "$eq", ">": "$gt", "<": "$lt", ">=": "$gte"}
_HALF: Final = 2**32


def _condition(collection: Collection, term: Term) -> Document:
    if term.operator == ">" and term.value is None:
        # Comparisons hold within one type, so this is a range of the index; `$exists` would not be.
        return {term.field: {"$gte": _LEAST[collection.fields[term.field]]}}
    return {term.field: {_OPERATORS[term.operator]: term.value}}


def matching(collection: Collection, terms: Sequence[Term]) -> Document:
    """A filter that holds where all terms hold."""
    return {"$and": [_condition(collection, term) for term in terms]} if terms else {}


def _hint(find: Find) -> str:
    return find.index or _KEY_INDEX


async def find_page(codec: Codec, documents: Documents, find: Find) -> Page:
    """One page of a walk."""
    walk = Walk(codec.collection, find)
    found: list[Document] = []
    for segment in walk.segments(compares_rows=False):
        found += await _segment(codec, documents, find, segment, find.limit + 1 - len(found))
        if len(found) > find.limit:
            break
    page = found[: find.limit]
    return Page(page, walk.position(page[-1]) if len(found) > find.limit else None)


async def _segment(codec: Codec, documents: Documents, find: Find, segment: Segment, limit: int) -> list[Document]:
    direction = -1 if find.descending else 1
    cursor = (
        documents.find(matching(codec.collection, segment.terms))
        .sort([(name, direction) for name in segment.order])
        .hint(_hint(find))
        .limit(limit)
    )
    return [codec.document(stored) for stored in await cursor.to_list(None)]


async def count(collection: Collection, documents: Documents, find: Find) -> int:
    """How many documents a walk covers."""
    terms = Walk(collection, find).covered()
    return await documents.count_documents(matching(collection, terms), hint=_hint(find))


async def aggregate(
    collection: Collection, documents: Documents, find: Find, group_by: Sequence[str], total: str
) -> list[Total]:
    """Counts and sums by group. The sum is taken in two halves, since MongoDB's own leaves the integers
    when it passes 64 bits."""
    low = {"$mod": [f"${total}", _HALF]}
    high = {"$divide": [{"$subtract": [f"${total}", low]}, _HALF]}
    group = {
        KEY_FIELD: {name: f"${name}" for name in group_by},
        "count": {"$sum": 1},
        "low": {"$sum": low},
        "high": {"$sum": high},
    }
    terms = Walk(collection, find).covered()
    pipeline: list[Any] = [
        {"$match": matching(collection, terms)},
        {"$group": group},
        {"$sort": {f"{KEY_FIELD}.{name}": 1 for name in group_by}},
    ]
    cursor = await documents.aggregate(pipeline if group_by else pipeline[:2], hint=_hint(find))
    return [_total(row, group_by) for row in await cursor.to_list(None)]


def _total(row: Document, group_by: Sequence[str]) -> Total:
    group = tuple(row[KEY_FIELD].get(name) for name in group_by)
    return Total(group, int(row["count"]), int(row["high"]) * _HALF + int(row["low"]))
