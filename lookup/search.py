"""A listing answered: the plan's records, those that match, and how each of them stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from lookup.cursor import Position, decode_cursor
from lookup.devices import with_devices
from lookup.doubles import doubles_of
from lookup.match import matches, shows
from lookup.planner import plan
from lookup.query import Listing
from lookup.standing import Notice, applying, notices_for, status_of
from lookup.walking import position_of, rounds
from store.port import Document, Reader

SMALLEST_PAGE = 16


@dataclass(frozen=True, slots=True)
class Shown:
    """A record that is part of an answer, with what its script does not tell."""

    record: Document
    status: str
    notices: Sequence[Notice] = ()
    doubles: Sequence[str] = ()

    @property
    def context(self) -> bytes | None:
        """JSON for the asker, None when the script tells everything: `status` when it is another than the
        token's; `withdrawn`, the notices; `lost_by`, the transaction that lost it; `doubles`, other issuances
        of the same device and interval; `unissued` for a first token."""
        told: dict[str, object] = {}
        if self.status != self.record["status"]:
            told["status"] = self.status
        if self.notices:
            told["withdrawn"] = [notice.told() for notice in self.notices]
        if self.record["lost"] and self.record["spent_by"]:
            told["lost_by"] = self.record["spent_by"][::-1].hex()
        if self.doubles:
            told["doubles"] = list(self.doubles)
        if self.record["unissued"]:
            told["unissued"] = True
        return orjson.dumps(told) if told else None


@dataclass(frozen=True, slots=True)
class Answer:
    """Records in order; `end` is where to go on, None when there is nothing more."""

    shown: list[Shown]
    end: Position | None


async def search(listing: Listing, reader: Reader, now_secs: int, budget: int) -> Answer:
    """The page that a listing asks for. When `budget` index entries have been looked at, the answer ends
    early, maybe empty, with a position to go on from."""
    answer = await search_unmarked(listing, reader, now_secs, budget)
    return Answer(await _marked(answer.shown, reader), answer.end)


async def search_unmarked(listing: Listing, reader: Reader, now_secs: int, budget: int) -> Answer:
    """`search` without what it costs to tell of doubles."""
    after = None if listing.cursor is None else decode_cursor(listing.cursor, listing.digest)
    way = plan(await with_devices(listing.filters, reader), listing.sort)
    if not way.walks:
        return Answer([], None)
    found: list[Shown] = []
    scanned = 0
    async for each in rounds(way, reader, after, max(listing.limit + 1, SMALLEST_PAGE), budget):
        found += await _matching(each.records, listing, reader, now_secs)
        scanned += each.scanned
        if len(found) > listing.limit:
            found = found[: listing.limit]
            return Answer(found, position_of(found[-1].record, listing.sort))
        if scanned >= budget and not each.is_last:
            return Answer(found, position_of(each.records[-1], listing.sort))
    return Answer(found, None)


async def _matching(records: Sequence[Document], listing: Listing, reader: Reader, now_secs: int) -> list[Shown]:
    candidates = [record for record in records if matches(record, listing.filters)]
    notices = await notices_for(candidates, reader)
    shown = []
    for record in candidates:
        on_record = applying(record, notices)
        status = status_of(record, bool(on_record), now_secs)
        if status is not None and shows(status, listing.filters):
            shown.append(Shown(record, status, on_record))
    return shown


async def _marked(found: Sequence[Shown], reader: Reader) -> list[Shown]:
    doubles = await doubles_of([each.record for each in found], reader)
    return [Shown(each.record, each.status, each.notices, doubles.get(each.record["_id"], ())) for each in found]
