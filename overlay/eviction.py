"""Eviction: taking back what was admitted, when the network refused it or the chain overtook it.

A transaction goes with everything that descends from it, in one atomic commit; the coins that they had spent
are live again, and why they went is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import structlog

from overlay.events import writes_for
from overlay.ground import Ground
from overlay.lookup_service import Event, OutputRef, OutputRemoved, OutputUnspent
from overlay.records import EVICTIONS, OUTPUTS, SPENDS, TRANSACTIONS, applied, outputs_of
from overlay.transaction import Transaction, split_outpoint
from store.port import Conflict, Delete, Document, Put, Write

_ATTEMPTS = 8

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Doomed:
    """A transaction that goes, its outputs' documents, and the transaction parsed."""

    document: Document
    transaction: Transaction
    outputs: list[Document] = field(default_factory=list)


class Evictor:
    def __init__(self, ground: Ground) -> None:
        self._store = ground.store
        self._services = ground.services
        self._measures = ground.measures
        self._now_ms = ground.now_ms

    async def evict(self, txid: bytes, reason: str, *, even_proven: bool = False) -> int:
        """Evict an applied transaction and its descendants; how many went. A proven one stays, unless told."""
        for _ in range(_ATTEMPTS):
            doomed = await self._descendants(txid)
            root = doomed.get(txid)
            if root is None or (root.document.get("height") is not None and not even_proven):
                return 0
            try:
                await self._store.commit(await self._writes(doomed, txid, reason))
            except Conflict:
                continue
            self._measures.events["evicted"] += len(doomed)
            log.warning("evicted", txid=txid[::-1].hex(), transactions=len(doomed), reason=reason)
            return len(doomed)
        return 0

    async def _descendants(self, txid: bytes) -> dict[bytes, _Doomed]:
        """The transaction and all applied ones that spend what it made, it first."""
        doomed: dict[bytes, _Doomed] = {}
        waiting = [txid]
        while waiting:
            current = waiting.pop()
            document = await self._store.get(TRANSACTIONS, current)
            if current in doomed or document is None or not applied(document):
                continue
            entry = _Doomed(document, Transaction.parse(document["raw"]), await outputs_of(self._store, current))
            doomed[current] = entry
            own = [current + index.to_bytes(4, "little") for index in range(len(entry.transaction.outputs))]
            waiting += [spend["txid"] for spend in (await self._store.get_many(SPENDS, own)).values()]
        return doomed

    async def _writes(self, doomed: Mapping[bytes, _Doomed], root: bytes, reason: str) -> list[Write]:
        writes: list[Write] = []
        events: list[Event] = []
        for txid, entry in doomed.items():
            why = reason if txid == root else f"descends from evicted transaction {root[::-1].hex()}"
            writes.append(Delete(TRANSACTIONS, txid, expect={"rev": entry.document["rev"]}))
            writes.append(Put(EVICTIONS, {"_id": txid, "at_ms": self._now_ms(), "reason": why}))
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
        writes: list[Write] = []
        events: list[Event] = []
        for key, spend in spends.items():
            if spend["txid"] != transaction.txid:
                continue
            writes.append(Delete(SPENDS, key, expect={"txid": transaction.txid}))
            coin = coins.get(key)
            if coin is not None and coin["_id"][:32] not in doomed:
                events += [OutputUnspent(ref, transaction.txid) for ref in _refs(coin)]
        return writes, events


def _refs(output: Document) -> list[OutputRef]:
    txid, index = split_outpoint(output["_id"])
    return [OutputRef(topic, txid, index, output["seq"]) for topic in output["topics"]]
