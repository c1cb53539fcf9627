"""Walks carried out: the records of a plan, merged in order, a round of pages at a time.

A round reads a page of every walk from one common position, and gives what is certain: records up to the
nearest end of a page that is not the last of its walk. The position that it stopped at is all that the next
round needs, and so all that a cursor holds.
"""

from __future__ import annotations

from asyncio import gather
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from heapq import merge

from lookup.cursor import Position
from lookup.filters import refuse
from lookup.planner import Plan, Walk
from lookup.query import Sort
from lookup.records import CERTIFICATES
from store.port import Document, Find, Page, Reader

LARGEST_PAGE = 1001
"""One more than the usual bound of an answer: the record too many tells that there is more."""


@dataclass(frozen=True, slots=True)
class Round:
    """Records in order, how many entries were read for them, and whether there are no more."""

    records: list[Document]
    scanned: int
    is_last: bool


def position_of(record: Document, sort: Sort) -> Position:
    return Position(record[sort.field], record["_id"])


async def rounds(
    plan: Plan, reader: Reader, after: Position | None, page: int, budget: int
) -> AsyncIterator[Round]:
    """Rounds until the walks end. `page` records of each walk are wanted at first; later rounds read more,
    up to what is left of `budget`, which the caller keeps count of too."""
    if plan.is_gathered:
        yield await _gathered(plan, reader, after, budget)
        return
    while True:
        answer = await _merged(plan, reader, after, max(1, min(page, LARGEST_PAGE, budget // len(plan.walks))))
        yield answer
        if answer.is_last:
            return
        after = position_of(answer.records[-1], plan.sort)
        budget -= answer.scanned
        page *= 2


async def _merged(plan: Plan, reader: Reader, after: Position | None, page: int) -> Round:
    finds = [walk.find(plan.sort, page, after) for walk in plan.walks]
    pages = await gather(*(reader.find(CERTIFICATES, find) for find in finds))
    records = _in_order([each.documents for each in pages], plan.sort)
    frontier = _frontier(pages, plan.sort)
    if frontier is not None:
        records = [each for each in records if not _is_beyond(position_of(each, plan.sort), frontier, plan.sort)]
    return Round(records, sum(len(each.documents) for each in pages), frontier is None)


def _in_order(pages: Sequence[Sequence[Document]], sort: Sort) -> list[Document]:
    """Pages merged, each record once."""
    if len(pages) == 1:
        return list(pages[0])
    merged = merge(*pages, key=lambda record: position_of(record, sort), reverse=sort.descending)
    return list({record["_id"]: record for record in merged}.values())


def _frontier(pages: Sequence[Page], sort: Sort) -> Position | None:
    """How far all unfinished walks have been read; None when every walk is at its end."""
    ends = [position_of(page.documents[-1], sort) for page in pages if page.last is not None]
    if not ends:
        return None
    return max(ends) if sort.descending else min(ends)


def _is_beyond(position: Position, frontier: Position, sort: Sort) -> bool:
    return position < frontier if sort.descending else position > frontier


async def _gathered(plan: Plan, reader: Reader, after: Position | None, budget: int) -> Round:
    """Everything that the walks lead to, sorted. BAD_QUERY when that is more than the budget."""
    records: dict[bytes, Document] = {}
    for walk in plan.walks:
        for record in await _whole(walk, reader, budget - len(records), plan.sort):
            records[record["_id"]] = record
    ordered = sorted(records.values(), key=lambda each: position_of(each, plan.sort), reverse=plan.sort.descending)
    if after is not None:
        ordered = [each for each in ordered if _is_beyond(position_of(each, plan.sort), after, plan.sort)]
    return Round(ordered, len(records), is_last=True)


async def _whole(walk: Walk, reader: Reader, budget: int, sort: Sort) -> list[Document]:
    page = await reader.find(
        CERTIFICATES, Find(walk.index, walk.equals, walk.lower, walk.upper, limit=max(1, budget))
    )
    if page.last is not None:
        other = "by period" if sort.field == "seq" else "by admission (newest, oldest)"
        refuse(f"too many records to sort in this order; narrow the question, or sort {other}")
    return page.documents
