"""Transactions on Solana that tokens came by, for receipts: kept when they are read, for a cluster forgets."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from solders.pubkey import Pubkey
from solders.signature import Signature

from bridge.mirror.receipts.statement import SolanaLeg
from bridge.mirror.records import SOURCES
from bridge.solana.rpc import SeenTransaction, SolanaRpc
from config.errors import ErrorCode, Unavailable
from store.port import Insert, Reader, Write

_AT_ONCE: Final = 16
_REMEMBERED: Final = 256


@dataclass(frozen=True, slots=True)
class Found:
    """A transaction on Solana: its leg, and its bytes, None where the cluster has forgotten it."""

    leg: SolanaLeg
    raw: bytes | None


def source_write(seen: SeenTransaction) -> Write:
    """The write that keeps a transaction."""
    row = {
        "_id": bytes(seen.signature),
        "raw": bytes(seen.transaction),
        "loaded": [bytes(each) for each in _loaded(seen)],
        "slot": seen.slot,
    }
    return Insert(SOURCES, row, keep=True)


def _loaded(seen: SeenTransaction) -> tuple[Pubkey, ...]:
    return tuple(seen.account_keys[len(seen.transaction.message.account_keys) :])


class Sources:
    """What is kept; and what is not, from the cluster, a few at once. The last ones are remembered: several
    messages may be of one transaction."""

    def __init__(self, reader: Reader, rpc: SolanaRpc) -> None:
        self._reader = reader
        self._rpc = rpc
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._found: OrderedDict[bytes, Found] = OrderedDict()

    async def transaction(self, signature: bytes, slot: int | None) -> Found:
        """A final transaction. One of a slot that the cluster tells no more of is forgotten; `Unavailable` for any
        other that it does not tell."""
        async with self._turns:
            found = self._found.get(signature) or await self._kept(signature)
            if found is None:
                found = await self._asked(Signature.from_bytes(signature), slot)
            self._found[signature] = found
        while len(self._found) > _REMEMBERED:
            self._found.popitem(last=False)
        return found

    async def _kept(self, signature: bytes) -> Found | None:
        row = await self._reader.get(SOURCES, signature)
        if row is None:
            return None
        loaded = tuple(Pubkey.from_bytes(each) for each in row["loaded"])
        return Found(SolanaLeg(Signature.from_bytes(signature), row["slot"], loaded=loaded), row["raw"])

    async def _asked(self, signature: Signature, slot: int | None) -> Found:
        seen = await self._rpc.transaction(signature)
        if seen is not None:
            return Found(SolanaLeg(signature, seen.slot, loaded=_loaded(seen)), bytes(seen.transaction))
        if slot is None or await self._rpc.first_available_slot() <= slot:
            raise Unavailable(f"the cluster does not tell of {signature}", ErrorCode.SOLANA_UNAVAILABLE)
        return Found(SolanaLeg(signature, slot), None)
