"""Background work of a node: following the chain, tending the engine, asking for proofs.

Each loop survives the failure of a round: it is logged, and the next round tries again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

import structlog

from config.errors import MetawattError, Unavailable
from config.settings import Settings
from overlay.engine import Engine

_TEND_SECS = 1.0
_SWEEP_SECS = 30.0

log = structlog.get_logger("metawatt.background")


class Background:
    """The loops of one process; all but following the chain run in the `primary` process only."""

    def __init__(self, engine: Engine, settings: Settings, *, primary: bool = True) -> None:
        self._primary = primary
        self._engine = engine
        self._settings = settings
        self._tasks: list[asyncio.Task[None]] = []
        self._new_block = asyncio.Event()

    def start(self) -> None:
        loops = [self._follow_chain]
        if self._primary:
            loops += [self._tend, self._ask_for_proofs, self._sweep]
        self._tasks = [asyncio.create_task(loop(), name=loop.__name__) for loop in loops]

    async def stop(self, timeout_secs: float) -> None:
        """End the loops; then one last round of the outbox, within the time given."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if not self._primary:
            return
        try:
            async with asyncio.timeout(timeout_secs):
                await self._round(self._engine.tend)
        except TimeoutError:
            log.warning("the outbox was not emptied; its work goes on at the next start")

    async def _follow_chain(self) -> None:
        while True:
            await asyncio.sleep(self._settings.chain.poll_secs)
            height = self._engine.headers.tip_height
            await self._round(self._engine.headers.sync)
            if self._engine.headers.tip_height != height:
                self._new_block.set()

    async def _tend(self) -> None:
        while True:
            await self._round(self._engine.tend)
            await _woken(self._engine.stirred, _TEND_SECS)

    async def _ask_for_proofs(self) -> None:
        """All missing proofs when there is a new block; in between, some, for what the network refuses."""
        engine = self._settings.engine
        while True:
            mined = await _woken(self._new_block.wait, engine.proof_poll_secs)
            self._new_block.clear()
            limit = None if mined else engine.proof_poll_batch
            await self._round(partial(self._engine.refresh_proofs, limit))

    async def _sweep(self) -> None:
        while True:
            await self._round(self._engine.mend)
            await asyncio.sleep(_SWEEP_SECS)

    async def _round(self, work: Callable[[], Awaitable[object]]) -> None:
        try:
            await work()
        except Unavailable as error:
            log.warning("put off", work=_name(work), reason=error.message)
        except MetawattError as error:
            log.error("failed", work=_name(work), code=error.code, reason=error.message)
        except Exception:
            log.exception("failed", work=_name(work))


async def _woken(event: Callable[[], Awaitable[object]], most_secs: float) -> bool:
    """Return at the event, or when the time is up; whether it was the event."""
    try:
        async with asyncio.timeout(most_secs):
            await event()
    except TimeoutError:
        return False
    return True


def _name(work: Callable[[], Awaitable[object]]) -> str:
    return getattr(work.func if isinstance(work, partial) else work, "__name__", "work")
