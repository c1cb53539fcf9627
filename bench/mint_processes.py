"""The processes of a minting campaign: the embedded cluster, and workers that are killed again and again."""

from __future__ import annotations

import asyncio
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final

from bench.mint_worker import Kind, Step

AT_RANDOM: Final = "at random"
_START_SECS: Final = 30.0
_END_SECS: Final = 20.0


class Broken(Exception):
    """The campaign itself does not work; nothing is said of the worker."""


@asynccontextmanager
async def cluster_process(folder: Path, slot_ms: int) -> AsyncIterator[tuple[str, str]]:
    """`metawatt solana` on free ports; its URLs for calls and for notices."""
    command = ["-c", "from cli.main import main; main()", "solana", "--port", "0", "--slot-ms", str(slot_ms)]
    with (folder / "cluster.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, *command, "--data-dir", str(folder), stdout=PIPE, stderr=log
        )
    try:
        yield await _said(process, "JSON-RPC"), await _said(process, "WebSocket")
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _said(process: Process, name: str) -> str:
    assert process.stdout is not None
    async with asyncio.timeout(_START_SECS):
        while line := (await process.stdout.readline()).decode():
            if line.strip().startswith(name):
                return line.split()[-1]
    raise Broken("the cluster ended at once")


@dataclass(frozen=True, slots=True)
class Command:
    """What all workers of a campaign are started with."""

    kind: Kind
    folder: Path
    arguments: Sequence[str]


class Worker:
    """One worker's process, one life after the other. `deaths` counts by where they came."""

    def __init__(self, command: Command, number: int) -> None:
        self._command = command
        self._log = command.folder / f"worker{number}.log"
        self._process: Process | None = None
        self.lives = 0
        self.deaths: Counter[str] = Counter()

    async def start(self, doom: str | None = None) -> None:
        """A new life, until it is ready. It may die before."""
        self.lives += 1
        more = () if doom is None else ("--die-at", doom)
        command = [sys.executable, "-m", "bench.mint_worker", *self._command.arguments, *more]
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, stderr=log)
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(_START_SECS):
                line = await self._process.stdout.readline()
        except TimeoutError:
            raise Broken(f"a worker does not start: {self._log.read_text()}") from None
        if line != b"ready\n":
            raise Broken(f"a worker ended at its start: {self._log.read_text()}")

    async def die(self, step: Step | None, secs: float) -> None:
        """Wait until it has died at its step; after `secs`, kill it wherever it is."""
        assert self._process is not None
        try:
            async with asyncio.timeout(secs):
                await self._process.wait()
        except TimeoutError:
            step = None
            self._process.kill()
            await self._process.wait()
        self._ended(-signal.SIGKILL)
        self.deaths[AT_RANDOM if step is None else step] += 1

    async def stop(self) -> None:
        """End its life in good order."""
        process = self._process
        assert process is not None and process.stdin is not None
        process.stdin.close()
        try:
            async with asyncio.timeout(_END_SECS):
                await process.wait()
        except TimeoutError:
            raise Broken(f"a worker does not stop: {self._log.read_text()[-4000:]}") from None
        self._ended(0)

    def _ended(self, wanted: int) -> None:
        process, self._process = self._process, None
        if process is None or process.returncode != wanted:
            code = None if process is None else process.returncode
            raise Broken(f"a worker ended by itself with {code}: {self._log.read_text()[-4000:]}")

    async def end(self) -> None:
        """Whatever happened, leave no process behind."""
        if self._process is not None:
            if self._process.returncode is None:
                self._process.kill()
            await self._process.wait()
            self._process = None


@dataclass(slots=True)
class Fate:
    """When and where workers die: at every named step in turn, and at random moments."""

    chance: Random
    kind: Kind
    _deck: list[Step] = field(default_factory=list)

    def draw(self) -> tuple[Step | None, int]:
        """The step and how many of its kind it takes; no step for a random moment."""
        if self.chance.random() < 0.25:
            return None, 0
        if not self._deck:
            self._deck = list(self.kind.steps)
            self.chance.shuffle(self._deck)
        return self._deck.pop(), self.chance.choice((1, 1, 2, 3, 7, 20))

    async def rule(self, worker: Worker) -> None:
        """One life and death after the other, until cancelled."""
        while True:
            step, times = self.draw()
            await worker.start(None if step is None else f"{step}:{times}")
            await worker.die(step, self.chance.uniform(0.05, 2) if step is None else self.chance.uniform(1, 4))
