"""What the event processor saw final: the same verdict as settling would come to, as writes for its own commit.

Whoever is first, the poll or the processor, the other one finds it done: each write is a compare-and-set.
"""

from __future__ import annotations

from collections.abc import Sequence

from bridge.minting.flights import waits_for
from bridge.minting.orders import order_of
from bridge.minting.outcome import Outcome
from bridge.minting.retry import RetryPolicy
from bridge.programs.mode import MintMode
from bridge.records import ATTEMPTS, READINGS, AttemptState, ReadingState
from bridge.solana.rpc import SeenTransaction
from overlay.clock import NowMs
from store.port import Document, Patch, Reader, Write

_FREE = (ReadingState.ACCEPTED, ReadingState.RETRY, ReadingState.DEAD)


class Confirming:
    """Marks readings minted whose transaction was seen final, an attempt that was given up included."""

    def __init__(self, reader: Reader, mode: MintMode, policy: RetryPolicy, now_ms: NowMs) -> None:
        self._reader = reader
        self._mode = mode
        self._policy = policy
        self._now_ms = now_ms

    async def confirmations(self, seen: SeenTransaction) -> Sequence[Write]:
        """The writes; none for a transaction that is not ours, failed, or is settled. What was not minted as
        ordered is left to settling, which looks closer."""
        signature = bytes(seen.signature)
        attempt = await self._reader.get(ATTEMPTS, signature)
        if attempt is None or seen.error is not None or attempt["state"] == AttemptState.FINAL:
            return ()
        rows = await self._reader.get_many(READINGS, attempt["readings"])
        unsettled = [row for row in rows.values() if row["state"] != ReadingState.MINTED]
        if not all(_may_be_minted(row, signature) for row in unsettled):
            return ()
        outcome = Outcome(self._now_ms(), self._policy)
        orders = {row["_id"]: order_of(row) for row in unsettled}
        minted = self._mode.minted(list(orders.values()), seen)
        for row in unsettled:
            if minted.get(row["_id"]) != row["units"]:
                return ()
            outcome.mint(row, seen.signature, seen.slot)
        over = {"state": AttemptState.FINAL, "slot": seen.slot, "open_ms": None, "error": None}
        expect = {"open_ms": attempt["open_ms"], "state": attempt["state"]}
        return [*outcome.writes, Patch(ATTEMPTS, signature, over, expect=expect)]


def _may_be_minted(row: Document, signature: bytes) -> bool:
    """Whether the reading waits for this transaction, or for none. One that is in another transaction by now is
    found by its guard, when that one fails."""
    return waits_for(row, signature) or row["state"] in _FREE
