"""How far an address's history was applied, and what to do when the cluster does not show that place any more.

cursor's transaction seen in the history  → all that is newer follows, nothing is missing
not seen, the cluster lags behind it      → ask again
not seen, several times                   → pruned, but all was known up to where its history begins: by slot
                                          → else a gap: nobody can tell what happened in it
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final

from solders.pubkey import Pubkey
from solders.signature import Signature

from bridge.records import CURSORS
from bridge.solana.rpc import SeenSignature
from config.errors import ErrorCode, MetawattError
from store.port import Document, Insert, Patch, Write

ENOUGH_MISSES: Final = 5
"""So often in a row the cluster must not show the cursor's transaction: "not found" alone is no proof."""
LAG_SLOTS: Final = 150
"""A node behind the same URL may be so far behind the one that told the newest final slot."""


class HistoryGap(MetawattError):
    """The cluster does not keep the history that comes next; nothing is read over the gap."""

    default_code = ErrorCode.HISTORY_GAP


@dataclass(frozen=True, slots=True)
class Cursor:
    """`signature` is the last one applied, `prior` the one before it in the address's history, `slot` that of
    the last one. The history is applied whole up to `whole_slot`. Without a signature it is a place by slot:
    everything after `whole_slot` is to be applied; -1 is the beginning of all."""

    slot: int
    whole_slot: int
    signature: Signature | None = None
    prior: Signature | None = None

    @classmethod
    def after_slot(cls, slot: int) -> Cursor:
        return cls(slot, slot)

    @classmethod
    def of(cls, document: Document) -> Cursor:
        return cls(
            document["slot"],
            document["whole_slot"],
            _signature(document["signature"]),
            _signature(document["prior"]),
        )

    def at(self, entry: SeenSignature, prior: SeenSignature | None) -> Cursor:
        """The cursor once `entry` is applied, and everything before it; `prior` is None when it is the first
        after this cursor."""
        before = self.signature if prior is None else prior.signature
        return Cursor(entry.slot, max(self.whole_slot, entry.slot - 1), entry.signature, before)

    def by_slot(self) -> Cursor:
        """The same place without its transaction, which the cluster forgot."""
        return Cursor.after_slot(self.whole_slot)

    @property
    def fields(self) -> dict[str, Any]:
        return {
            "slot": self.slot,
            "whole_slot": self.whole_slot,
            "signature": None if self.signature is None else bytes(self.signature),
            "prior": None if self.prior is None else bytes(self.prior),
        }


def _signature(stored: bytes | None) -> Signature | None:
    return None if stored is None else Signature.from_bytes(stored)


def moved(address: Pubkey, old: Cursor | None, new: Cursor, **more: Any) -> Write:
    """The write that moves an address's cursor; a Conflict when somebody else moved it since `old`. `more` may be
    `gap` (why the history is not read on, None) and `skipped` (gaps that an operator went over)."""
    if old is None:
        return Insert(CURSORS, {"_id": str(address), **new.fields, "gap": None, "skipped": [], **more})
    return Patch(CURSORS, str(address), {**new.fields, **more}, expect=old.fields)


class Verdict(Enum):
    AGAIN = auto()
    BY_SLOT = auto()
    GAP = auto()


def verdict(cursor: Cursor, misses: int, final_slot: int, first_slot: int) -> Verdict:
    """What to do about a cursor that the cluster did not show `misses` times in a row. `final_slot` and
    `first_slot` are the newest and the oldest slots that the cluster tells of."""
    if final_slot < cursor.slot or misses < ENOUGH_MISSES:
        return Verdict.AGAIN
    forgot = cursor.slot < first_slot
    return Verdict.BY_SLOT if forgot and first_slot <= cursor.whole_slot + 1 else Verdict.GAP
