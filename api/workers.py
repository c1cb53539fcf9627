"""Further processes that serve at the node's port, so that a node has the use of all cores.

Each is a whole node on the same database, without the background work that one process does for all. The
kernel spreads connections over them. That they admit exactly once between them is the store's doing: nothing
here is shared but the port.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import TypeAlias

import structlog

from config.processors import allowed, let_roam
from config.settings import Settings

_MOST_BY_DEFAULT = 4
_RESPAWN_SECS = 1.0
_STOP_SECS = 5.0

Work: TypeAlias = Callable[[Settings, int, Connection, Sequence[int], int], None]

log = structlog.get_logger("metawatt.workers")


def worker_count(settings: Settings) -> int:
    """How many processes serve. The dev network has one: its chain lives in that process."""
    if settings.node.network == "dev":
        return 1
    return settings.node.workers or min(os.cpu_count() or 1, _MOST_BY_DEFAULT)


def places(settings: Settings) -> list[int]:
    """The processor that each process keeps to, the first one's first; none when they run anywhere."""
    processors, count = allowed(), worker_count(settings)
    return processors if settings.node.pin_workers and len(processors) == count > 1 else []


class Crew:
    """The processes beside the first, each running `work(settings, port, pipe, places, number)`. One that dies is
    replaced; the pipe becomes readable when the first process ends, however it ends."""

    def __init__(self, settings: Settings, work: Work, places: Sequence[int] = ()) -> None:
        self._settings = settings
        self._work = work
        self._places = places
        self._count = worker_count(settings) - 1
        self._context = multiprocessing.get_context("spawn")
        self._keepers: list[asyncio.Task[None]] = []
        self._processes: dict[int, SpawnProcess] = {}

    def start(self, port: int) -> None:
        self._keepers = [asyncio.create_task(self._keep(number, port)) for number in range(1, self._count + 1)]

    async def stop(self) -> None:
        """Let them finish what is under way, within the node's time."""
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        for process in self._processes.values():
            process.terminate()
        deadline = self._settings.node.shutdown_secs + _STOP_SECS
        await asyncio.gather(*[_ended(process, deadline) for process in self._processes.values()])

    async def _keep(self, number: int, port: int) -> None:
        while True:
            reading, writing = self._context.Pipe(duplex=False)
            process = self._context.Process(
                target=self._work,
                args=(self._settings, port, reading, self._places, number),
                name=f"metawatt worker {number}",
            )
            process.start()
            assert process.pid is not None
            let_roam(process.pid)  # or it would read its modules on this one's processor
            reading.close()
            self._processes[number] = process
            log.info("worker started", worker=number, pid=process.pid)
            await _sentinel(process)
            writing.close()
            log.error("worker died", worker=number, exit_code=process.exitcode)
            await asyncio.sleep(_RESPAWN_SECS)


async def _sentinel(process: SpawnProcess) -> None:
    """Return when a process has ended."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(process.sentinel, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(process.sentinel)


async def _ended(process: SpawnProcess, timeout_secs: float) -> None:
    try:
        async with asyncio.timeout(timeout_secs):
            await _sentinel(process)
    except TimeoutError:
        log.warning("worker killed: it did not stop in time", pid=process.pid)
        process.kill()
        await _sentinel(process)
    process.join()
