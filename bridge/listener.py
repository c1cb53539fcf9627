"""One who listens: a queue of a bounded length, and how it ends."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from enum import Enum, auto

from bridge.notices import NoticeKind
from bridge.wants import Wants


@dataclass(frozen=True, slots=True)
class End:
    """Why a listener was let go: a WebSocket's close code, and the reason in 120 bytes at most."""

    code: int
    reason: str


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
        self._over = asyncio.Event()
        self._end: End | None = None

    @property
    def has_ended(self) -> bool:
        return self._end is not None

    async def take(self) -> list[bytes]:
        """The notices that wait, encoded; waits for the first."""
        await self._awake.wait()
        self._awake.clear()
        waiting, self._waiting = self._waiting, []
        return waiting

    async def ended(self) -> End:
        """Waits until the hub lets it go, and says why."""
        await self._over.wait()
        assert self._end is not None
        return self._end

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

    def end(self, end: End) -> None:
        """Let it go; the first reason counts."""
        self._end = self._end or end
        self._waiting = []
        self._over.set()
