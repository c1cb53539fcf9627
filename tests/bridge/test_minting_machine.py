"""Any order of faults, crashes and workers: what is minted on the chain is the sum of the readings, each once."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from api.solana.server import SolanaServer
from bridge.cluster.cluster import Cluster
from config.errors import Unavailable
from overlay.clock import system_now_ms
from store.sqlite import SqliteStore
from tests.bridge.minting_kit import Crash, Mint, NoLease, Steps

T = TypeVar("T")
MOST_LAG = 20
_RATES = st.sampled_from([0.0, 0.0, 0.1, 0.3])


class Campaign(RuleBasedStateMachine):
    """The model is one number: the units of all readings that were accepted. The chain may never show more, and
    shows just that much once everything is left in peace."""

    def __init__(self) -> None:
        super().__init__()
        self._runner = asyncio.Runner()
        self._folder = tempfile.TemporaryDirectory()
        self.units = 0

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)

    @initialize()
    def begin(self) -> None:
        self.run(self._begin())
        self.workers = [self.mint.minter(lease=NoLease(), batch_size=5) for _ in range(2)]

    async def _begin(self) -> None:
        folder = Path(self._folder.name)
        self.cluster_store = SqliteStore(folder / "solana.db", cache_mib=4)
        self.cluster = Cluster(self.cluster_store, network="dev", slot_ms=0, now_ms=system_now_ms)
        await self.cluster.open()
        self.server = SolanaServer(self.cluster, "127.0.0.1", 0)
        await self.server.start()
        self.mint = await Mint.open(self.cluster, self.server.rpc_url, SqliteStore(folder / "node.db", cache_mib=4))
        await self.cluster.advance(MOST_LAG)  # so that the mint is final to a node that lags, too

    @rule(count=st.integers(1, 6))
    def accept(self, count: int) -> None:
        keys = self.run(self.mint.accept(count))
        self.units += sum(self.run(self.mint.row(key))["units"] for key in keys)

    @rule(worker=st.integers(0, 1))
    def work(self, worker: int) -> None:
        self.run(self._round(worker))

    @rule()
    def work_at_once(self) -> None:
        async def both() -> None:
            await asyncio.gather(self._round(0), self._round(1))

        self.run(both())

    @rule(worker=st.integers(0, 1), crash_at=st.integers(1, 40))
    def crash(self, worker: int, crash_at: int) -> None:
        """A worker dies on its way, and another process takes its place."""
        doomed = self.mint.minter(lease=NoLease(), batch_size=5, steps=Steps(crash_at))

        async def die() -> None:
            with suppress(Crash, Unavailable):
                await doomed.round()

        self.run(die())
        self.workers[worker] = self.mint.minter(lease=NoLease(), batch_size=5)

    @rule(slots=st.sampled_from([1, 2, 5, 20, 60, 160, 230]))
    def pass_slots(self, slots: int) -> None:
        self.run(self.mint.pass_slots(slots, secs=slots * 0.4))

    @rule(depth=st.integers(1, 20), drop=st.booleans())
    def fork(self, depth: int, drop: bool) -> None:
        async def fork() -> None:
            await self.cluster.advance(depth + 1)
            await self.cluster.fork(depth, drop)

        self.run(fork())

    @rule(drop=_RATES, late=_RATES, lose=_RATES, deny=_RATES, lag=st.sampled_from([0, 0, 3, MOST_LAG]))
    def misbehave(self, drop: float, late: float, lose: float, deny: float, lag: int) -> None:
        self.cluster.faults.set(
            drop_rate=drop,
            late_rate=late,
            late_max_slots=200,
            lose_rate=lose,
            deny_rate=deny,
            lag_slots=lag,
        )

    async def _round(self, worker: int) -> None:
        with suppress(Unavailable):
            await self.workers[worker].round()

    @invariant()
    def never_more_than_was_measured(self) -> None:
        if hasattr(self, "mint"):
            assert self.run(self.mint.supply()) <= self.units

    def teardown(self) -> None:
        try:
            if hasattr(self, "mint"):
                self.run(self._settle())
        finally:
            self._runner.close()
            self._folder.cleanup()

    async def _settle(self) -> None:
        """Left in peace, everything is minted."""
        try:
            self.cluster.faults.set(drop_rate=0.0, late_rate=0.0, lose_rate=0.0, deny_rate=0.0, lag_slots=0)
            await self.mint.pass_slots(200)
            await self.mint.until_minted(*self.workers, slots=60)
            await self.mint.check()
            assert await self.mint.supply() == self.units
        finally:
            await self.mint.close()
            await self.server.stop()
            await self.cluster.close()
            await self.cluster_store.close()


Campaign.TestCase.settings = settings(
    max_examples=12,
    stateful_step_count=14,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestCampaign = Campaign.TestCase
