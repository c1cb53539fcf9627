"""The outbox: work that was promised in a commit and is done after it, however often it takes.

One kind of work so far: `broadcast`, which sends a transaction and those of its ancestors that are not mined.
An entry is leased by a compare-and-set, so that several processes on one database do not do it twice at once;
doing it twice in a row is harmless.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from graphlib import TopologicalSorter
from typing import Any

import structlog

from config.errors import MetawattError, Unavailable
from overlay.chain import Broadcast, Broadcaster
from overlay.clock import Sequence as Numbers
from overlay.ground import Ground
from overlay.outputs import load_outputs
from overlay.records import OUTBOX, TRANSACTIONS, raws_of
from overlay.transaction import Transaction
from overlay.wire import to_extended
from store.port import Conflict, Delete, Document, Find, Insert, Patch

_LEASE_MS = 60_000
_BATCH = 64
_REMEMBERED = 20_000

log = structlog.get_logger(__name__)


def outbox_entry(numbers: Numbers, now_ms: int, kind: str, work: dict[str, Any]) -> Insert:
    """The write that promises work, to be part of the commit that it follows."""
    return Insert(OUTBOX, {"_id": numbers.next(), "due_ms": now_ms, "attempts": 0, "kind": kind, **work})


@dataclass(frozen=True, slots=True)
class Retry:
    """How work that failed is tried again."""

    first_pause_secs: float = 2
    most_pause_secs: float = 300
    concurrency: int = 16

    def pause_ms(self, attempts: int) -> int:
        """How long to wait after that many tries: doubling, up to the most."""
        return int(min(self.first_pause_secs * 2 ** min(attempts - 1, 30), self.most_pause_secs) * 1000)


class Outbox:
    """Does the work that is due. `report` takes in what the broadcaster answers."""

    def __init__(
        self,
        ground: Ground,
        broadcaster: Broadcaster,
        report: Callable[[Broadcast], Awaitable[bool]],
        retry: Retry,
    ) -> None:
        self._store = ground.store
        self._measures = ground.measures
        self._now_ms = ground.now_ms
        self._broadcaster = broadcaster
        self._report = report
        self._retry = retry
        self._gate = asyncio.Semaphore(retry.concurrency)
        self._sent: OrderedDict[bytes, None] = OrderedDict()

    async def work(self) -> int:
        """Do everything that is due now; how many entries were done or put off."""
        done = 0
        while True:
            due = Find(index="due", upper=self._now_ms() + 1, limit=_BATCH)
            page = await self._store.find(OUTBOX, due)
            if not page.documents:
                return done
            await asyncio.gather(*map(self._work_one, page.documents))
            done += len(page.documents)

    async def depth(self) -> tuple[int, int]:
        """How many entries wait, and the age of the oldest in milliseconds."""
        oldest = await self._store.find(OUTBOX, Find(index="due", limit=1))
        age_ms = max(0, self._now_ms() - oldest.documents[0]["due_ms"]) if oldest.documents else 0
        return await self._store.count(OUTBOX), age_ms

    async def _work_one(self, entry: Document) -> None:
        async with self._gate:
            attempts = entry["attempts"] + 1
            lease = {"due_ms": self._now_ms() + _LEASE_MS, "attempts": attempts}
            try:
                await self._store.commit(
                    [Patch(OUTBOX, entry["_id"], lease, expect={"attempts": entry["attempts"]})]
                )
            except Conflict:
                return
            try:
                await self._broadcast(entry["txid"], again=bool(entry.get("again")))
            except Unavailable as error:
                await self._put_off(entry, attempts, error)
                return
            await self._store.commit([Delete(OUTBOX, entry["_id"], expect={"attempts": attempts})])

    async def _put_off(self, entry: Document, attempts: int, error: MetawattError) -> None:
        pause = self._retry.pause_ms(attempts)
        self._measures.events["broadcast_retry"] += 1
        log.warning("broadcast put off", txid=entry["txid"][::-1].hex(), pause_ms=pause, reason=error.message)
        again = Patch(OUTBOX, entry["_id"], {"due_ms": self._now_ms() + pause}, must_exist=False)
        await self._store.commit([again])

    async def _broadcast(self, txid: bytes, *, again: bool) -> None:
        """Send a transaction, its unmined ancestors first; nothing when it is mined or gone. Those that were sent
        before are not, unless it is all sent `again` because the network lost some of it.

        One whose own parents are not stored was mined when it came, and a reorganisation took its proof. The
        network knows what it spends, and is sent it as it is; should it not be taken, that says nothing of it.
        """
        for transaction in await self._unsent(txid, again=again):
            spent = [spend.outpoint for spend in transaction.inputs]
            sources = await load_outputs(self._store, spent)
            if all(each in sources for each in spent):
                await self._send(transaction.txid, to_extended(transaction, [sources[each] for each in spent]))
            else:
                await self._remind(transaction)

    async def _unsent(self, txid: bytes, *, again: bool) -> list[Transaction]:
        """What is to be sent, parents first; mined ancestors are not even read."""
        unmined: dict[bytes, Transaction] = {}
        level = {txid}
        while level:
            stored = await self._store.get_many(TRANSACTIONS, list(level))
            raws = await raws_of(self._store, [each for each in stored.values() if each.get("height") is None])
            unmined.update((key, Transaction.parse(raw)) for key, raw in raws.items())
            level = {spend.source_txid for key in raws for spend in unmined[key].inputs} - unmined.keys()
            if not again:
                level -= self._sent.keys()
        parents = {key: {spend.source_txid for spend in each.inputs} for key, each in unmined.items()}
        return [unmined[key] for key in TopologicalSorter(parents).static_order() if key in unmined]

    async def _remind(self, transaction: Transaction) -> None:
        try:
            status = await self._broadcaster.broadcast(transaction.raw)
        except Unavailable as error:
            reason = error.message
        else:
            reason = status.detail or status.status
        log.info("sent without what it spends", txid=transaction.txid_hex, reason=reason)

    async def _send(self, txid: bytes, extended: bytes) -> None:
        status = await self._broadcaster.broadcast(extended)
        self._measures.events["refused" if status.status.refused else "broadcast"] += 1
        self._sent[txid] = None
        if len(self._sent) > _REMEMBERED:
            self._sent.popitem(last=False)
        if status.merkle_path is not None or status.status.refused:
            try:
                await self._report(status)
            except MetawattError as error:
                # Polling for proofs comes by here again.
                log.info("a broadcaster's answer was not taken in", txid=txid[::-1].hex(), reason=error.message)
