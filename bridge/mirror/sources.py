"""Transactions on Solana for receipts, as the cluster tells them."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from solders.signature import Signature

from bridge.mirror.statement import SolanaLeg
from bridge.solana.rpc import SolanaRpc
from config.errors import ErrorCode, Unavailable

_AT_ONCE: Final = 16
_REMEMBERED: Final = 256


@dataclass(frozen=True, slots=True)
class Found:
    """A transaction on Solana: its leg, and its bytes, None where the cluster has forgotten it."""

    leg: SolanaLeg
    raw: bytes | None


class Sources:
    """Asks for a few at once, and keeps the last ones: several messages may be of one transaction."""

    def __init__(self, rpc: SolanaRpc) -> None:
        self._rpc = rpc
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._found: OrderedDict[bytes, Found] = OrderedDict()

    async def transaction(self, signature: bytes, slot: int | None) -> Found:
        """A final transaction. One of a slot that the cluster tells no more of is forgotten; `Unavailable` for any
        other that it does not tell."""
        async with self._turns:
            found = self._found.get(signature)
            if found is None:
                found = self._found[signature] = await self._asked(Signature.from_bytes(signature), slot)
        while len(self._found) > _REMEMBERED:
            self._found.popitem(last=False)
        return found

    async def _asked(self, signature: Signature, slot: int | None) -> Found:
        seen = await self._rpc.transaction(signature)
        if seen is not None:
            own = len(seen.transaction.message.account_keys)
            leg = SolanaLeg(signature, seen.slot, loaded=tuple(seen.account_keys[own:]))
            return Found(leg, bytes(seen.transaction))
        if slot is None or await self._rpc.first_available_slot() <= slot:
            raise Unavailable(f"the cluster does not tell of {signature}", ErrorCode.SOLANA_UNAVAILABLE)
        return Found(SolanaLeg(signature, slot), None)
