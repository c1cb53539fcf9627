"""The pool: transactions that wait for a block, in the order they came, so parents before children."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from overlay.transaction import Transaction


@dataclass(frozen=True, slots=True)
class Entry:
    """`seq` orders the pool; `notify` tells whether somebody wants a callback; `stored` whether the
    transaction has a record yet."""

    transaction: Transaction
    fee: int
    seq: int
    notify: bool = False
    stored: bool = True


class Pool:
    """First seen, first kept. In memory; `records` holds what a restart needs."""

    def __init__(self) -> None:
        self._entries: dict[bytes, Entry] = {}
        self._spenders: dict[bytes, bytes] = {}
        self._next_seq = 1

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(list(self._entries.values()))

    def get(self, txid: bytes) -> Entry | None:
        return self._entries.get(txid)

    def next_seq(self) -> int:
        self._next_seq += 1
        return self._next_seq - 1

    def add(self, entry: Entry) -> None:
        self._entries[entry.transaction.txid] = entry
        for spent in entry.transaction.inputs:
            self._spenders[spent.outpoint] = entry.transaction.txid
        self._next_seq = max(self._next_seq, entry.seq + 1)

    def renew(self, entry: Entry) -> None:
        """Replace an entry by another of the same transaction, in its place."""
        self._entries[entry.transaction.txid] = entry

    def spender(self, outpoint: bytes) -> bytes | None:
        """The txid that spends an outpoint here."""
        return self._spenders.get(outpoint)

    def conflicts(self, transaction: Transaction) -> tuple[bytes, ...]:
        """The txids here that spend what this one spends."""
        found = [self._spenders.get(spent.outpoint) for spent in transaction.inputs]
        return tuple(dict.fromkeys([txid for txid in found if txid is not None]))

    def remove(self, txids: Iterable[bytes]) -> None:
        for txid in txids:
            entry = self._entries.pop(txid, None)
            if entry is not None:
                for spent in entry.transaction.inputs:
                    self._spenders.pop(spent.outpoint, None)

    def descendants(self, txid: bytes) -> list[bytes]:
        """A transaction and all here that stand on it."""
        family = {txid}
        for entry in self._entries.values():
            if any(spent.source_txid in family for spent in entry.transaction.inputs):
                family.add(entry.transaction.txid)
        return list(family)

    def replace(self, entries: Iterable[Entry]) -> None:
        """Forget everything and take these."""
        self._entries.clear()
        self._spenders.clear()
        for entry in entries:
            self.add(entry)
