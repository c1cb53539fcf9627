"""The processes of a bridge campaign: the BSV chain, the Solana cluster, and bridges that are killed again and
again.

The BSV chain is a node on the dev network with nothing but its chain switched on. The bridges are whole nodes on
network `test`, which reach both chains by HTTP, as those of operators do; two of them share one database.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final

from bench.bridge_worker import Kind
from bench.mint_processes import Broken
from bridge.mirror.states import State

AT_RANDOM: Final = "at random"
_START_SECS: Final = 60.0
_END_SECS: Final = 30.0
_STEPS: Final = [f"{when}:{state}" for when in ("before", "after") for state in State]


@asynccontextmanager
async def bsv_process(folder: Path) -> AsyncIterator[str]:
    """The dev chain's node; its URL."""
    folder.mkdir(parents=True, exist_ok=True)
    off = {f"METAWATT_{part}__ENABLED": "false" for part in ("REGISTRY", "METERS", "BRIDGE")}
    settings = {**off, "METAWATT_NODE__PORT": "0", "METAWATT_NODE__DATA_DIR": str(folder)}
    with (folder / "chain.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "bench.bridge_worker"),
            stdin=PIPE,
            stdout=PIPE,
            stderr=log,
            env=os.environ | settings,
        )
    try:
        yield f"http://127.0.0.1:{await _ready(process, folder / 'chain.log')}"
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _ready(process: Process, log: Path) -> int:
    assert process.stdout is not None
    try:
        async with asyncio.timeout(_START_SECS):
            line = (await process.stdout.readline()).decode()
    except TimeoutError:
        raise Broken(f"it does not start: {log.read_text()[-4000:]}") from None
    if not line.startswith("ready "):
        raise Broken(f"it ended at its start: {log.read_text()[-4000:]}")
    return int(line.split()[1])


class Bridge:
    """One bridge's process, one life after the other; `url` is None while it does not live."""

    def __init__(self, kind: Kind, folder: Path, number: int, settings: Mapping[str, str]) -> None:
        self._kind = kind
        self._settings = settings
        self._log = folder / f"bridge{number}.log"
        self._process: Process | None = None
        self.url: str | None = None
        self.lives = 0
        self.deaths: Counter[str] = Counter()

    async def start(self, doom: str | None = None, clock: tuple[int, int] = (0, 0)) -> None:
        """A new life, until it is ready. It may die before, of its doom."""
        self.lives += 1
        more = [] if doom is None else ["--die-at", doom]
        off_ms, jump_ms = clock
        more += [f"--clock-ms={off_ms}", f"--jump-ms={jump_ms}"]
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "bench.bridge_worker", "--kind", self._kind, *more),
                stdin=PIPE,
                stdout=PIPE,
                stderr=log,
                env=os.environ | dict(self._settings),
            )
        try:
            self.url = f"http://127.0.0.1:{await _ready(self._process, self._log)}"
        except Broken:
            if self._process.returncode != -signal.SIGKILL and await self._process.wait() != -signal.SIGKILL:
                raise

    async def die(self, step: str | None, secs: float) -> None:
        """Wait until it has died at its step; after `secs`, kill it wherever it is."""
        assert self._process is not None
        try:
            async with asyncio.timeout(secs):
                await self._process.wait()
        except TimeoutError:
            step = None
            self._process.kill()
            await self._process.wait()
        if self._process.returncode != -signal.SIGKILL:
            raise Broken(f"a bridge ended with {self._process.returncode}: {self._log.read_text()[-4000:]}")
        self.url, self._process = None, None
        self.deaths[AT_RANDOM if step is None else step] += 1

    async def stop(self) -> None:
        """End its life in good order."""
        process = self._process
        assert process is not None
        assert process.stdin is not None
        process.stdin.close()
        try:
            async with asyncio.timeout(_END_SECS):
                code = await process.wait()
        except TimeoutError:
            raise Broken(f"a bridge does not stop: {self._log.read_text()[-4000:]}") from None
        self.url, self._process = None, None
        if code:
            raise Broken(f"a bridge stopped with {code}: {self._log.read_text()[-4000:]}")

    async def end(self) -> None:
        """Whatever happened, leave no process behind."""
        if self._process is not None:
            if self._process.returncode is None:
                self._process.kill()
            await self._process.wait()
            self.url, self._process = None, None


@dataclass(slots=True)
class Fate:
    """When and where bridges die, and how far their clocks are off. One that sends before it records dies in
    between, mostly: elsewhere it is as good as any."""

    chance: Random
    kind: Kind
    _deck: list[str] = field(default_factory=list)

    async def rule(self, bridge: Bridge) -> None:
        """One life and death after the other, until cancelled."""
        while True:
            step = self._draw()
            times = self.chance.choice((1, 1, 2, 5))
            await bridge.start(None if step is None else f"{step}:{times}", self._clock())
            await bridge.die(step, self.chance.uniform(1, 10) if step is None else self.chance.uniform(12, 20))

    def _draw(self) -> str | None:
        if self.chance.random() < 0.15:
            return None
        if self.kind is Kind.UNRECORDED:
            return f"before:{State.DST_SIGNED}"
        if not self._deck:
            self._deck = list(_STEPS)
            self.chance.shuffle(self._deck)
        return self._deck.pop()

    def _clock(self) -> tuple[int, int]:
        """Mostly right; sometimes minutes off, and sometimes it jumps, either way."""
        off_ms = self.chance.choice((0, 0, 0, -90_000, 90_000))
        return off_ms, self.chance.choice((0, 0, 0, -120_000, 120_000))


def settings_of(
    folder: Path,
    bsv_url: str,
    rpc_url: str,
    ws_url: str,
    mint: str,
    issuers: Sequence[str],
    confirmations: int,
) -> dict[str, str]:
    """The environment of the bridges of a campaign."""
    trusted = [{"identity_key": key, "name": f"issuer {number}"} for number, key in enumerate(issuers)]
    port = rpc_url.rpartition(":")[2]
    return {
        "METAWATT_NODE__NETWORK": "test",
        "METAWATT_NODE__PORT": "0",
        "METAWATT_NODE__WORKERS": "1",
        "METAWATT_NODE__DATA_DIR": str(folder),
        "METAWATT_CHAIN__HEADERS_URL": f"{bsv_url}/dev/headers",
        "METAWATT_CHAIN__ARC_URL": f"{bsv_url}/dev/arc",
        "METAWATT_CHAIN__FIRST_HEIGHT": "0",
        "METAWATT_CHAIN__POLL_SECS": "0.2",
        "METAWATT_ENGINE__PROOF_POLL_SECS": "0.3",
        "METAWATT_TOPICS__ISSUERS": json.dumps(trusted),
        "METAWATT_SOLANA__RPC_URL": rpc_url,
        "METAWATT_SOLANA__WS_URL": ws_url,
        "METAWATT_SOLANA__MINT": mint,
        "METAWATT_SOLANA__KEY_FILE": str(folder / "minter.json"),
        "METAWATT_BRIDGE__ENABLED": "true",
        "METAWATT_BRIDGE__KEY_FILE": str(folder / "bridge.json"),
        "METAWATT_BRIDGE__WITNESS_RPC_URLS": json.dumps([f"http://localhost:{port}"]),
        "METAWATT_BRIDGE__CONFIRMATIONS": str(confirmations),
        "METAWATT_BRIDGE__LARGE_CONFIRMATIONS": str(confirmations + 1),
        "METAWATT_BRIDGE__PARITY_SECS": "5",
        "METAWATT_TOKENIZATION__POLLING_INTERVAL_SECS": "0.5",
        "METAWATT_TOKENIZATION__INITIAL_RETRY_DELAY_MINUTES": "0.02",
        "METAWATT_TOKENIZATION__MAX_RETRY_DELAY_MINUTES": "0.05",
        "METAWATT_LOG__LEVEL": "warning",
    }
