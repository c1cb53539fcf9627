"""One endpoint of the cluster, asked for many final transactions at once, for as long as one has patience."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

import structlog
from solders.hash import Hash
from solders.signature import Signature

from bridge.solana.rpc import SeenTransaction, SolanaRpc
from config.errors import Unavailable
from overlay.clock import NowMs

_FETCHES_AT_ONCE: Final = 16
_FIRST_SILENCE_MS: Final = 500
_LONGEST_SILENCE_MS: Final = 30_000

log = structlog.get_logger("metawatt.mirror")


@dataclass(frozen=True, slots=True)
class Horizon:
    """What an endpoint can tell of: from its first slot to the newest final one."""

    first_slot: int
    final_slot: int


@dataclass(slots=True)
class Told:
    """What an endpoint answered: of each transaction what it knows, None where it says that there is none; those
    that it did not answer about are missing. `horizon` is told where it did not know one. `is_foreign`: it is of
    another cluster."""

    transactions: dict[Signature, SeenTransaction | None] = field(default_factory=dict)
    horizon: Horizon | None = None
    is_foreign: bool = False


class Endpoint:
    """One that does not answer is left alone for a while, each time for longer; `is_silent` until it answers."""

    def __init__(self, name: str, rpc: SolanaRpc, genesis: Hash, now_ms: NowMs) -> None:
        self.name = name
        self.is_silent = False
        self._rpc = rpc
        self._genesis = genesis
        self._now_ms = now_ms
        self._is_known = False
        self._silent_until_ms = 0
        self._silence_ms = _FIRST_SILENCE_MS
        self._fetches = asyncio.Semaphore(_FETCHES_AT_ONCE)

    async def told(self, signatures: Iterable[Signature], patience_secs: float) -> Told:
        """What it answers in that time. Never raises for an endpoint's fault."""
        told = Told()
        if self._now_ms() < self._silent_until_ms:
            return told
        try:
            async with asyncio.timeout(patience_secs):
                await self._ask(signatures, told)
            self.is_silent = False
            self._silence_ms = _FIRST_SILENCE_MS
        except (Unavailable, TimeoutError) as error:
            self._leave_alone(error)
        return told

    async def _ask(self, signatures: Iterable[Signature], told: Told) -> None:
        told.is_foreign = not await self._is_of_this_cluster()
        if told.is_foreign:
            return
        await self._fetch(signatures, told)
        if None in told.transactions.values():
            told.horizon = Horizon(await self._rpc.first_available_slot(), await self._rpc.slot())

    async def _is_of_this_cluster(self) -> bool:
        """Asked until it was found so once."""
        self._is_known = self._is_known or await self._rpc.genesis_hash() == self._genesis
        return self._is_known

    async def _fetch(self, signatures: Iterable[Signature], told: Told) -> None:
        """Each answer is kept as it comes, so that those which come in time count."""

        async def one(signature: Signature) -> None:
            async with self._fetches:
                told.transactions[signature] = await self._rpc.transaction(signature)

        try:
            async with asyncio.TaskGroup() as group:
                for signature in signatures:
                    group.create_task(one(signature))
        except* Unavailable as several:
            raise Unavailable(str(several.exceptions[0])) from several

    def _leave_alone(self, error: Exception) -> None:
        self.is_silent = True
        self._silent_until_ms = self._now_ms() + self._silence_ms
        self._silence_ms = min(2 * self._silence_ms, _LONGEST_SILENCE_MS)
        log.warning("an endpoint does not answer", endpoint=self.name, reason=str(error) or "it takes too long")
