"""Pauses: nothing new is accounted for, signed or given back in a direction that is paused.

What is on its way goes on being followed, for a transaction that is out cannot be called back.
"""

from __future__ import annotations

from typing import Final

from bridge.mirror.book import Page
from bridge.mirror.records import MIRROR
from bridge.mirror.states import Direction
from store.port import Delete, Document, Put, Reader

BY: Final = "bridge"
"""Who pauses, when it is no person."""


class Pauses:
    """The pauses of both directions, read from the store each time: any process may have asked."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def paused(self, direction: Direction) -> Document | None:
        """`reason`, `by`, `at_ms` of a direction that is paused; None of one that is not."""
        return await self._reader.get(MIRROR, _key(direction))

    async def all(self) -> dict[Direction, Document]:
        """Those that are paused."""
        rows = await self._reader.get_many(MIRROR, [_key(each) for each in Direction])
        return {each: rows[_key(each)] for each in Direction if _key(each) in rows}

    async def pause_both(self, reason: str, page: Page) -> None:
        """By the bridge itself; a direction that is paused already stays as it is."""
        paused = await self.all()
        for direction in Direction:
            if direction not in paused:
                pause(direction, reason, BY, page)


def pause(direction: Direction, reason: str, by: str, page: Page) -> None:
    """Pause it, with an entry in the log."""
    page.note({"pause": direction.value, "reason": reason, "by": by})
    page.write(Put(MIRROR, {"_id": _key(direction), "reason": reason, "by": by, "at_ms": page.now_ms}))


def resume(direction: Direction, by: str, page: Page) -> None:
    """End a pause, with an entry in the log."""
    page.note({"resume": direction.value, "by": by})
    page.write(Delete(MIRROR, _key(direction)))


def _key(direction: Direction) -> str:
    return f"pause:{direction.value}"
