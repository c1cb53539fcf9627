"""The node's own header chain (I4): followed from a headers service, checked, kept, and held in memory.

Every header is checked for its hash, its proof of work and its link; which chain is the longest is the
service's word. A fork is followed down to the last common block; one deeper than the set limit is not
followed, and admission stops until a person has looked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

import structlog

from config.errors import ErrorCode, Unavailable
from overlay.chain import Header, HeaderSource
from overlay.records import HEADERS, STATE
from overlay.sdk import hash256
from store.pages import pages
from store.port import Delete, Put, Store, Write

_PAGE = 500
_MOST_OLD_HEIGHTS = 50
_OLD_CACHE = 20_000
REORG_STATE = "reorg"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ChainChange:
    """The chain grew from `fork_height`, the last block that old and new chain share, to `tip_height`.
    `reorganised` tells whether blocks above it were replaced."""

    fork_height: int
    tip_height: int
    reorganised: bool


class HeaderChain:
    """Headers by height. `root_at`, `header_at` and `tip_height` are synchronous: verification does no I/O.
    Heights below the first that is followed are fetched by `ensure`, and held for a while."""

    def __init__(
        self,
        store: Store,
        source: HeaderSource,
        *,
        first_height: int | None = None,
        reorg_limit: int = 100,
    ) -> None:
        self._store = store
        self._source = source
        self._first_height = first_height
        self._reorg_limit = reorg_limit
        self._headers: dict[int, Header] = {}
        self._old: dict[int, Header] = {}
        self._tip: Header | None = None
        # One synchronisation at a time: two would each write a chain of their own.
        self._lock = asyncio.Lock()
        self._unsettled: int | None = None
        self._syncing: asyncio.Task[ChainChange | None] | None = None
        self.generation = 0
        self.halted: str | None = None
        self.on_change: Callable[[ChainChange], Awaitable[None]] | None = None

    @property
    def tip_height(self) -> int:
        """Height of the tip, -1 before the first header is known."""
        return self._tip.height if self._tip else -1

    @property
    def tip(self) -> Header | None:
        return self._tip

    def header_at(self, height: int) -> Header | None:
        """The header at this height, for which `ensure` may have to be asked first; None when not known."""
        return self._headers.get(height) or self._old.get(height)

    def root_at(self, height: int) -> bytes | None:
        header = self.header_at(height)
        return header.merkle_root if header else None

    def hash_at(self, height: int) -> bytes | None:
        """The hash of a block of the chain that is followed: what lies below it is not known for good, and so
        says nothing of a reorganisation."""
        header = self._headers.get(height)
        return header.hash if header else None

    async def open(self) -> None:
        """Load what is kept."""
        async for documents in pages(self._store, HEADERS, size=5000):
            for document in documents:
                header = parse_header(document["raw"], document["_id"])
                self._headers[header.height] = header
        if self._headers:
            self._tip = self._headers[max(self._headers)]
        mark = await self._store.get(STATE, REORG_STATE)
        self._unsettled = mark["fork_height"] if mark else None

    @property
    def unsettled_fork(self) -> int | None:
        """The fork height of a reorganisation whose proofs have not all been dealt with."""
        return self._unsettled

    async def settle(self) -> None:
        """Note that every proof above `unsettled_fork` has been dealt with."""
        await self._store.commit([Delete(STATE, REORG_STATE)])
        self._unsettled = None

    async def sync(self) -> ChainChange | None:
        """Catch up with the service; None when nothing changed. Raises `Unavailable`."""
        async with self._lock:
            tip = await self._source.tip()
            if self._tip is not None and tip.hash == self._tip.hash:
                return None
            change = await self._follow(tip)
            if change is not None and self.on_change is not None:
                await self.on_change(change)
            return change

    async def ensure(self, heights: Iterable[int]) -> None:
        """Make headers known for these heights as far as the service knows them; `Unavailable` when it does not
        answer. Of heights below the chain that is followed, 50 are fetched at a time."""
        missing = [height for height in set(heights) if self.header_at(height) is None]
        if not missing:
            return
        for _ in range(2):
            if max(missing) > self.tip_height:
                await self._shared_sync()
        lowest = min(self._headers, default=0)
        old = [height for height in missing if height < lowest and height >= 0]
        for height in old[:_MOST_OLD_HEIGHTS]:
            for header in await self._source.range(height, 1):
                check_work(header)
                if header.height != height:
                    raise Unavailable(f"the headers service gave the header at {header.height} for {height}")
                if len(self._old) >= _OLD_CACHE:
                    self._old.pop(next(iter(self._old)))
                self._old[header.height] = header

    async def _shared_sync(self) -> None:
        """`sync`, once for all who ask meanwhile: strangers name heights. One that had begun earlier may have
        missed a block, so `ensure` asks a second time."""
        if self._syncing is None or self._syncing.done():
            self._syncing = asyncio.create_task(self.sync())
        await asyncio.shield(self._syncing)

    async def _follow(self, tip: Header) -> ChainChange | None:
        fork = await self._fork_height(tip)
        depth = self.tip_height - fork
        if depth > self._reorg_limit:
            self.halted = f"a reorganisation of {depth} blocks is deeper than the limit of {self._reorg_limit}"
            log.critical("reorganisation too deep", depth=depth, limit=self._reorg_limit)
            raise Unavailable(self.halted, ErrorCode.REORG_TOO_DEEP)
        self.halted = None
        fresh = await self._fetch(fork, tip)
        if not fresh:
            return None
        await self._replace(fork, fresh, reorganised=depth > 0)
        return ChainChange(fork, self.tip_height, depth > 0)

    async def _fork_height(self, tip: Header) -> int:
        """The highest height at which this chain and the service's agree; one below the first when none."""
        if self._tip is None:
            first = self._first_height if self._first_height is not None else max(0, tip.height - 1000)
            return first - 1
        lowest = min(self._headers)
        height = min(self.tip_height, tip.height)
        step = 1
        while height >= lowest:
            start = max(lowest, height - step + 1)
            theirs = {header.height: header.hash for header in await self._source.range(start, height - start + 1)}
            for candidate in range(height, start - 1, -1):
                if theirs.get(candidate) == self._headers[candidate].hash:
                    return candidate
            if self.tip_height - start > self._reorg_limit:
                return start - 1
            height, step = start - 1, min(step * 4, _PAGE)
        return lowest - 1

    async def _fetch(self, fork: int, tip: Header) -> list[Header]:
        """The service's headers above `fork`, checked. Empty when the service moved on meanwhile."""
        fresh: list[Header] = []
        previous = self.hash_at(fork)
        while len(fresh) < tip.height - fork:
            start = fork + 1 + len(fresh)
            page = await self._source.range(start, min(_PAGE, tip.height - start + 1))
            if not page:
                break
            for header in page:
                check_work(header)
                if header.height != fork + 1 + len(fresh) or (previous is not None and header.previous != previous):
                    log.info("the header chain changed while it was read", height=header.height)
                    return []
                fresh.append(header)
                previous = header.hash
        return fresh

    async def _replace(self, fork: int, fresh: list[Header], *, reorganised: bool) -> None:
        unsettled = fork
        writes: list[Write] = [
            Delete(HEADERS, height) for height in range(fork + 1 + len(fresh), self.tip_height + 1)
        ]
        writes += [Put(HEADERS, {"_id": header.height, "raw": header.raw}) for header in fresh]
        if reorganised:
            # Un-proving follows this commit; the mark makes a start after a crash finish it.
            unsettled = min(fork, self._unsettled if self._unsettled is not None else fork)
            writes.append(Put(STATE, {"_id": REORG_STATE, "fork_height": unsettled}))
        await self._store.commit(writes)
        if reorganised:
            self._unsettled = unsettled
        for height in range(fork + 1, self.tip_height + 1):
            self._headers.pop(height, None)
        for header in fresh:
            self._headers[header.height] = header
        self._tip = fresh[-1]
        self.generation += 1


def parse_header(raw: bytes, height: int) -> Header:
    """A header from its 80 bytes; ValueError for another length."""
    if len(raw) != 80:
        raise ValueError("a block header is 80 bytes")
    return Header(height, hash256(raw), raw[4:36], raw[36:68], raw)


def check_work(header: Header) -> None:
    """`Unavailable` when a header does not meet the target that it states: the service is not sound."""
    bits = int.from_bytes(header.raw[72:76], "little")
    size, mantissa = bits >> 24, bits & 0x007FFFFF
    target = mantissa << 8 * (size - 3) if size >= 3 else mantissa >> 8 * (3 - size)
    if header.hash != hash256(header.raw) or int.from_bytes(header.hash, "little") > target:
        raise Unavailable(f"the headers service gave a header at {header.height} without proof of work")
