"""Backfills: old readings that are not minted are made due, by interval, meter or wallet, as jobs that survive.

A job is carried out by whoever mints, a page at a time; how far it is, is part of the page's commit.

A job: _id (a UUID) · kind · created_ms · state (running, done) · from_ms, to_ms (of intervals; `to_ms` exclusive) ·
meter, wallet · position (where the walk is) · examined, made_due · ended_ms
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import uuid4

from bridge.minting import changes
from bridge.minting.context import Context
from bridge.minting.retry import ASKED_MS
from bridge.records import CONFIG, JOBS, READINGS, ReadingState
from config.errors import BadRequest, Busy, ErrorCode, NotFound
from overlay.clock import NowMs
from store.port import Conflict, Document, Find, Insert, Patch, Store, Write

KIND: Final = "backfill-mint"
MOST_RUNNING: Final = 16
_KEY: Final = "minting-backfills"
_PAGE: Final = 500
_TRIES: Final = 5
_MOST_MS: Final = 2**48 - 1
_REVIVED: Final = (ReadingState.ACCEPTED, ReadingState.RETRY, ReadingState.DEAD)


class BackfillJobs:
    """The jobs of one store."""

    def __init__(self, store: Store, now_ms: NowMs) -> None:
        self._store = store
        self._now_ms = now_ms

    async def start(self, from_ms: int, to_ms: int, meter: str | None, wallet: str | None) -> str:
        """Write a job down; its id. `BadRequest(RANGE_INVALID)` for an empty range, `Busy` beyond the bound."""
        if not 0 <= from_ms < to_ms <= _MOST_MS:
            raise BadRequest("from must be before to", ErrorCode.RANGE_INVALID)
        job = _job(str(uuid4()), self._now_ms(), from_ms, to_ms, meter, wallet)
        for _ in range(_TRIES):
            running = await self.running()
            if len(running) >= MOST_RUNNING:
                raise Busy("too many backfills are under way", retry_after_secs=60)
            try:
                await self._store.commit([Insert(JOBS, job), *await self._listing(running, [*running, job["_id"]])])
            except Conflict:
                continue
            return str(job["_id"])
        raise Busy("backfills are being asked for by others")

    async def status(self, job_id: str) -> Document:
        """The job; `NotFound` when there is none."""
        job = await self._store.get(JOBS, job_id)
        if job is None or job["kind"] != KIND:
            raise NotFound(f"There is no backfill {job_id}")
        return job

    async def running(self) -> list[str]:
        """The ids of jobs that are not done."""
        row = await self._store.get(CONFIG, _KEY)
        return [] if row is None else list(row["running"])

    async def _listing(self, before: Sequence[str], after: Sequence[str]) -> list[Write]:
        if not before and await self._store.get(CONFIG, _KEY) is None:
            return [Insert(CONFIG, {"_id": _KEY, "running": list(after)})]
        return [Patch(CONFIG, _KEY, {"running": list(after)}, expect={"running": list(before)})]

    async def ended(self, job_id: str) -> list[Write]:
        """The writes that take a job off the list."""
        running = await self.running()
        return await self._listing(running, [each for each in running if each != job_id])


class Backfilling:
    """Carries jobs out, under the minter's lease."""

    def __init__(self, context: Context, jobs: BackfillJobs) -> None:
        self._context = context
        self._jobs = jobs

    async def step(self) -> bool:
        """A page of the oldest job; False when there is none."""
        running = await self._jobs.running()
        if not running:
            return False
        job = await self._jobs.status(running[0])
        position = None if job["position"] is None else tuple(job["position"])
        page = await self._context.store.find(READINGS, _find(job, position))
        chosen = [row for row in page.documents if _is_chosen(row, job)]
        writes: list[Write] = [changes.asked(row) for row in chosen]
        progress: dict[str, Any] = {
            "position": None if page.last is None else list(page.last),
            "examined": job["examined"] + len(page.documents),
            "made_due": job["made_due"] + len(chosen),
        }
        if page.last is None:
            progress |= {"state": "done", "ended_ms": self._context.now_ms()}
            writes += await self._jobs.ended(job["_id"])
        expect = {"examined": job["examined"], "state": "running"}
        # A reading that moved meanwhile makes this page be read again.
        await self._context.commit([*writes, Patch(JOBS, job["_id"], progress, expect=expect)])
        return True


def _job(job_id: str, now_ms: int, from_ms: int, to_ms: int, meter: str | None, wallet: str | None) -> Document:
    return {
        "_id": job_id,
        "kind": KIND,
        "created_ms": now_ms,
        "state": "running",
        "from_ms": from_ms,
        "to_ms": to_ms,
        "meter": meter,
        "wallet": wallet,
        "position": None,
        "examined": 0,
        "made_due": 0,
        "ended_ms": None,
    }


def _find(job: Mapping[str, Any], position: tuple[Any, ...] | None) -> Find:
    """The narrowest walk: a meter's or a wallet's readings by interval, or all, whose keys begin with it."""
    for index in ("meter", "wallet"):
        if job[index] is not None:
            equals = {index: job[index]}
            return Find(index, equals, job["from_ms"], job["to_ms"], limit=_PAGE, after=position)
    lower, upper = (job[name].to_bytes(6, "big") for name in ("from_ms", "to_ms"))
    return Find(lower=lower, upper=upper, limit=_PAGE, after=position)


def _is_chosen(row: Document, job: Mapping[str, Any]) -> bool:
    if job["wallet"] is not None and row["wallet"] != job["wallet"]:
        return False
    return row["state"] in _REVIVED and row["due_ms"] != ASKED_MS
