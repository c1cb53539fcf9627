"""A BSV chain that goes wrong: blocks now and then, reorganisations of every depth below finality, with and without
the transactions that they had, so that who made them has to send them again."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

import aiohttp

_BLOCK_SECS: Final = (0.2, 1.2)
_REORG_SECS: Final = (1.5, 5.0)


@dataclass(slots=True)
class BsvWeather:
    """Over the dev chain at `url`. No reorganisation reaches `confirmations` blocks, which are final by the
    bridge's own setting."""

    session: aiohttp.ClientSession
    url: str
    chance: Random
    confirmations: int
    counts: Counter[str] = field(default_factory=Counter)

    async def blow(self) -> None:
        """Until cancelled."""
        await asyncio.gather(self._mine_on(), self._reorganise())

    async def mine(self, blocks: int = 1) -> None:
        await self.call("mine", {"blocks": blocks})
        self.counts["blocks"] += blocks

    async def call(self, name: str, body: dict[str, Any]) -> dict[str, Any]:
        async with self.session.post(f"{self.url}/dev/{name}", json=body) as response:
            response.raise_for_status()
            told: dict[str, Any] = await response.json()
            return told

    async def _mine_on(self) -> None:
        while True:
            await asyncio.sleep(self.chance.uniform(*_BLOCK_SECS))
            await self.mine()

    async def _reorganise(self) -> None:
        depths: list[int] = []
        while True:
            await asyncio.sleep(self.chance.uniform(*_REORG_SECS))
            if not depths:
                depths = list(range(1, self.confirmations))
                self.chance.shuffle(depths)
            depth, drop = depths.pop(), self.chance.random() < 0.4
            told = await self.call("reorg", {"depth": depth, "drop": drop})
            self.counts[f"reorgs of depth {depth}"] += 1
            self.counts["transactions unmined"] += len(told["returned"])
            self.counts["transactions dropped"] += len(told["lost"])
