"""One who listens: a queue of a bounded length, and how it ends."""

from __future__ import annotations

import asyncio
from enum import Enum, auto

from bridge.notices import NoticeKind
from bridge.wants import Wants


class Ended(Exception):
    """A listener's time is over: a WebSocket's close code, and the reason in 123 bytes at most."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class Offer(Enum):
    """What became of a notice that was offered."""

    QUEUED = auto()
    SKIPPED = auto()
    FULL = auto()


class Listener:
    """`Hub.join` makes it. `client` is whose it is; `most` notices may wait for it."""

    def __init__(self, client: str, wants: Wants, most: int) -> None:
        self.client = client
        self.wants = wants
        self._most = most
        self._waiting: list[bytes] = []
        self._awake = asyncio.Event()
        self._end: Ended | None = None

    @property
    def has_ended(self) -> bool:
        return self._end is not None

    async def take(self) -> list[bytes]:
        """The notices that wait, encoded; waits for the first. Raises `Ended` when the hub let it go."""
        await self._awake.wait()
        if self._end is not None:
            raise self._end
        self._awake.clear()
        waiting, self._waiting = self._waiting, []
        return waiting

    def offer(self, text: bytes, kind: NoticeKind) -> Offer:
        """Queue a notice. Anybody may cause refusals: they have half the queue, and cannot crowd out the rest."""
        if self._end is not None:
            return Offer.SKIPPED
        if len(self._waiting) >= self._most:
            return Offer.FULL
        if kind is NoticeKind.REFUSED and len(self._waiting) >= self._most // 2:
            return Offer.SKIPPED
        self._waiting.append(text)
        self._awake.set()
        return Offer.QUEUED

    def end(self, code: int, reason: str) -> None:
        """Have `take` raise `Ended`, instead of what waits."""
        self._end = self._end or Ended(code, reason)
        self._waiting = []
        self._awake.set()
