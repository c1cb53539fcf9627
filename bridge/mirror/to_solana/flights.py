"""Releases on their way: Solana transactions that are stored, and here in memory as far as this process knows them.

The store is the truth. What is here saves reading it over again, and is read anew where a commit conflicts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from bridge.in_flight import InFlight, stored_fields
from bridge.mirror.message import Message, load_messages
from bridge.mirror.records import RELEASES
from bridge.mirror.states import ON_ITS_WAY
from bridge.records import AttemptState
from overlay.clock import NowMs
from store.pages import pages
from store.port import Document, Find, Insert, Patch, Reader, Write

_RELOAD_MS: Final = 5_000
"""How often the store is asked for releases of other workers; there are some after the lease went over."""


@dataclass(slots=True, eq=False, kw_only=True)
class Flight(InFlight):
    """One open release. `keys` are the ids of its messages in the order of their payments, `messages` those of them
    that still wait for it; `is_disputed` once a witness told of another end."""

    messages: list[Message]
    is_disputed: bool = False

    @classmethod
    def stored(cls, row: Document, messages: Sequence[Message]) -> Flight:
        """The flight of an open release, with those of its messages that still wait for it."""
        return cls(
            keys=tuple(row["messages"]),
            messages=[each for each in messages if waits_for(each, row["_id"])],
            **stored_fields(row),
        )

    # As it is written

    def inserted(self) -> Write:
        row = {
            "_id": self.key,
            "raw": self.raw,
            "messages": list(self.keys),
            "last_valid_block_height": self.last_valid_block_height,
            "open_ms": self.open_ms,
            **self._standing(self.refusal),
        }
        return Insert(RELEASES, row)

    def told(self) -> Write:
        """How it stands: sent, or seen."""
        return Patch(RELEASES, self.key, self._standing(self.refusal), expect={"open_ms": self.open_ms})

    def over(self, state: AttemptState, slot: int | None, error: Any) -> Write:
        """Its end."""
        changes = self._standing(error) | {"state": state.value, "slot": slot, "open_ms": None}
        return Patch(RELEASES, self.key, changes, expect={"open_ms": self.open_ms})

    def _standing(self, error: Any) -> dict[str, Any]:
        return {"state": self.state.value, "sends": self.sends, "slot": self.slot, "error": error}


def waits_for(message: Message, signature: bytes) -> bool:
    """Whether a message is to be paid by that very transaction."""
    return message.state in ON_ITS_WAY and message.destination_tx == signature


class Flights:
    """All flights that this process knows, by signature, oldest first."""

    def __init__(self, reader: Reader, now_ms: NowMs) -> None:
        self._reader = reader
        self._now_ms = now_ms
        self._flights: dict[bytes, Flight] = {}
        self._loaded_ms: int | None = None

    def __len__(self) -> int:
        return len(self._flights)

    def __contains__(self, flight: Flight) -> bool:
        return flight.key in self._flights

    def __iter__(self) -> Iterator[Flight]:
        return iter(list(self._flights.values()))

    def add(self, flights: Iterable[Flight]) -> list[Flight]:
        """Know them; those that are known already stay as they are, and are answered."""
        return [self._flights.setdefault(each.key, each) for each in flights]

    def drop(self, flight: Flight) -> None:
        self._flights.pop(flight.key, None)

    def doubt(self) -> None:
        """More may be stored than is known: a commit was answered with an error, which may have come after it."""
        self._loaded_ms = None

    async def refresh(self) -> None:
        """Now and then, and after a doubt, add what is stored and not known here: of before a crash, or of another
        worker."""
        now_ms = self._now_ms()
        if self._loaded_ms is None or not 0 <= now_ms - self._loaded_ms < _RELOAD_MS:
            await self._load()
            self._loaded_ms = now_ms

    async def _load(self) -> None:
        async for rows in pages(self._reader, RELEASES, Find("open")):
            strange = [each for each in rows if each["_id"] not in self._flights]
            messages = await load_messages(self._reader, {key for each in strange for key in each["messages"]})
            self.add(Flight.stored(each, _of(each, messages)) for each in strange)

    async def reload(self, flights: Iterable[Flight]) -> None:
        """Read flights anew after a conflict; those that are no longer open are dropped."""
        known = {each.key: each for each in flights}
        rows = await self._reader.get_many(RELEASES, list(known))
        messages = await load_messages(self._reader, {key for each in known.values() for key in each.keys})
        for key, flight in known.items():
            row = rows.get(key)
            if row is None or row["open_ms"] is None:
                self.drop(flight)
            else:
                flight.messages = [each for each in _of(row, messages) if waits_for(each, key)]


def _of(row: Document, messages: dict[bytes, Message]) -> list[Message]:
    return [messages[key] for key in row["messages"] if key in messages]
