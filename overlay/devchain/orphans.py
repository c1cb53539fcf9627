"""Transactions whose parents are not known yet. In memory, bounded, the oldest giving way."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from overlay.devchain.report import Callback
from overlay.transaction import Transaction

_MOST: Final = 1000


@dataclass(frozen=True, slots=True)
class Orphan:
    transaction: Transaction
    callback: Callback | None = None


class Orphans:
    """Nothing of this is kept over a restart; whoever sent them sends them again."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[bytes, Orphan] = OrderedDict()

    def __contains__(self, txid: bytes) -> bool:
        return txid in self._waiting

    def add(self, orphan: Orphan) -> None:
        self._waiting[orphan.transaction.txid] = orphan
        if len(self._waiting) > _MOST:
            self._waiting.popitem(last=False)

    def discard(self, txid: bytes) -> None:
        """It came in otherwise."""
        self._waiting.pop(txid, None)

    def take_children(self, txid: bytes) -> list[Orphan]:
        """Those that spend from a transaction; they are no longer here then."""
        children = [
            orphan
            for orphan in self._waiting.values()
            if any(spent.source_txid == txid for spent in orphan.transaction.inputs)
        ]
        for orphan in children:
            del self._waiting[orphan.transaction.txid]
        return children
