"""The right to mint, or to mirror, one holder at a time, with a fence that every commit of its holder carries.

It saves work and keeps the chain tidy. That nothing is minted twice does not hang on it: two workers without a
lease collide on the states of readings and messages, and on the guards on the chain.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from time import monotonic
from typing import Final, Protocol
from uuid import uuid4

import structlog

from bridge.records import LEASES
from overlay.clock import NowMs
from store.port import Conflict, Document, Insert, Patch, Store, Write

NAME: Final = "minting"
TERM_MS: Final = 15_000
MOST_SKEW_MS: Final = 300_000
"""How far the holder's clock may be ahead. A term that ends later than that is of a clock that has been set right
since, and of a holder that is gone perhaps; it binds nobody."""

log = structlog.get_logger("metawatt.minting")


class Lost(Exception):
    """Another process does this now; what this one has under way is left to it."""


class Lease(Protocol):
    """What a worker asks of its lease."""

    @property
    def term(self) -> int | None:
        """The number of the term under way, None while another one has the lease. What was known of another term
        is known no longer: somebody else may have minted in between."""
        ...

    async def hold(self) -> bool:
        """Take the lease, or keep it; False when another one has it."""
        ...

    def guard(self) -> list[Write]:
        """What a commit must begin with: it makes the commit a `Conflict` once another one has the lease."""
        ...

    async def demand(self) -> None:
        """Raises `Lost` when another one has the lease."""
        ...

    async def release(self) -> None:
        """Let the next one have it at once."""
        ...


@dataclass(frozen=True, slots=True)
class _Held:
    fence: int
    until_ms: int


class StoredLease:
    """The lease of a store. A holder that does not renew it within `term_ms` loses it to whoever asks next: by the
    time that the row tells, or by what the one who asks has waited for it to change, whatever either clock says."""

    def __init__(
        self,
        store: Store,
        now_ms: NowMs,
        holder: str | None = None,
        *,
        name: str = NAME,
        term_ms: int = TERM_MS,
    ) -> None:
        self._store = store
        self._name = name
        self._term_ms = term_ms
        self._now_ms = now_ms
        self._holder = holder or str(uuid4())
        self._held: _Held | None = None
        self._watched: tuple[_Held, float] | None = None
        # One at a time: of two that renew at once, one would find that the row has changed, and think it lost.
        self._turn = asyncio.Lock()

    @property
    def term(self) -> int | None:
        return None if self._held is None else self._held.fence

    async def hold(self) -> bool:
        async with self._turn:
            now_ms = self._now_ms()
            if (
                self._held is not None
                and 0 < self._held.until_ms - now_ms - self._term_ms * 2 // 3 <= self._term_ms
            ):
                return True
            row = await self._store.get(LEASES, self._name)
            if row is not None and row["holder"] != self._holder and self._binds(row, now_ms):
                self._held = None
                return False
            return await self._take(row, now_ms)

    def _binds(self, row: Document, now_ms: int) -> bool:
        """Whether another one's term is to be waited for."""
        if not 0 < row["until_ms"] - now_ms <= self._term_ms + MOST_SKEW_MS:
            return False
        seen = _Held(row["fence"], row["until_ms"])
        if self._watched is None or self._watched[0] != seen:
            self._watched = seen, monotonic()
        return (monotonic() - self._watched[1]) * 1000 < self._term_ms

    async def _take(self, row: Document | None, now_ms: int) -> bool:
        """Write the next term; whoever is second finds that the row has changed."""
        is_renewed = row is not None and self._held is not None and row["fence"] == self._held.fence
        fence = 1 if row is None else row["fence"] if is_renewed else row["fence"] + 1
        term = {"holder": self._holder, "fence": fence, "until_ms": now_ms + self._term_ms}
        write: Write = Insert(LEASES, {"_id": self._name, **term})
        if row is not None:
            write = Patch(LEASES, self._name, term, expect={"fence": row["fence"], "until_ms": row["until_ms"]})
        try:
            await self._store.commit([write])
        except Conflict:
            self._held = None
            return False
        if not is_renewed:
            log.info("lease taken", lease=self._name, fence=fence)
        self._held = _Held(fence, now_ms + self._term_ms)
        return True

    def guard(self) -> list[Write]:
        if self._held is None:
            raise Lost
        fence = {"fence": self._held.fence}
        return [Patch(LEASES, self._name, fence, expect=fence)]

    async def demand(self) -> None:
        row = await self._store.get(LEASES, self._name)
        if self._held is None or row is None or row["fence"] != self._held.fence:
            self._held = None
            raise Lost

    async def release(self) -> None:
        """Expire it, if it is still ours."""
        held, self._held = self._held, None
        if held is None:
            return
        expect = {"fence": held.fence, "holder": self._holder}
        try:
            await self._store.commit([Patch(LEASES, self._name, {"until_ms": 0}, expect=expect)])
        except Conflict:
            log.info("lease was lost before it was released", lease=self._name, fence=held.fence)
