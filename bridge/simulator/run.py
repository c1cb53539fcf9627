"""A run: meters that read at their own clocks' intervals, workers that hand in, and one that follows the mints."""

from __future__ import annotations

import asyncio
import contextlib
from asyncio import TaskGroup
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeAlias

from bridge.simulator.backlog import Backlog, Due
from bridge.simulator.gateway import Gateway, Sleep
from bridge.simulator.handing_in import HandingIn
from bridge.simulator.meter import Meter
from bridge.simulator.minted import Following
from bridge.simulator.tally import Tally

WORKERS: Final = 16
BACKLOG: Final = 100_000

Work: TypeAlias = Callable[[], Awaitable[None]]


class Run:
    """`count` is the number of intervals, None for until it is told to stop. A reading that cannot be handed in
    waits, and the oldest is dropped and counted when `backlog` of them do."""

    def __init__(
        self,
        fleet: Sequence[Meter],
        gateway: Gateway,
        *,
        count: int | None = None,
        readings_a_call: int = 1,
        backlog: int = BACKLOG,
        wait_secs: float | None = None,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self.tally = Tally()
        self.backlog = Backlog(backlog)
        self.following = Following(gateway, self.tally)
        self._fleet = fleet
        self._count = count
        self._sleep = sleep
        self._wait_secs = wait_secs
        self._workers = [
            HandingIn(gateway, self.backlog, self.tally, self.following, readings_a_call) for _ in range(WORKERS)
        ]
        for meter in fleet:
            self.tally.kinds[meter.site.kind].meters += 1

    async def go(self, stop: asyncio.Event, leave: asyncio.Event, settle: Work | None = None) -> None:
        """Read and hand in until all intervals are counted, or `stop`; then hand in the rest, and `settle`, for
        `wait_secs` at most, or until `leave`."""
        async with TaskGroup() as group:
            helpers = [group.create_task(worker.work()) for worker in self._workers]
            helpers.append(group.create_task(self.following.work()))
            try:
                await _unless(stop, self._read_all())
                await _unless(leave, self._end(settle))
            finally:
                for helper in helpers:
                    helper.cancel()

    async def _end(self, settle: Work | None) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._wait_secs):
                await self.backlog.emptied()
                if settle is not None:
                    await settle()

    async def _read_all(self) -> None:
        async with TaskGroup() as group:
            for meter in self._fleet:
                group.create_task(self._read(meter))

    async def _read(self, meter: Meter) -> None:
        """One meter's intervals, each once it is over by the meter's clock; those of a sleep are made up for."""
        start_ms, done = meter.current_start_ms(), 0
        while self._count is None or done < self._count:
            await self._sleep(meter.clock.secs_until(start_ms + meter.interval_ms))
            await self._take(meter, start_ms)
            start_ms, done = start_ms + meter.interval_ms, done + 1

    async def _take(self, meter: Meter, start_ms: int) -> None:
        measured, count = meter.measured(start_ms), self.tally.kinds[meter.site.kind]
        count.taken += 1
        if measured.energy.surplus_mwh <= 0:
            count.skipped += 1
            return
        gone = await self.backlog.put(Due(meter.site.kind, measured, meter.signed(measured)))
        if gone is not None:
            self.tally.kinds[gone.kind].dropped += 1


async def _unless(event: asyncio.Event, work: Awaitable[Any]) -> None:
    """Await the work, or give it up at the event."""
    doing = asyncio.ensure_future(work)
    waiting = asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait({doing, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if doing.done():
            doing.result()
    finally:
        doing.cancel()
        waiting.cancel()
        await asyncio.gather(doing, waiting, return_exceptions=True)
