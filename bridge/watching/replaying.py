"""Replays: the history from a slot on applied anew, as a job that an operator starts and looks at.

A replay may be repeated, and broken off: rows are keyed by the chain's own order, and what is found again
replaces what was there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final
from uuid import uuid4

import structlog

from bridge.records import JOBS
from bridge.solana.rpc import SolanaRpc
from bridge.watching.cursor import HistoryGap
from bridge.watching.follower import Follower
from config.errors import Busy, ErrorCode, MetawattError, Unavailable
from overlay.clock import NowMs
from store.port import Document, Find, Insert, Patch, Store

KIND: Final = "replay"
RUNNING: Final = "running"
DONE: Final = "done"
FAILED: Final = "failed"
INTERRUPTED: Final = "interrupted"
_LISTED: Final = 100
_SCANNED: Final = 1000
_PAUSES_SECS: Final = (0.5, 1.0, 2.0, 4.0, 8.0)
_CHANGING: Final = ("state", "slot", "transactions", "address", "error", "ended_ms")

log = structlog.get_logger("metawatt.watching")


class Replays:
    """One at a time. A job: `kind`, `state`, `from_slot`, `slot` (of the last transaction), `transactions` (how
    many), `address` (the name of the one at hand), `error`, `created_ms`, `ended_ms`."""

    def __init__(self, store: Store, rpc: SolanaRpc, followers: Sequence[Follower], now_ms: NowMs) -> None:
        self._store = store
        self._rpc = rpc
        self._followers = followers
        self._now_ms = now_ms
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Jobs that a stop of the node broke off are told to be."""
        for job in await self._jobs():
            if job["state"] == RUNNING:
                await self._save(job | {"state": INTERRUPTED, "ended_ms": self._now_ms()})

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def listed(self) -> list[Document]:
        """The last hundred jobs, newest first."""
        return (await self._jobs())[:_LISTED]

    async def begin(self, from_slot: int) -> Document:
        """Start a replay and answer with its job. Raises Busy while another is under way, `HistoryGap` when the
        cluster's history does not reach back so far."""
        self._demand_free()
        first_slot = await self._rpc.first_available_slot()
        if from_slot < first_slot:
            raise HistoryGap(f"the cluster's history begins at slot {first_slot}; a replay cannot begin before it")
        self._demand_free()
        job = self._job(from_slot)
        self._task = asyncio.create_task(self._run(job), name="replay")
        return job

    async def wait(self) -> None:
        """Until the replay that is under way is over, however it ends."""
        if self._task is not None:
            await asyncio.wait([self._task])

    def _demand_free(self) -> None:
        if self._task is not None and not self._task.done():
            raise Busy("A replay is under way", ErrorCode.OVERLOADED, retry_after_secs=10)

    def _job(self, from_slot: int) -> Document:
        return {
            "_id": str(uuid4()),
            "kind": KIND,
            "state": RUNNING,
            "from_slot": from_slot,
            "slot": None,
            "transactions": 0,
            "address": None,
            "error": None,
            "created_ms": self._now_ms(),
            "ended_ms": None,
        }

    async def _run(self, job: Document) -> None:
        try:
            await self._store.commit([Insert(JOBS, dict(job))])
            for follower in self._followers:
                await self._one(job, follower)
            job["state"] = DONE
        except MetawattError as error:
            job |= {"state": FAILED, "error": error.message}
            log.error("replay failed", job=job["_id"], code=error.code, reason=error.message)
        except Exception as error:
            job |= {"state": FAILED, "error": repr(error)}
            log.exception("replay failed", job=job["_id"])
        job["ended_ms"] = self._now_ms()
        await self._save(job)

    async def _one(self, job: Document, follower: Follower) -> None:
        """One address's history; where the cluster falters, it goes on from the slot that was reached."""
        job |= {"address": follower.watched.name, "slot": job["from_slot"]}

        async def progress(count: int, slot: int) -> None:
            job["transactions"] += count
            job["slot"] = slot
            await self._save(job)

        for pause_secs in (*_PAUSES_SECS, None):
            try:
                await follower.replay(job["from_slot"], job["slot"], progress)
                break
            except Unavailable as error:
                if pause_secs is None:
                    raise
                log.warning("replay put off", job=job["_id"], reason=error.message)
                await asyncio.sleep(pause_secs)

    async def _save(self, job: Document) -> None:
        changes = {name: job[name] for name in _CHANGING}
        await self._store.commit([Patch(JOBS, job["_id"], changes, expect={"state": RUNNING})])

    async def _jobs(self) -> list[Document]:
        page = await self._store.find(JOBS, Find("created", descending=True, limit=_SCANNED))
        return [job for job in page.documents if job["kind"] == KIND]
