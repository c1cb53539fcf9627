"""Queries: bundles as they are on chain, as they stand now, and with the proof of when they came there.

The criteria are those of actions (`selection`), but that every status is told of. Bundles come by production
interval, the earliest first; those of one issuance by their numbers. A range, or a `certificate_quantity`, may
choose a part of a bundle: the bundle is told of as it is, and `selected` says which of its certificates are meant.
"""

from __future__ import annotations

from asyncio import gather
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, Final

import orjson

from certificates.ranges import Range
from config.errors import BadRequest, ErrorCode, NotFound
from energytag.bundles import Chosen, range_of, told_bundle, told_bundles
from energytag.ground import RegistryGround
from energytag.models.certificates import GranularCertificateQuery
from energytag.private import PrivateBundle, private_bundles
from energytag.proofs import UNPROVEN
from energytag.selection import Criteria
from lookup.cursor import DIGEST_BYTES, Position, decode_cursor, encode_cursor
from lookup.doubles import doubles_of
from lookup.filters import Filters
from lookup.match import matches, shows
from lookup.query import Listing, Sort
from lookup.records import CERTIFICATES, HOUR_SECS
from lookup.search import Shown, search
from lookup.standing import applying, notices_for, status_of
from overlay.transaction import show_outpoint
from store.port import Document, Find

_MOST_OF_A_MOMENT: Final = 1000
"""Outputs of one device around one moment that are looked at, spent ones included."""
_NOT_ASKED: Final = {"limit", "cursor", "include"}


@dataclass(frozen=True, slots=True)
class Page:
    """Bundles as JSON, how many certificates of them are meant, and the cursor of what comes next."""

    bundles: list[dict[str, Any]]
    quantity: int
    cursor: str | None


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked for: `filters` for the index, `criteria` beyond them; `digest` is what cursors carry."""

    criteria: Criteria
    filters: Filters
    digest: bytes

    @classmethod
    def of(cls, criteria: Criteria, asked: bytes) -> Question:
        """The question of these criteria; `asked` tells it from every other question."""
        statuses = () if criteria.status is None else (criteria.status.value,)
        filters = replace(criteria.questions()[0], statuses=statuses)
        return cls(criteria, filters, sha256(asked).digest()[:DIGEST_BYTES])

    def place(self, record: Document) -> Position:
        """Where a record stands in the order of the answer."""
        field = "period_start" if self.criteria.issuance_id is None else "range_start"
        return Position(record[field], record["_id"])


def question_of(asked: GranularCertificateQuery) -> Question:
    """The question that a query's body asks."""
    body = asked.model_dump(mode="json", exclude=_NOT_ASKED, exclude_none=True)
    return Question.of(Criteria.read(body), orjson.dumps(body, option=orjson.OPT_SORT_KEYS))


async def query(ground: RegistryGround, asked: GranularCertificateQuery) -> Page:
    """The bundles of an account that a query asks for. `BadRequest` (BAD_CURSOR, BAD_QUERY,
    RESPONSE_TOO_LARGE)."""
    most = ground.settings.registry.query_limit
    limit = min(asked.limit or most, most)
    with_beef = asked.include is not None and "beef" in asked.include
    if asked.private:
        return await _answer_private(ground, question_of(asked), limit, asked.cursor, with_beef=with_beef)
    return await _answer(ground, question_of(asked), limit, asked.cursor, with_beef=with_beef)


async def issuance(ground: RegistryGround, issuance_id: str, limit: int, cursor: str | None) -> Page:
    """The bundles of one issuance, in whatever accounts they are; `NotFound(CERTIFICATE_UNKNOWN)`."""
    known = await ground.store.find(CERTIFICATES, Find("issuance", {"issuance_id": issuance_id}, limit=1))
    if not known.documents:
        raise NotFound(f"there is no issuance {issuance_id}", ErrorCode.CERTIFICATE_UNKNOWN)
    most = ground.settings.registry.query_limit
    question = Question.of(Criteria(None, issuance_id), issuance_id.encode())
    return await _answer(ground, question, min(limit, most), cursor)


async def bundle_at(ground: RegistryGround, outpoint: bytes) -> dict[str, Any]:
    """The bundle at an outpoint (36 bytes) with its BEEF; one that was spent says by what.
    `NotFound(CERTIFICATE_UNKNOWN)`."""
    record = await ground.store.get(CERTIFICATES, outpoint)
    if record is None or record["unissued"]:
        raise NotFound(f"there is no bundle at {show_outpoint(outpoint)}", ErrorCode.CERTIFICATE_UNKNOWN)
    notices = applying(record, await notices_for([record], ground.store))
    status = status_of(record, bool(notices), ground.now_ms() // 1000) or record["status"]
    doubles = (await doubles_of([record], ground.store)).get(outpoint, ())
    told = await told_bundles(
        ground, [Chosen(Shown(record, status, notices, doubles), range_of(record))], with_beef=True
    )
    if not told:
        raise NotFound(f"there is no bundle at {show_outpoint(outpoint)}", ErrorCode.CERTIFICATE_UNKNOWN)
    return told[0]


# Finding


async def _answer(
    ground: RegistryGround, question: Question, limit: int, cursor: str | None, *, with_beef: bool = False
) -> Page:
    after, taken = _read_cursor(cursor, question)
    shown, end = await _found(ground, question, limit, after)
    chosen, taken = _choose(shown, question, taken)
    if question.criteria.quantity is not None and taken >= question.criteria.quantity:
        end = None
    told = await told_bundles(ground, chosen, with_beef=with_beef)
    return Page(told, sum(each.part.quantity for each in chosen), _write_cursor(end, taken, question))


async def _answer_private(
    ground: RegistryGround, question: Question, limit: int, cursor: str | None, *, with_beef: bool
) -> Page:
    """The same of bundles that are not published: they are in no index, and few."""
    after, taken = _read_cursor(cursor, question)
    account_id = str(question.criteria.account_id)
    kept = await private_bundles(ground.store, account_id, ground.settings.limits.lookup_scan)
    found = _private_shown(kept, question, _now_secs(ground))
    page, end = _paged(found, question, limit, after)
    chosen, taken = _choose(page, question, taken)
    by_place = {each.record["_id"]: each for each in kept}
    told = [_told_private(each, by_place[each.shown.record["_id"]], with_beef) for each in chosen]
    if question.criteria.quantity is not None and taken >= question.criteria.quantity:
        end = None
    return Page(told, sum(each.part.quantity for each in chosen), _write_cursor(end, taken, question))


def _private_shown(kept: Iterable[PrivateBundle], question: Question, now_secs: int) -> list[Shown]:
    criteria, found = question.criteria, []
    for each in kept:
        record = each.record
        if criteria.sparse and record["device_id"] not in criteria.sparse:
            continue
        status = status_of(record, False, now_secs)
        asked = (bool(criteria.sparse) or matches(record, question.filters)) and shows(status, question.filters)
        if status and asked and criteria.admits(record) and criteria.numbers.overlaps(range_of(record)):
            found.append(Shown(record, status))
    return found


def _told_private(chosen: Chosen, kept: PrivateBundle, with_beef: bool) -> dict[str, Any]:
    beef = kept.beef if with_beef else None
    return told_bundle(chosen.shown, kept.script, UNPROVEN, chosen.part, beef) | {"action_id": kept.action_id}


async def _found(
    ground: RegistryGround, question: Question, limit: int, after: Position | None
) -> tuple[list[Shown], Position | None]:
    """A page of what the filters admit, and where to go on."""
    if question.criteria.sparse:
        return _paged(await _of_moments(ground, question), question, limit, after)
    if question.criteria.issuance_id is not None:
        return _paged(await _of_issuance(ground, question), question, limit, after)
    listing = Listing(question.filters, Sort.EARLIEST_PERIOD, limit)
    if after is not None:
        listing = Listing(question.filters, listing.sort, limit, encode_cursor(after, listing.digest))
    answer = await search(listing, ground.store, _now_secs(ground), ground.settings.limits.lookup_scan)
    return [each for each in answer.shown if not each.record["unissued"]], answer.end


async def _of_issuance(ground: RegistryGround, question: Question) -> list[Shown]:
    """All that the filters admit of one issuance; BAD_QUERY when that is more than a lookup may read."""
    most = ground.settings.limits.lookup_scan
    listing = Listing(question.filters, Sort.OLDEST, most)
    answer = await search(listing, ground.store, _now_secs(ground), most)
    if answer.end is not None:
        raise BadRequest(f"the issuance has more than {most} outputs; ask by account", ErrorCode.BAD_QUERY)
    return [each for each in answer.shown if question.criteria.numbers.overlaps(range_of(each.record))]


async def _of_moments(ground: RegistryGround, question: Question) -> list[Shown]:
    """The account's bundles of each device whose production interval holds the moment named for it."""
    finds = [
        Find("device", {"device_id": device_id}, moment - HOUR_SECS + 1, moment + 1, limit=_MOST_OF_A_MOMENT)
        for device_id, moment in question.criteria.sparse.items()
    ]
    pages = await gather(*(ground.store.find(CERTIFICATES, find) for find in finds))
    found = [record for page in pages for record in page.documents if record["live"] and not record["unissued"]]
    criteria = question.criteria
    asked = [each for each in found if each["account_id"] == criteria.account_id and criteria.admits(each)]
    return await _standing(ground, asked)


async def _standing(ground: RegistryGround, records: Sequence[Document]) -> list[Shown]:
    notices, doubles = await gather(notices_for(records, ground.store), doubles_of(records, ground.store))
    shown: list[Shown] = []
    for record in records:
        on_record = applying(record, notices)
        status = status_of(record, bool(on_record), _now_secs(ground))
        if status is not None:
            shown.append(Shown(record, status, on_record, doubles.get(record["_id"], ())))
    return shown


def _paged(
    found: Iterable[Shown], question: Question, limit: int, after: Position | None
) -> tuple[list[Shown], Position | None]:
    ordered = sorted(found, key=lambda each: question.place(each.record))
    if after is not None:
        ordered = [each for each in ordered if question.place(each.record) > after]
    page = ordered[:limit]
    return page, question.place(page[-1].record) if len(ordered) > limit else None


def _choose(shown: Iterable[Shown], question: Question, taken: int) -> tuple[list[Chosen], int]:
    """The certificates that are meant, until the quantity is reached; and how many that makes by now."""
    chosen: list[Chosen] = []
    for each in shown:
        own, numbers = range_of(each.record), question.criteria.numbers
        part = Range(max(own.start, numbers.start), min(own.end, numbers.end))
        if question.criteria.quantity is not None:
            part = Range(part.start, min(part.end, part.start + question.criteria.quantity - taken - 1))
        if part.start > part.end:
            break
        taken += part.quantity
        chosen.append(Chosen(each, part))
    return chosen, taken


def _now_secs(ground: RegistryGround) -> int:
    return ground.now_ms() // 1000


# Cursors: the index's own, and how many certificates the pages before had


def _write_cursor(end: Position | None, taken: int, question: Question) -> str | None:
    if end is None:
        return None
    cursor = encode_cursor(end, question.digest)
    return cursor if question.criteria.quantity is None else f"{cursor}.{taken}"


def _read_cursor(cursor: str | None, question: Question) -> tuple[Position | None, int]:
    if cursor is None:
        return None, 0
    place, _, taken = cursor.partition(".")
    if question.criteria.quantity is None:
        return decode_cursor(cursor, question.digest), 0
    if not (taken.isascii() and taken.isdigit() and int(taken) < question.criteria.quantity):
        raise BadRequest("this is not a cursor of this query", ErrorCode.BAD_CURSOR)
    return decode_cursor(place, question.digest), int(taken)
