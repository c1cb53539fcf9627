"""The asynchronous side of verification: few plain scripts run at once, others in worker processes.

The native VM never lets go of the interpreter, so a costly script would stop every other client; in a
process of its own it can be timed, bounded in memory, and killed.
"""

from __future__ import annotations

import asyncio

from config.errors import BadRequest, Busy, ErrorCode
from overlay.envelope import Envelope
from overlay.helper import Helper
from overlay.verify import Roots, SpendJob, VerifyLimits, are_plain, prepare, run, runs_inline
from overlay.verify_worker import encode_jobs


class Verifier:
    """Verifies envelopes against a header chain. One event loop; `close` ends its workers."""

    def __init__(
        self,
        roots: Roots,
        limits: VerifyLimits | None = None,
        *,
        timeout_secs: float = 5,
        waiting: int = 64,
        memory_mib: int = 1024,
    ) -> None:
        self._roots = roots
        self._limits = limits or VerifyLimits()
        # Scripts of unknown cost have a queue of their own: those of known shape need not wait behind them.
        self._plain_worker = ScriptWorker(timeout_secs, waiting, memory_mib)
        self._worker = ScriptWorker(timeout_secs, waiting, memory_mib)

    async def verify(self, envelope: Envelope) -> None:
        """Return when the envelope is valid; `BadRequest` as `overlay.verify.prepare` and `run` raise it,
        `Busy` when too many costly scripts wait already."""
        jobs = prepare(envelope, self._roots, self._limits)
        if runs_inline(jobs, self._limits):
            for job in jobs:
                run(job)
        elif are_plain(jobs, self._limits):
            await self._plain_worker.run(jobs)
        else:
            await self._worker.run(jobs)

    async def close(self) -> None:
        await self._plain_worker.close()
        await self._worker.close()


class ScriptWorker:
    """One worker process, started when first needed and again after it was killed."""

    def __init__(self, timeout_secs: float, waiting: int, memory_mib: int) -> None:
        self._timeout_secs = timeout_secs
        self._most_waiting = waiting
        self._waiting = 0
        self._helper = Helper("overlay.verify_worker", str(memory_mib), str(timeout_secs + 1))
        # One request and its reply at a time.
        self._lock = asyncio.Lock()

    async def run(self, jobs: list[SpendJob]) -> None:
        """Run the scripts; `BadRequest` with SCRIPT_INVALID or SCRIPT_TOO_COSTLY, `Busy` when too many wait."""
        if self._waiting >= self._most_waiting:
            raise Busy("too many costly scripts are waiting to be verified", retry_after_secs=self._timeout_secs)
        self._waiting += 1
        try:
            async with self._lock:
                failure = await self._failure(jobs)
                code, _, reason = failure.partition(" ")
                if code == ErrorCode.SCRIPT_TOO_COSTLY:
                    # What memory it still holds would be missing in the next run.
                    await self._helper.stop()
        finally:
            self._waiting -= 1
        if failure:
            raise BadRequest(reason, ErrorCode(code))

    async def _failure(self, jobs: list[SpendJob]) -> str:
        """An error code, a space and what failed; empty when nothing did."""
        try:
            async with asyncio.timeout(self._timeout_secs):
                return (await self._helper.ask(encode_jobs(jobs))).decode()
        except TimeoutError as error:
            raise BadRequest(
                f"the scripts did not end within {self._timeout_secs:g} seconds", ErrorCode.SCRIPT_TOO_COSTLY
            ) from error
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise BadRequest("the scripts brought down their verifier", ErrorCode.SCRIPT_TOO_COSTLY) from error

    async def close(self) -> None:
        async with self._lock:
            await self._helper.stop()
