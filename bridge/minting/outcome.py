"""What is found out about readings, gathered: the writes, and what is told and counted once they are committed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

import structlog
from solders.signature import Signature

from bridge.minting import changes
from bridge.minting.flights import Flight
from bridge.minting.measures import MintingMeasures
from bridge.minting.retry import RetryPolicy
from bridge.notices import Notice, NoticeKind, Tell
from bridge.records import ATTEMPTS, AttemptState, reading_id
from store.port import Document, Patch, Write

PUT_OFF_MS: Final = 15_000
"""Until a reading is looked at again whose guard is there, but not the transaction that made it."""

log = structlog.get_logger("metawatt.minting")


@dataclass(slots=True)
class Outcome:
    """Gathered for one commit at `now_ms`; `readings` is counted by what became of them."""

    now_ms: int
    policy: RetryPolicy
    writes: list[Write] = field(default_factory=list)
    minted: list[tuple[Document, Signature, int]] = field(default_factory=list)
    readings: Counter[str] = field(default_factory=Counter)
    ended: AttemptState | None = None

    def end(self, flight: Flight, state: AttemptState, slot: int | None = None, error: Any = None) -> None:
        """The transaction itself is over."""
        self.ended = state
        self.writes.append(changes.attempt_over(flight, state, slot, error))

    def mint(self, row: Document, signature: Signature, slot: int) -> None:
        """Minted by a final transaction that was checked."""
        self.writes.append(changes.minted(row, bytes(signature), slot, self.now_ms))
        self.minted.append((row, signature, slot))

    def find(self, row: Document, signature: Signature, slot: int) -> None:
        """Minted by a transaction that was looked up; an attempt that had been given up is corrected."""
        self.mint(row, signature, slot)
        self.readings["found"] += 1
        landed = {"state": AttemptState.FINAL, "slot": slot, "open_ms": None}
        self.writes.append(Patch(ATTEMPTS, bytes(signature), landed, must_exist=False))

    def hold(self, row: Document, reason: str) -> None:
        """Contradicted by the chain."""
        log.error("a reading is held", reading=reading_id(row["_id"]), reason=reason)
        self._change("held", changes.held(row, reason))

    def fail(self, row: Document, error: str) -> None:
        patch = changes.failed(row, self.policy, self.now_ms, error)
        self._change("failed" if patch.changes["due_ms"] is not None else "dead", patch)

    def again(self, row: Document, *, alone: bool = False, error: str | None = None) -> None:
        self._change("again", changes.again(row, self.now_ms, alone=alone, error=error))

    def put_off(self, row: Document) -> None:
        reason = "it was minted, but the cluster does not tell by which transaction"
        self._change("put_off", changes.later(row, self.now_ms + PUT_OFF_MS, reason))

    def _change(self, what: str, patch: Patch) -> None:
        self.writes.append(patch)
        self.readings[what] += 1

    def publish(self, tell: Tell, measures: MintingMeasures) -> None:
        """Once it is committed."""
        measures.readings.update(self.readings)
        if self.ended is not None:
            measures.transactions[self.ended.value] += 1
        measures.minted([row for row, _, _ in self.minted], self.now_ms)
        for row, signature, slot in self.minted:
            tell(minted_notice(row, signature, slot))


def minted_notice(row: Document, signature: Signature, slot: int) -> Notice:
    body = {
        "reading_id": reading_id(row["_id"]),
        "user_id": row.get("user_id"),
        "wallet_address": row["wallet"],
        "meter_serial": row["meter"],
        "kwh_amount": row["kwh"],
        "tokens_minted": row["units"],
        "transaction_signature": str(signature),
        "timestamp": row["timestamp"],
        "slot": slot,
        "commitment": "finalized",
    }
    return Notice(NoticeKind.MINTED, body, row["wallet"], row["meter"])
