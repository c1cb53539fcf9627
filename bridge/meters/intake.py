"""Readings come in: judged, and stored once for each interval of a meter.

    body ─ meter ─ judged ─ a token of the meter's bucket ─ inserted under its key ─→ taken, new
                                                               │ the key is there
                                                               ▼
                                    the same message? ─ yes ─→ taken, as it was stored
                                                         no ─→ kept for a person, READING_CONFLICTS

The insert is what makes an interval unique: under any concurrency, over several processes, after a crash. Only
once it is durable is anybody told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from bridge.meters import telling
from bridge.meters.body import ReadingBody
from bridge.meters.checking import Checker, serial_of
from bridge.meters.conflicts import Conflicts
from bridge.meters.directory import MeterDirectory, MeterUnknown
from bridge.meters.mirroring import NOT_MIRRORING, Mirroring
from bridge.meters.rate import MeterRates
from bridge.meters.registration import MOST_SERIAL
from bridge.notices import Tell, tell_nobody
from bridge.records import READINGS
from config.errors import Busy, ErrorCode, MetawattError
from config.settings import Settings
from overlay.clock import NowMs
from store.port import Conflict, Document, Insert, Store

_TURN: Final = 16
"""Readings of a batch that are judged before others get their turn: about a millisecond and a half."""
_TRIES: Final = 8

Entry: TypeAlias = ReadingBody | MetawattError
"""An entry of a batch: a body, or why it could not even be read."""
Meters: TypeAlias = Mapping[Any, Document]


@dataclass(frozen=True, slots=True)
class Taken:
    """A reading that is stored; `is_new` is False when it was here already."""

    document: Document
    is_new: bool


Outcome: TypeAlias = Taken | MetawattError


class Intake:
    """The way in. `tell` hears of every reading that is taken, or refused of a meter that is registered."""

    def __init__(
        self,
        store: Store,
        directory: MeterDirectory,
        settings: Settings,
        now_ms: NowMs,
        tell: Tell = tell_nobody,
        mirroring: Mirroring = NOT_MIRRORING,
    ) -> None:
        self._store = store
        self._directory = directory
        self._now_ms = now_ms
        self._tell = tell
        self._checker = Checker(settings.meters, settings.tokenization, mirroring)
        self._rates = MeterRates(settings.meters)
        self.conflicts = Conflicts(store, now_ms)

    async def submit(self, body: ReadingBody) -> Taken:
        """The reading, durable. Raises with the code of the first check that fails (docs/METERS.md), or
        `ReadingConflicts`."""
        meter = await self._directory.meter(serial_of(body))
        try:
            taken = await self._stored(self._judged(meter, body))
        except MetawattError as error:
            self._tell_refused(meter, body, error)
            raise
        self._tell_taken(taken)
        return taken

    async def submit_many(self, entries: Sequence[Entry]) -> list[Outcome]:
        """What became of each, in their order; those that are new become durable by one commit."""
        meters = await self._meters(entries)
        judged = await self._judged_each(meters, entries)
        stored = iter(await self._stored_each([each for each in judged if not isinstance(each, MetawattError)]))
        outcomes = [each if isinstance(each, MetawattError) else next(stored) for each in judged]
        for entry, outcome in zip(entries, outcomes, strict=True):
            self._tell_of(meters, entry, outcome)
        return outcomes

    # Judging

    async def _meters(self, entries: Sequence[Entry]) -> Meters:
        named = (each.meter_serial or each.meter_id for each in entries if isinstance(each, ReadingBody))
        return await self._directory.meters(list(dict.fromkeys(filter(None, named))))

    def _judged(self, meter: Document, body: ReadingBody) -> Document:
        """The reading as it is to be stored."""
        now_ms = self._now_ms()
        reading = self._checker.reading(meter, body, now_ms)
        self._rates.take(meter["_id"], now_ms)
        return reading

    async def _judged_each(self, meters: Meters, entries: Sequence[Entry]) -> list[Document | MetawattError]:
        judged: list[Document | MetawattError] = []
        for entry in entries:
            if len(judged) % _TURN == _TURN - 1:
                await asyncio.sleep(0)
            try:
                body = _readable(entry)
                judged.append(self._judged(_meter_of(meters, body), body))
            except MetawattError as error:
                judged.append(error)
        return judged

    # Storing

    async def _stored(self, reading: Document) -> Taken:
        try:
            await self._store.commit([Insert(READINGS, reading)])
        except Conflict:
            return await self._met(reading)
        return Taken(reading, is_new=True)

    async def _met(self, reading: Document) -> Taken:
        """What comes of a reading whose key is taken."""
        first = await self.conflicts.meet(reading)
        self._rates.give_back(reading["meter"])
        return Taken(first, is_new=False)

    async def _stored_each(self, readings: Sequence[Document]) -> list[Outcome]:
        inserted = await self._insert(readings)
        return [
            Taken(reading, is_new=True) if place in inserted else await self._met_or_refused(reading)
            for place, reading in enumerate(readings)
        ]

    async def _met_or_refused(self, reading: Document) -> Outcome:
        try:
            return await self._met(reading)
        except MetawattError as error:
            return error

    async def _insert(self, readings: Sequence[Document]) -> set[int]:
        """Insert those whose keys are free, by one commit, and say which. Others may take a key in between: then
        it is looked at again."""
        for _ in range(_TRIES):
            free = await self._free(readings)
            try:
                await self._store.commit([Insert(READINGS, readings[place]) for place in free])
            except Conflict:
                continue
            return set(free)
        raise Busy("These readings are being submitted by others, too", ErrorCode.OVERLOADED)

    async def _free(self, readings: Sequence[Document]) -> list[int]:
        """The places of the readings whose keys are free; of several with one key, the first's."""
        first = {reading["_id"]: place for place, reading in reversed(list(enumerate(readings)))}
        taken = await self._store.get_many(READINGS, list(first))
        return sorted(place for key, place in first.items() if key not in taken)

    # Telling

    def _tell_of(self, meters: Meters, entry: Entry, outcome: Outcome) -> None:
        if isinstance(outcome, Taken):
            self._tell_taken(outcome)
        elif isinstance(entry, ReadingBody):
            meter = meters.get(entry.meter_serial or entry.meter_id)
            if meter is not None:
                self._tell_refused(meter, entry, outcome)

    def _tell_taken(self, taken: Taken) -> None:
        if taken.is_new:
            self._tell(telling.received(taken.document))

    def _tell_refused(self, meter: Document, body: ReadingBody, error: MetawattError) -> None:
        """Nothing of a meter that is at its bound: whoever listens would be flooded with it."""
        if not isinstance(error, Busy):
            self._tell(telling.refused(meter, body, error))


def _readable(entry: Entry) -> ReadingBody:
    if isinstance(entry, MetawattError):
        raise entry
    return entry


def _meter_of(meters: Meters, body: ReadingBody) -> Document:
    serial = serial_of(body)
    if serial not in meters:
        raise MeterUnknown(f"There is no meter {serial[:MOST_SERIAL]}")
    return meters[serial]
