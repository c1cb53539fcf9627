"""Eviction: taking back what was admitted, when the network refused it or the chain overtook it.

A transaction goes with everything that descends from it, in one atomic commit; the coins that they had spent
are live again, and why they went is kept. A mere ancestor, which no topic judged, goes alike: what stands on
it cannot be mined without it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import structlog

from overlay.events import writes_for
from overlay.ground import Ground
from overlay.lookup_service import Event, OutputRef, OutputRemoved, OutputUnspent
from overlay.records import (
    DESCENTS,
    EVICTIONS,
    OUTPUTS,
    RAWS,
    SPENDS,
    TRANSACTIONS,
    descents_from,
    load_stored,
    outputs_of,
)
from overlay.transaction import Transaction, outpoint, split_outpoint
from store.port import Absent, Conflict, Delete, Document, Put, Write

_ATTEMPTS = 8

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Doomed:
    """A transaction that goes, parsed; its outputs' documents, and the outpoints that nobody spends."""

    document: Document
    transaction: Transaction
    outputs: list[Document] = field(default_factory=list)
    unspent: list[bytes] = field(default_factory=list)


class Evictor:
    def __init__(self, ground: Ground) -> None:
        self._store = ground.store
        self._services = ground.services
        self._measures = ground.measures
        self._now_ms = ground.now_ms
        self.beside: Callable[[Transaction, str], Sequence[Write]] | None = None
        """Writes that join the commit by which a transaction goes, for the reason given."""

    async def evict(self, txid: bytes, reason: str, *, even_proven: bool = False) -> int:
        """Evict a stored transaction and its descendants; how many went. Unless told, a proven one stays, and
        so does one with a proven descendant: it was mined as well, whatever is said of it.
        """
        for _ in range(_ATTEMPTS):
            doomed = await self._descendants(txid)
            is_proven = any(entry.document.get("height") is not None for entry in doomed.values())
            if txid not in doomed or (is_proven and not even_proven):
                return 0
            try:
                await self._store.commit(await self._writes(doomed, txid, reason))
            except Conflict:
                continue
            self._measures.events["evicted"] += len(doomed)
            log.warning("evicted", txid=txid[::-1].hex(), transactions=len(doomed), reason=reason)
            return len(doomed) + await self._evict_late(doomed, reason)
        return 0

    async def _evict_late(self, doomed: Mapping[bytes, _Doomed], reason: str) -> int:
        """Descents that were recorded while the doomed were gathered."""
        late = [await descents_from(self._store, txid) for txid in doomed]
        return sum([await self.evict(txid, reason, even_proven=True) for txid in set().union(*late)])

    async def _descendants(self, txid: bytes) -> dict[bytes, _Doomed]:
        """The transaction and all stored ones that spend what it made, it first."""
        doomed: dict[bytes, _Doomed] = {}
        waiting = [txid]
        while waiting:
            current = waiting.pop()
            if current in doomed:
                continue
            stored = (await load_stored(self._store, [current])).get(current)
            if stored is None:
                continue
            transaction = Transaction.parse(stored.raw)
            entry = _Doomed(stored.document, transaction, await outputs_of(self._store, current))
            doomed[current] = entry
            own = [outpoint(current, index) for index in range(len(entry.transaction.outputs))]
            spends = await self._store.get_many(SPENDS, own)
            entry.unspent = [key for key in own if key not in spends]
            waiting += [spend["txid"] for spend in spends.values()]
            waiting += await descents_from(self._store, current)
        return doomed

    async def _writes(self, doomed: Mapping[bytes, _Doomed], root: bytes, reason: str) -> list[Write]:
        writes: list[Write] = []
        events: list[Event] = []
        for txid, entry in doomed.items():
            why = reason if txid == root else f"descends from evicted transaction {root[::-1].hex()}"
            writes.append(Delete(TRANSACTIONS, txid, expect={"rev": entry.document["rev"]}))
            if "raw" not in entry.document:
                writes.append(Delete(RAWS, txid))
            writes.append(Put(EVICTIONS, _eviction(entry.transaction, self._now_ms(), why)))
            writes += self.beside(entry.transaction, why) if self.beside is not None else ()
            writes += [Absent(SPENDS, key) for key in entry.unspent]
            for output in entry.outputs:
                writes.append(Delete(OUTPUTS, output["_id"], expect={"topics": output["topics"]}))
                events += [OutputRemoved(ref, evicted=True) for ref in _refs(output)]
            freed_writes, freed_events = await self._free_inputs(entry.transaction, doomed)
            writes += freed_writes
            events += freed_events
        return writes + await writes_for(events, self._services, self._store)

    async def _free_inputs(
        self, transaction: Transaction, doomed: Mapping[bytes, _Doomed]
    ) -> tuple[list[Write], list[Event]]:
        outpoints = [spend.outpoint for spend in transaction.inputs]
        spends, coins = await self._store.get_each([(SPENDS, outpoints), (OUTPUTS, outpoints)])
        writes: list[Write] = [
            Delete(DESCENTS, spend.source_txid + transaction.txid) for spend in transaction.inputs
        ]
        events: list[Event] = []
        for key, spend in spends.items():
            if spend["txid"] != transaction.txid:
                continue
            writes.append(Delete(SPENDS, key, expect={"txid": transaction.txid}))
            coin = coins.get(key)
            if coin is not None and coin["_id"][:32] not in doomed:
                events += [OutputUnspent(ref, transaction.txid) for ref in _refs(coin)]
        return writes, events


def _eviction(transaction: Transaction, now_ms: int, reason: str) -> Document:
    """Its raw bytes go; what it would have spent is kept, by which one can tell whether it may be mined yet."""
    spends = [spend.outpoint for spend in transaction.inputs]
    return {"_id": transaction.txid, "at_ms": now_ms, "reason": reason, "spends": spends}


def _refs(output: Document) -> list[OutputRef]:
    txid, index = split_outpoint(output["_id"])
    return [OutputRef(topic, txid, index, output["seq"]) for topic in output["topics"]]
