"""Merkle proofs over time: coming in by callback and by polling, going in a reorganisation, kept when new.

A proof is checked against the node's own header chain before it is stored. A proof of a block that is no
longer in the chain is taken back, and the transaction is broadcast and asked about again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from config.errors import ErrorCode, MetawattError, NotFound, Unavailable
from overlay.chain import Broadcast, Broadcaster, TxStatus
from overlay.events import writes_for
from overlay.eviction import Evictor
from overlay.ground import Ground
from overlay.headers import ChainChange
from overlay.lookup_service import OutputProven, OutputRef
from overlay.merkle import Bump
from overlay.outbox import outbox_entry
from overlay.records import TRANSACTIONS, applied, outputs_of
from overlay.transaction import split_outpoint
from overlay.verify import check_path
from store.pages import pages
from store.port import Conflict, Document, Find, Patch, Scalar, Write

_ATTEMPTS = 5
_RESEND_MS = 60_000
"""How soon a transaction is broadcast again that the network has lost, or cannot place."""
_MOST_RESENT = 10_000
_LOST = (TxStatus.SEEN_IN_ORPHAN_MEMPOOL, TxStatus.MINED_IN_STALE_BLOCK)
"""What ARC says of a transaction that no miner has as one to be mined."""
_PAGE = 200

log = structlog.get_logger(__name__)


class ProofKeeper:
    def __init__(
        self,
        ground: Ground,
        evictor: Evictor,
        *,
        broadcaster: Broadcaster | None = None,
        max_age_ms: int = 7 * 86_400_000,
        concurrency: int = 16,
    ) -> None:
        self._ground = ground
        self._store = ground.store
        self._headers = ground.headers
        self._measures = ground.measures
        self._now_ms = ground.now_ms
        self._evictor = evictor
        self._broadcaster = broadcaster
        self._max_age_ms = max_age_ms
        self._gate = asyncio.Semaphore(concurrency)
        self._position: tuple[Scalar, ...] | None = None
        self._resent_ms: dict[bytes, int] = {}

    # Coming in

    async def ingest(self, status: Broadcast) -> bool:
        """Take in what a broadcaster says of a transaction: a proof, or that it is refused. False when it
        says neither. Raises `NotFound(TRANSACTION_UNKNOWN)`, or `BadRequest` for an invalid proof."""
        document = await self._store.get(TRANSACTIONS, status.txid)
        if document is None:
            raise NotFound(
                "Could not find matching transaction outputs for proof ingest!", ErrorCode.TRANSACTION_UNKNOWN
            )
        if status.merkle_path is not None:
            await self.prove(status.txid, status.merkle_path)
            return True
        if status.status.refused:
            reason = f"the network answered {status.status}: {status.detail}".rstrip(": ")
            return await self._evictor.evict(status.txid, reason) > 0
        return False

    async def prove(self, txid: bytes, path: bytes) -> bool:
        """Store a proof; False when it is there already. `BadRequest` when the chain does not hold it."""
        for _ in range(_ATTEMPTS):
            document = await self._store.get(TRANSACTIONS, txid)
            if document is None:
                raise NotFound(
                    "Could not find matching transaction outputs for proof ingest!", ErrorCode.TRANSACTION_UNKNOWN
                )
            bump = Bump.parse_whole(path)
            await self._headers.ensure([bump.height])
            generation = self._headers.generation
            check_path(txid, document["size"], bump, self._headers)
            block_hash = self._headers.hash_at(bump.height)
            if document.get("height") == bump.height and document.get("block_hash") == block_hash:
                return False
            try:
                await self._set_proof(document, bump.height, block_hash, bump.extract(txid))
            except Conflict:
                continue
            self._measures.events["proof"] += 1
            if generation != self._headers.generation:
                await self.revalidate([txid])
            return True
        return False

    async def _set_proof(
        self, document: Document, height: int | None, block_hash: bytes | None, bump: bytes | None
    ) -> None:
        txid: bytes = document["_id"]
        changes = {
            "height": height,
            "block_hash": block_hash,
            "bump": bump,
            "pending_ms": self._now_ms() if height is None else None,
            "rev": document["rev"] + 1,
        }
        writes: list[Write] = [Patch(TRANSACTIONS, txid, changes, expect={"rev": document["rev"]})]
        if height is None and applied(document) and self._broadcaster is not None:
            writes.append(outbox_entry(self._ground.numbers, self._now_ms(), "broadcast", {"txid": txid}))
        await self._store.commit(writes + await self._told(txid, height))

    async def _told(self, txid: bytes, height: int | None) -> list[Write]:
        """What the services that want to know of proofs record."""
        services = {name: service for name, service in self._ground.services.items() if service.wants_proofs}
        if not services:
            return []
        events = [
            OutputProven(OutputRef(topic, *split_outpoint(output["_id"]), output["seq"]), height)
            for output in await outputs_of(self._store, txid)
            for topic in output["topics"]
        ]
        return await writes_for(events, services, self._store)

    # Going

    async def on_chain_change(self, change: ChainChange) -> None:
        """Take back what a reorganisation un-proved; also what an earlier run did not finish."""
        self._measures.events["blocks"] += max(0, change.tip_height - change.fork_height)
        if change.reorganised:
            self._measures.events["reorg"] += 1
        await self.settle()

    async def settle(self) -> int:
        """Deal with a reorganisation that is marked as unfinished; how many proofs were taken back."""
        fork = self._headers.unsettled_fork
        if fork is None:
            return 0
        count = 0
        async for documents in pages(self._store, TRANSACTIONS, Find(index="by_height", lower=fork + 1)):
            for document in documents:
                count += await self._take_back_if_stale(document["_id"])
        await self._headers.settle()
        log.warning("reorganisation settled", fork_height=fork, unproven=count)
        return count

    async def revalidate(self, txids: Sequence[bytes]) -> None:
        """Look once more at proofs that were checked while the chain changed."""
        for txid in txids:
            await self._take_back_if_stale(txid)

    async def _take_back_if_stale(self, txid: bytes) -> bool:
        for _ in range(_ATTEMPTS):
            document = await self._store.get(TRANSACTIONS, txid)
            if document is None or not self._stale(document):
                return False
            try:
                await self._set_proof(document, None, None, None)
            except Conflict:
                continue
            self._measures.events["unproven"] += 1
            return True
        return False

    def _stale(self, document: Document) -> bool:
        height, block_hash = document.get("height"), document.get("block_hash")
        if height is None or block_hash is None:
            return False
        return bool(self._headers.hash_at(height) != block_hash)

    # Asking

    async def ask(self, txid: bytes) -> Broadcast | None:
        """What the network says of a transaction, one that is not here as well; None when it does not know it, or
        nobody can be asked. Raises `Unavailable`."""
        return await self._broadcaster.status(txid) if self._broadcaster is not None else None

    async def refresh(self, limit: int | None = None) -> dict[str, int]:
        """Ask for the proofs of unproven transactions, and evict those that are too old.

        All of them, oldest first; or the next `limit`, going on where the last such round ended. Returns
        counts by what came of them: proven, evicted, pending, unreachable.
        """
        outcome = {"proven": 0, "evicted": 0, "pending": 0, "unreachable": 0}
        seen, after = 0, self._position if limit is not None else None
        while limit is None or seen < limit:
            size = min(_PAGE, limit - seen) if limit is not None else _PAGE
            page = await self._store.find(TRANSACTIONS, self._due(size, after))
            seen += len(page.documents)
            for result in await asyncio.gather(*map(self._refresh_one, page.documents)):
                outcome[result] += 1
            after = page.last
            if after is None or outcome["unreachable"]:
                break
        if limit is not None:
            self._position = after
        return outcome

    def _due(self, limit: int, after: tuple[Scalar, ...] | None) -> Find:
        """Unproven transactions to look at: all, or without anybody to ask only those that are too old."""
        upper = None if self._broadcaster is not None else self._now_ms() - self._max_age_ms + 1
        return Find(index="pending", upper=upper, limit=limit, after=after)

    async def _refresh_one(self, document: Document) -> str:
        async with self._gate:
            txid: bytes = document["_id"]
            try:
                status = await self._broadcaster.status(txid) if self._broadcaster else None
                if status is not None and await self.ingest(status):
                    return "proven" if status.merkle_path is not None else "evicted"
                if status is None or status.status in _LOST:
                    await self._send_again(document)
            except Unavailable:
                return "unreachable"
            except NotFound:
                return "evicted"
            except MetawattError as error:
                log.warning("a proof was not accepted", txid=txid[::-1].hex(), reason=error.message)
            return await self._age(document)

    async def _send_again(self, document: Document) -> None:
        """Pools forget, and lose what a block that was replaced had; what was admitted here is sent once more."""
        txid, now_ms = document["_id"], self._now_ms()
        last_ms = self._resent_ms.get(txid) or document["pending_ms"]
        if self._broadcaster is None or not applied(document) or 0 <= now_ms - last_ms < _RESEND_MS:
            return
        if len(self._resent_ms) >= _MOST_RESENT:
            self._resent_ms.clear()
        self._resent_ms[txid] = now_ms
        work = {"txid": txid, "again": True}
        await self._store.commit([outbox_entry(self._ground.numbers, now_ms, "broadcast", work)])
        self._measures.events["resent"] += 1

    async def _age(self, document: Document) -> str:
        if self._now_ms() - document["pending_ms"] < self._max_age_ms:
            return "pending"
        if applied(document):
            gone = await self._evictor.evict(document["_id"], "no proof within the set age")
            return "evicted" if gone else "pending"
        # An ancestor that nobody proved: what descends from it ages by itself.
        try:
            patch = Patch(TRANSACTIONS, document["_id"], {"pending_ms": None}, expect={"rev": document["rev"]})
            await self._store.commit([patch])
        except Conflict:
            log.debug("an ancestor changed while it was aged", txid=document["_id"][::-1].hex())
        return "pending"
