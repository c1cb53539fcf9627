"""Readings: what every series of measurements has in common, whoever's it is.

A *series* is what one meter tells of one subject: a device's production, an account's consumption in a zone. Its
intervals are UTC, up to an hour long, over by now, and do not overlap. A reading that comes again with the same
value is taken once; with another value it is refused, since nobody could tell which of the two holds. A reading
of zero is a reading: it says that nothing was made, where a missing one says nothing.

A document's key is the series' digest (16 bytes) and the start (8 bytes), so that a series lies together in order.
"""

from __future__ import annotations

import re
from asyncio import gather
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import pairwise
from typing import Any, Final, NamedTuple

from config.errors import BadRequest, ErrorCode
from energytag.models.common import moment_of_ms, secs_of
from energytag.plan import Plan, Scene
from store.pages import pages
from store.port import Collection, Document, Find, Insert, Reader, Scalar, Write

MOST_SECS: Final = 3600
_DIGEST_BYTES: Final = 16
_OFFSET: Final = 2**62
_GAP_SECS: Final = 86_400
_PAGE: Final = 2000
_AT_ONCE: Final = 32
_CURSOR: Final = re.compile(f"[0-9a-f]{{{2 * _DIGEST_BYTES}}}[34][0-9a-f]{{15}}").fullmatch


class MeasurementInvalid(BadRequest):
    """A reading that cannot be taken."""

    default_code = ErrorCode.MEASUREMENT_INVALID


class Reading(NamedTuple):
    """Energy of an interval, epoch seconds, the end not included."""

    start: int
    end: int
    energy_wh: int


@dataclass(frozen=True, slots=True)
class Series:
    """Readings of one subject as they came. `common` are fields that every document of the series has; `rows`
    are the rows that they stood in, None when they came as a list."""

    digest: bytes
    common: Mapping[str, Any]
    readings: Sequence[Reading]
    rows: Sequence[int] | None = None

    def named(self, place: int) -> str:
        """A reading in the caller's own counting."""
        return f"readings[{place}]" if self.rows is None else f"row {self.rows[place]}"


class Settled(NamedTuple):
    """Readings that are new, in order of time, and how many were here already."""

    fresh: list[Reading]
    repeated: int


def series_digest(*subject: str) -> bytes:
    """What the keys of a series begin with."""
    return sha256("\n".join(subject).encode()).digest()[:_DIGEST_BYTES]


def reading_key(digest: bytes, start: int) -> bytes:
    return digest + (start + _OFFSET).to_bytes(8, "big")


def in_row(series: Mapping[str, Any]) -> str:
    """What a message about a request's series begins with: the first of its rows, when it came in rows."""
    return f"row {series['rows'][0]}: " if "rows" in series else ""


def given(readings: Iterable[Mapping[str, Any]]) -> list[Reading]:
    """A request's readings."""
    return [Reading(secs_of(each["start"]), secs_of(each["end"]), each["energy_wh"]) for each in readings]


def documents(series: Series, readings: Iterable[Reading], action_id: str) -> Iterator[Document]:
    """Readings as they are kept."""
    for start, end, energy_wh in readings:
        yield {
            "_id": reading_key(series.digest, start),
            **series.common,
            "start": start,
            "end": end,
            "energy_wh": energy_wh,
            "action_id": action_id,
        }


async def settle_all(collection: Collection, series: Sequence[Series], scene: Scene) -> list[Settled]:
    """What is new of each series; `MeasurementInvalid` names the first reading that cannot be taken."""
    now_secs = scene.now_ms // 1000
    for each in series:
        _check(each, now_secs)
    settled: list[Settled] = []
    taken: dict[bytes, list[Reading]] = scene.taken.setdefault(collection.name, {})
    for first in range(0, len(series), _AT_ONCE):
        group = series[first : first + _AT_ONCE]
        stored = await gather(*(_known(scene.reader, collection, each) for each in group))
        for each, known in zip(group, stored, strict=True):
            settled.append(settle(each.readings, [*known, *taken.get(each.digest, ())], each.named))
    for each, (fresh, _) in zip(series, settled, strict=True):
        taken.setdefault(each.digest, []).extend(fresh)
    return settled


def plan_of(collection: Collection, series: Sequence[Series], settled: Sequence[Settled], action_id: str) -> Plan:
    """The plan that keeps what is new, and tells how much that is."""
    fresh = [reading for each in settled for reading in each.fresh]
    return Plan(
        writes=[
            Insert(collection, document)
            for each, (new, _) in zip(series, settled, strict=True)
            for document in documents(each, new, action_id)
        ],
        result={
            "accepted": len(fresh),
            "repeated": sum(each.repeated for each in settled),
            "energy_wh": sum(reading.energy_wh for reading in fresh),
        },
    )


def rebuilt(collection: Collection, series: Iterable[Series], action_id: str) -> list[Write]:
    """The writes of an action that was resolved. What it repeated stays that of the action that came first."""
    return [
        Insert(collection, document, keep=True)
        for each in series
        for document in documents(each, each.readings, action_id)
    ]


def settle(readings: Sequence[Reading], known: Iterable[Reading], named: Callable[[int], str]) -> Settled:
    """New readings among those that came, given those that are known; pure. `MeasurementInvalid` when one
    contradicts or overlaps another."""
    standing = {each.start: each for each in known}
    places: dict[int, int] = {}
    for place, reading in enumerate(readings):
        other = standing.setdefault(reading.start, reading)
        if other != reading:
            raise MeasurementInvalid(f"{named(place)}: {_told(other)} was measured before, and cannot be changed")
        if other is reading:
            places[reading.start] = place
    for before, after in pairwise(sorted(standing.values())):
        if before.end > after.start and (before.start in places or after.start in places):
            place = max(places.get(before.start, -1), places.get(after.start, -1))
            other = before if places.get(after.start) == place else after
            raise MeasurementInvalid(f"{named(place)}: it overlaps another reading, {_told(other)}")
    fresh = sorted(readings[place] for place in places.values())
    return Settled(fresh, len(readings) - len(fresh))


def _check(series: Series, now_secs: int) -> None:
    for place, (start, end, _) in enumerate(series.readings):
        if not 0 < end - start <= MOST_SECS:
            length = f"{end - start} seconds long; it must be above 0 and at most {MOST_SECS}"
            raise MeasurementInvalid(f"{series.named(place)}: the interval is {length}")
        if end > now_secs:
            raise MeasurementInvalid(f"{series.named(place)}: the interval ends in the future, at {_moment(end)}")


async def _known(reader: Reader, collection: Collection, series: Series) -> list[Reading]:
    """Stored readings that these may meet."""
    found: list[Reading] = []
    for start, end in _windows(series.readings):
        found += [reading_of(row) async for row in walk(reader, collection, series.digest, start - MOST_SECS, end)]
    return found


def _windows(readings: Iterable[Reading]) -> Iterator[tuple[int, int]]:
    """Times that hold all the readings, with no long gaps within."""
    window: tuple[int, int] | None = None
    for start, end, _ in sorted(readings):
        if window is None or start > window[1] + _GAP_SECS:
            if window is not None:
                yield window
            window = (start, end)
        window = (window[0], max(end, window[1]))
    if window is not None:
        yield window


async def walk(
    reader: Reader, collection: Collection, digest: bytes, start: int, end: int
) -> AsyncIterator[Document]:
    """The documents of a series whose intervals start in a window, in order."""
    lower, upper = reading_key(digest, start), reading_key(digest, end)
    async for documents in pages(reader, collection, Find(lower=lower, upper=upper), _PAGE):
        for document in documents:
            yield document


async def page(
    reader: Reader, collection: Collection, find: Find, cursor: str | None
) -> tuple[list[Document], str | None]:
    """The next documents of a walk along the keys, or along an index that is kept by `start`; and the cursor to go
    on with. BAD_CURSOR for one that is not of this kind."""
    after = None if cursor is None else _position(cursor, find.index is not None)
    found = await reader.find(collection, replace(find, after=after))
    return found.documents, None if found.last is None else found.documents[-1]["_id"].hex()


def _position(cursor: str, has_start: bool) -> tuple[Scalar, ...]:
    if not _CURSOR(cursor):
        raise BadRequest("this is not a cursor of this list", ErrorCode.BAD_CURSOR)
    key = bytes.fromhex(cursor)
    start = int.from_bytes(key[_DIGEST_BYTES:], "big") - _OFFSET
    return (start, key) if has_start else (key,)


def kept(document: Document) -> dict[str, Any]:
    """A document as JSON."""
    told = {name: value for name, value in document.items() if name != "_id"}
    return told | {"start": _moment(document["start"]), "end": _moment(document["end"])}


def reading_of(document: Document) -> Reading:
    return Reading(document["start"], document["end"], document["energy_wh"])


def _told(reading: Reading) -> str:
    return f"{reading.energy_wh} Wh from {_moment(reading.start)} to {_moment(reading.end)}"


def _moment(secs: int) -> str:
    return moment_of_ms(secs * 1000)
