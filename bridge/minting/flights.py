"""Transactions on their way: stored, and here in memory as far as this process knows them.

The store is the truth. What is here saves reading it over again, and is thrown away where a commit conflicts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from bridge.in_flight import InFlight, stored_fields
from bridge.records import ATTEMPTS, READINGS, ReadingState
from store.pages import pages
from store.port import Document, Find, Reader


@dataclass(slots=True, eq=False, kw_only=True)
class Flight(InFlight):
    """One open attempt. `rows` are its readings' documents, in the order of their mints."""

    rows: list[Document]
    batch: str | None = None

    @classmethod
    def stored(cls, document: Document, rows: Sequence[Document]) -> Flight:
        """The flight of an open attempt, with those of its readings that still wait for it."""
        return cls(
            keys=tuple(document["readings"]),
            rows=[row for row in rows if waits_for(row, document["_id"])],
            **stored_fields(document),
        )


def waits_for(row: Document, signature: bytes) -> bool:
    """Whether a reading is to be minted by that very transaction."""
    return row["state"] == ReadingState.SIGNED and row.get("attempt") == signature


class Flights:
    """All flights that this process knows, by signature, oldest first. `is_complete` when it knows all that are
    stored, but for what other workers without the lease store meanwhile."""

    def __init__(self, reader: Reader) -> None:
        self.is_complete = False
        self._reader = reader
        self._flights: dict[bytes, Flight] = {}

    def __len__(self) -> int:
        return len(self._flights)

    def __iter__(self) -> Iterator[Flight]:
        return iter(list(self._flights.values()))

    def add(self, flights: Iterable[Flight]) -> None:
        for flight in flights:
            self._flights[flight.key] = flight

    def drop(self, flight: Flight) -> None:
        self._flights.pop(flight.key, None)

    def forget(self) -> None:
        """Know nothing, as after a start: another one may have had the lease meanwhile."""
        self._flights.clear()
        self.is_complete = False

    def doubt(self) -> None:
        """More may be stored than is known: a commit was answered with an error, which may have come after it."""
        self.is_complete = False

    async def load(self) -> None:
        """Add open attempts that are not known here: of before a crash, or of another worker."""
        async for documents in pages(self._reader, ATTEMPTS, Find("open")):
            strange = [each for each in documents if each["_id"] not in self._flights]
            wanted = list(dict.fromkeys(key for each in strange for key in each["readings"]))
            rows = await self._reader.get_many(READINGS, wanted) if wanted else {}
            self.add(Flight.stored(each, _rows_of(each, rows)) for each in strange)
        self.is_complete = True

    async def reload(self, flight: Flight) -> Document | None:
        """Read a flight anew after a conflict: its document; the flight is dropped when it is no longer open."""
        document = await self._reader.get(ATTEMPTS, flight.key)
        if document is None or document["open_ms"] is None:
            self.drop(flight)
            return document
        rows = await self._reader.get_many(READINGS, list(flight.keys))
        flight.rows = [row for row in _rows_of(document, rows) if waits_for(row, flight.key)]
        return document


def _rows_of(attempt: Document, rows: dict[Any, Document]) -> list[Document]:
    return [rows[key] for key in attempt["readings"] if key in rows]
