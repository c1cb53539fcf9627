"""Readings that are still to be handed in: what a meter keeps while its gateway is not to be had."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bridge.records import reading_id, reading_key
from bridge.simulator.message import Measured
from bridge.simulator.site import SiteKind


@dataclass(frozen=True, slots=True)
class Due:
    """A signed reading, and the body that submits it."""

    kind: SiteKind
    measured: Measured
    body: dict[str, Any]

    @property
    def reading_id(self) -> str:
        """The reading's id at a node like this one: it follows from meter and interval."""
        return reading_id(reading_key(self.measured.serial, self.measured.start_ms))


class Backlog:
    """First in, first out; when it is full the oldest goes, and is told of to whoever put the newest in."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._due: deque[Due] = deque()
        self._under_way = 0
        self._changed = asyncio.Condition()

    def __len__(self) -> int:
        """All that is not yet answered, what is under way as well."""
        return len(self._due) + self._under_way

    async def put(self, due: Due) -> Due | None:
        """Put a reading in; the one that had to go for it."""
        async with self._changed:
            gone = self._due.popleft() if len(self._due) >= self._size else None
            self._due.append(due)
            self._changed.notify()
        return gone

    async def take(self, most: int) -> list[Due]:
        """So many of the oldest, at least one; `done` or `put_back` must follow."""
        async with self._changed:
            await self._changed.wait_for(lambda: bool(self._due))
            taken = [self._due.popleft() for _ in range(min(most, len(self._due)))]
            self._under_way += len(taken)
        return taken

    async def done(self, count: int) -> None:
        """So many of those that were taken are answered."""
        async with self._changed:
            self._under_way -= count
            self._changed.notify_all()

    async def put_back(self, due: Sequence[Due]) -> None:
        """Those that were taken and are to be tried again, before all others."""
        async with self._changed:
            self._under_way -= len(due)
            self._due.extendleft(reversed(due))
            self._changed.notify_all()

    async def emptied(self) -> None:
        """Wait until nothing is left, nor under way."""
        async with self._changed:
            await self._changed.wait_for(lambda: not len(self))
