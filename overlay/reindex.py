"""Rebuilding a lookup index from what the engine keeps: every event is replayed in the order of admission."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import structlog

from overlay.events import narrow
from overlay.lookup_service import Event, LookupService, OutputAdmitted, OutputRef, OutputSpent
from overlay.records import OUTPUTS, REINDEX_STATE, SPENDS, STATE, load_stored
from overlay.steak import TopicResult
from overlay.transaction import Transaction, split_outpoint
from store.pages import pages
from store.port import Collection, Delete, Document, Find, Put, Store, Write

Progress: TypeAlias = Callable[[int, int], None]


log = structlog.get_logger(__name__)


class Reindexer:
    """Idempotent: an interrupted rebuild leaves its mark in `state`, and the next one starts anew."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def rebuild(self, service: LookupService, progress: Progress | None = None) -> int:
        """Empty a service's collections and replay; how many outputs were replayed."""
        await self._store.commit([Put(STATE, {"_id": REINDEX_STATE + service.name})])
        for collection in service.collections:
            await self._empty(collection)
        total, done = await self._store.count(OUTPUTS), 0
        async for outputs in pages(self._store, OUTPUTS, Find(index="by_seq")):
            await self._replay(service, outputs)
            done += len(outputs)
            if progress is not None:
                progress(done, max(done, total))
        await self._store.commit([Delete(STATE, REINDEX_STATE + service.name)])
        log.info("index rebuilt", service=service.name, outputs=done)
        return done

    async def marked(self) -> list[str]:
        """Services whose index is marked as not whole."""
        upper = REINDEX_STATE[:-1] + chr(ord(REINDEX_STATE[-1]) + 1)
        page = await self._store.find(STATE, Find(lower=REINDEX_STATE, upper=upper))
        return [document["_id"].removeprefix(REINDEX_STATE) for document in page.documents]

    async def _empty(self, collection: Collection) -> None:
        async for documents in pages(self._store, collection):
            await self._store.commit([Delete(collection, document["_id"]) for document in documents])

    async def _replay(self, service: LookupService, outputs: Sequence[Document]) -> None:
        spends = await self._store.get_many(SPENDS, [output["_id"] for output in outputs])
        txids = {output["_id"][:32] for output in outputs} | {spend["txid"] for spend in spends.values()}
        stored = await load_stored(self._store, txids)
        documents = {txid: document for txid, (document, _) in stored.items()}
        parsed = {txid: Transaction.parse(raw) for txid, (_, raw) in stored.items()}
        writes: list[Write] = []
        for output in outputs:
            for event in replayed_events(output, spends.get(output["_id"]), documents, parsed):
                if service.serves(event.ref.topic):
                    writes.extend(await service.writes_for(narrow(event, service), self._store))
        await self._store.commit(writes)


def replayed_events(
    output: Document, spend: Document | None, stored: Mapping[bytes, Document], parsed: Mapping[bytes, Transaction]
) -> list[Event]:
    """What happened to one output, as the events that told of it."""
    txid, index = split_outpoint(output["_id"])
    transaction, document = parsed.get(txid), stored.get(txid)
    if transaction is None or document is None:
        return []
    topics: list[str] = output["topics"]
    refs = [OutputRef(topic, txid, index, output["seq"]) for topic in topics]
    satoshis, script = transaction.outputs[index]
    events: list[Event] = [
        OutputAdmitted(
            ref,
            satoshis,
            script,
            tuple(topics),
            first=position == 0,
            height=document.get("height"),
            off_chain_values=document.get("off_chain_values"),
            transaction=transaction,
            told=position > 0,
        )
        for position, ref in enumerate(refs)
    ]
    spender = parsed.get(spend["txid"]) if spend is not None else None
    if spend is None or spender is None:
        return events
    receipts = stored[spend["txid"]].get("receipts") or {}
    off_chain_values = stored[spend["txid"]].get("off_chain_values")
    events += [
        _spent(ref, spend["input"], spender, TopicResult.from_wire(receipts[ref.topic]), script, off_chain_values)
        for ref in refs
        if ref.topic in receipts
    ]
    return events


def _spent(
    ref: OutputRef,
    index: int,
    spender: Transaction,
    result: TopicResult,
    script: bytes,
    off_chain_values: bytes | None,
) -> OutputSpent:
    spend = spender.inputs[index]
    return OutputSpent(
        ref,
        index in result.coins_to_retain,
        result.outputs_to_admit,
        script,
        spender.txid,
        index,
        spend.unlocking_script,
        spend.sequence,
        off_chain_values,
        spender,
    )
