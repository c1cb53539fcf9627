"""What a reorganisation does to transactions: which return to the pool, and which are lost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from overlay.chain import Header, TxStatus
from overlay.devchain.ledger import Ledger
from overlay.devchain.pool import Entry, Pool
from overlay.devchain.records import TRANSACTIONS
from overlay.transaction import Transaction
from store.port import Document, Patch, Write

_UNMINED = {"block": None, "height": None, "merkle_path": None}
_DEAD = "it stands on a coinbase of a block that was replaced"
_ORPHANED = "it stands on a transaction of a block that was replaced"
_DROPPED = "its block was replaced"


@dataclass(frozen=True, slots=True)
class Reorg:
    """What happened: the height of the last common block, the hashes of the blocks replaced and the headers
    of those that replace them, ascending both, and the txids that returned to the pool or were lost."""

    fork_height: int
    replaced: tuple[bytes, ...]
    headers: tuple[Header, ...]
    returned: tuple[bytes, ...]
    lost: tuple[bytes, ...]


@dataclass(slots=True)
class Plan:
    """What is to be written, the pool as it will be, and whose change of status is to be told."""

    writes: list[Write] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    told: list[bytes] = field(default_factory=list)
    orphans: list[Transaction] = field(default_factory=list)
    returned: tuple[bytes, ...] = ()
    lost: tuple[bytes, ...] = ()


async def plan_reorg(ledger: Ledger, removed: Sequence[Document], pool: Pool, drop: bool, now_ms: int) -> Plan:
    """Take away `removed`, ascending by height. Candidates for the new pool are judged in their old order,
    so parents come before children; none can conflict with another, because each was valid with all."""
    plan = Plan()
    mined: list[tuple[Transaction, Document]] = []
    for block in reversed(removed):
        transactions, records, writes = await ledger.disconnect(block)
        plan.writes += writes
        mined[:0] = zip(transactions, records, strict=True)
    fate = _Fate(plan, now_ms)
    for transaction, record in mined:
        if transaction.is_coinbase:
            fate.lose(transaction.txid, TxStatus.MINED_IN_STALE_BLOCK, _DROPPED, record, dead=True)
        elif drop and not fate.is_dead(transaction):
            fate.lose(transaction.txid, TxStatus.MINED_IN_STALE_BLOCK, _DROPPED, record)
        else:
            fate.judge(transaction, record, None)
    for entry in pool:
        fate.judge(entry.transaction, None, entry)
    fate.close()
    return plan


class _Fate:
    """Judges one transaction after the other. `dead` can never be mined again, `gone` could be."""

    def __init__(self, plan: Plan, now_ms: int) -> None:
        self._plan = plan
        self._now_ms = now_ms
        self._dead: set[bytes] = set()
        self._gone: set[bytes] = set()
        self._lost: list[bytes] = []
        self._returned: list[bytes] = []

    def is_dead(self, transaction: Transaction) -> bool:
        return any(spent.source_txid in self._dead for spent in transaction.inputs)

    def judge(self, transaction: Transaction, record: Document | None, entry: Entry | None) -> None:
        """`record` is that of a transaction that was mined, `entry` that of one in the pool."""
        if self.is_dead(transaction):
            self.lose(transaction.txid, TxStatus.REJECTED, _DEAD, record, dead=True, notify=_notify(record, entry))
        elif any(spent.source_txid in self._gone for spent in transaction.inputs):
            self._plan.orphans.append(transaction)
            status = TxStatus.SEEN_IN_ORPHAN_MEMPOOL
            self.lose(transaction.txid, status, _ORPHANED, record, notify=_notify(record, entry))
        else:
            self._keep(transaction, record, entry)

    def _keep(self, transaction: Transaction, record: Document | None, entry: Entry | None) -> None:
        seq = len(self._plan.entries) + 1
        fee = entry.fee if entry else (record or {}).get("fee", 0)
        self._plan.entries.append(Entry(transaction, fee, seq, _notify(record, entry)))
        changes: dict[str, Any] = {"pool_seq": seq}
        if entry is None:
            self._returned.append(transaction.txid)
            changes |= {"status": TxStatus.SEEN_ON_NETWORK.value, "at_ms": self._now_ms, **_UNMINED}
        self._plan.writes.append(Patch(TRANSACTIONS, transaction.txid, changes))

    def lose(
        self,
        txid: bytes,
        status: TxStatus,
        detail: str,
        record: Document | None,
        *,
        dead: bool = False,
        notify: bool | None = None,
    ) -> None:
        self._gone.add(txid)
        if dead:
            self._dead.add(txid)
        self._lost.append(txid)
        changes: dict[str, Any] = {"status": status.value, "detail": detail, "pool_seq": None, **_UNMINED}
        changes["at_ms"] = self._now_ms
        if _notify(record, None) if notify is None else notify:
            changes["callback_due"] = 1
            self._plan.told.append(txid)
        self._plan.writes.append(Patch(TRANSACTIONS, txid, changes))

    def close(self) -> None:
        self._plan.returned = tuple(self._returned)
        self._plan.lost = tuple(self._lost)


def _notify(record: Document | None, entry: Entry | None) -> bool:
    return entry.notify if entry else bool(record and record.get("callback_url"))
