"""A cluster that goes wrong in every way it can, for as long as it is told to: drawn from a seed.

Gusts of about two seconds, each with its own rates of drops, late landings, lost answers and "not found" lies, and
its own lag; lasting denials of certain transactions, longer than a blockhash lives; forks below finality, with all,
some or none of their transactions landing again.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

from bench.chain_reader import Chain, RpcError

GUST_SLOTS: Final = 80
LATEST_SLOTS: Final = 145
MOST_LAG_SLOTS: Final = 24
"""A transaction that lands so late lands just before its blockhash is too old."""
_DENIED_GUSTS: Final = 5
_DEEPEST: Final = 28
_DENIALS: Final = 4
_DENIED_AT_ONCE: Final = 4
"""Of the transactions that are not final at one moment."""


@dataclass(slots=True)
class Weather:
    """Bad weather over the cluster of `chain`, until `clear`."""

    chain: Chain
    chance: Random
    slot_ms: int
    mint: str
    counts: Counter[str] = field(default_factory=Counter)
    _gusts: int = 0

    async def blow(self) -> None:
        """Until cancelled."""
        await asyncio.gather(self._gusts_blow(), self._forks())

    async def clear(self) -> None:
        """No more faults; what was still to land late lands, or is too old."""
        await self._count(await self.chain.call("dev_faults", {"clear": True}))
        await self.chain.call("dev_advance", LATEST_SLOTS + 10)

    async def _gusts_blow(self) -> None:
        while True:
            plan = self._plan()
            if self._gusts % _DENIED_GUSTS == 0:
                plan["clear"] = True
            self._gusts += 1
            await self._count(await self.chain.call("dev_faults", plan))
            for _ in range(_DENIALS):
                await asyncio.sleep(self._secs(GUST_SLOTS // _DENIALS))
                await self._deny()

    def _plan(self) -> dict[str, Any]:
        draw = self.chance.uniform
        late_min_slots = self.chance.randint(1, LATEST_SLOTS)
        return {
            "seed": self.chance.getrandbits(32),
            "dropRate": draw(0, 0.35),
            "lateRate": draw(0, 0.35),
            "lateMinSlots": late_min_slots,
            "lateMaxSlots": self.chance.randint(late_min_slots, LATEST_SLOTS),
            "loseRate": draw(0, 0.35),
            "denyRate": draw(0, 0.4),
            "lagSlots": self.chance.choice((0, 0, 2, 8, MOST_LAG_SLOTS)),
        }

    async def _deny(self) -> None:
        """Some transactions that are not final yet are not known to anybody for a while: the first of a series of
        gusts denies them for longer than their blockhashes live, and until they seem to have expired."""
        fresh = await self._newest(but_final=True)
        chosen = self.chance.sample(fresh, min(len(fresh), self.chance.randint(1, _DENIED_AT_ONCE)))
        if chosen:
            await self.chain.call("dev_notFound", {"signatures": chosen})
            self.counts["denied for long"] += len(chosen)

    async def _forks(self) -> None:
        while True:
            await asyncio.sleep(self._secs(self.chance.randint(20, 120)))
            choice = self.chance.random()
            drop: Any = choice < 0.35
            if 0.35 <= choice < 0.7:
                newest = await self._newest()
                drop = self.chance.sample(newest, len(newest) // 2)
            await self._fork(self.chance.randint(1, _DEEPEST), drop)

    async def _fork(self, depth: int, drop: Any) -> None:
        try:
            forked = await self.chain.call("dev_fork", depth, {"drop": drop})
        except RpcError:  # so many blocks are not there yet
            return
        self.counts["forks"] += 1
        self.counts["forked away"] += len(forked["vanished"])
        self.counts["landed again"] += len(forked["replayed"])

    async def _newest(self, *, but_final: bool = False) -> list[str]:
        config = {"limit": 60, "commitment": "confirmed"}
        found = await self.chain.call("getSignaturesForAddress", self.mint, config)
        return [
            each["signature"] for each in found if not (but_final and each["confirmationStatus"] == "finalized")
        ]

    async def _count(self, told: dict[str, Any]) -> None:
        for name, number in told["counts"].items():
            self.counts[name] = number

    def _secs(self, slots: int) -> float:
        return slots * self.slot_ms / 1000
