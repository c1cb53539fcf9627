"""What people ask of the minter. All of it is written to the store or read from it, so it may be asked in any
process of the node, and while the cluster is not to be had; the holder of the lease carries it out."""

from __future__ import annotations

from typing import Final

from bridge.meters.paging import Listed
from bridge.minting.asking import Asking
from bridge.minting.backfill import BackfillJobs
from bridge.minting.config import ConfigShelf, MintingConfig
from bridge.minting.polls import PollResult, Polls
from bridge.minting.views import MintingStatus, Views
from config.settings import TokenizationSettings
from overlay.clock import NowMs
from store.port import Document, Store

POLL_WAIT_SECS: Final = 30.0
READING_WAIT_SECS: Final = 30.0


class Desk:
    """By itself it wakes nobody: what was asked is found at the next look."""

    def __init__(self, store: Store, settings: TokenizationSettings, now_ms: NowMs) -> None:
        self._polls = Polls(store)
        self._shelf = ConfigShelf(store, settings)
        self._views = Views(store)
        self._asking = Asking(store, self._views)
        self._jobs = BackfillJobs(store, now_ms)

    def wake(self) -> None:
        """Something was asked for."""

    async def poll_now(self, wait_secs: float = POLL_WAIT_SECS) -> PollResult:
        """Have a poll made now, with auto-mint off, too; what it did, unfinished after `wait_secs`."""
        number = await self._polls.ask()
        self.wake()
        return await self._polls.outcome(number, wait_secs)

    async def config(self) -> MintingConfig:
        return await self._shelf.get()

    async def set_config(
        self,
        *,
        auto_mint_enabled: bool | None = None,
        polling_interval_secs: float | None = None,
        batch_size: int | None = None,
    ) -> MintingConfig:
        """Change what is given; what is in force then. `BadRequest(INVALID_FIELD)` out of bounds."""
        changed = await self._shelf.change(
            auto_mint_enabled=auto_mint_enabled,
            polling_interval_secs=polling_interval_secs,
            batch_size=batch_size,
        )
        self.wake()
        return changed

    async def mint_reading(self, key: bytes, wait_secs: float = READING_WAIT_SECS) -> MintingStatus:
        """Mint one reading, with auto-mint off, too; how far it is after `wait_secs` at most. `key` as of
        `reading_key`. `NotFound(READING_UNKNOWN)`, or `MINTING_FORBIDS` when it is held or rejected."""
        await self._asking.ask(key)
        self.wake()
        return await self._asking.outcome(key, wait_secs)

    async def requeue(self, key: bytes) -> MintingStatus:
        """Take a reading of the retry queue again now; a dead one begins to count anew."""
        status = await self._asking.requeue(key)
        self.wake()
        return status

    async def status(self, key: bytes) -> MintingStatus:
        """Where a reading is; `NotFound(READING_UNKNOWN)`."""
        return await self._views.status(key)

    async def unminted(self, limit: int, cursor: str | None = None) -> Listed:
        """Readings that are not minted, oldest first."""
        return await self._views.unminted(limit, cursor)

    async def retries(self, limit: int, cursor: str | None = None) -> Listed:
        """The retry queue, by when each is taken next; dead ones last."""
        return await self._views.retries(limit, cursor)

    async def backfill(
        self, from_ms: int, to_ms: int, *, meter: str | None = None, wallet: str | None = None
    ) -> str:
        """Make readings of old intervals due that are not minted, dead ones too; the job's id."""
        job_id = await self._jobs.start(from_ms, to_ms, meter, wallet)
        self.wake()
        return job_id

    async def backfill_status(self, job_id: str) -> Document:
        """The job as it is kept (backfill.py); `NotFound`."""
        return await self._jobs.status(job_id)
