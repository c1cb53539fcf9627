"""What every part of the minter works with."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from bridge.minting.flights import Flights
from bridge.minting.lease import Lease
from bridge.minting.lookup import Lookup
from bridge.minting.measures import MintingMeasures
from bridge.minting.orders import Ground
from bridge.minting.outcome import Outcome
from bridge.minting.retry import RetryPolicy
from bridge.notices import Tell
from bridge.programs.mode import MintMode, Order
from bridge.solana.rpc import SolanaRpc
from config.settings import TokenizationSettings
from overlay.clock import NowMs
from store.port import Conflict, Store, Write


@dataclass(frozen=True, slots=True)
class Context:
    """One minter's store, cluster, way to mint, lease and memory.

    `turn` is held by whoever of this process settles final transactions, from the look at their rows to the commit:
    the minter and the event processor do, of the same ones. Between processes the commits' own conditions decide.
    """

    store: Store
    rpc: SolanaRpc
    mode: MintMode
    lease: Lease
    settings: TokenizationSettings
    now_ms: NowMs
    tell: Tell
    measures: MintingMeasures
    flights: Flights
    ground: Ground[Order]
    lookup: Lookup[Order]
    retry: RetryPolicy = field(init=False)
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        object.__setattr__(self, "retry", RetryPolicy.of(self.settings))

    async def commit(self, writes: Sequence[Write]) -> bool:
        """All writes under the lease's fence; False when some row is no longer as it was read. Raises `Lost`."""
        try:
            await self.store.commit([*self.lease.guard(), *writes])
        except Conflict:
            await self.lease.demand()
            return False
        return True

    def outcome(self) -> Outcome:
        """An empty one."""
        return Outcome(self.now_ms(), self.retry)

    async def conclude(self, outcome: Outcome) -> bool:
        """Commit an outcome, and tell of it; False when some row is no longer as it was read."""
        if not await self.commit(outcome.writes):
            return False
        outcome.publish(self.tell, self.measures)
        return True
