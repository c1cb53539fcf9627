"""The engine: the one door through which transactions come, and the one from which outputs are answered.

    submit   bytes → envelope → picture → verified → judged by topic → one atomic commit → STEAK
    lookup   question → service → outpoints → hydrated with the newest proofs

Wallets, peers, the registry, the market and the bridge all come in by `submit`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, TypeAlias

import structlog

from config.errors import BadRequest, ErrorCode, MetawattError, NotFound, Unavailable
from overlay.admission import Admitter, Alongside, Offer
from overlay.chain import Broadcast, Broadcaster
from overlay.clock import NowMs, system_now_ms
from overlay.clock import Sequence as Numbers
from overlay.envelope import EnvelopeLimits, parse_envelope
from overlay.events import writes_for
from overlay.eviction import Evictor
from overlay.ground import Ground
from overlay.headers import HeaderChain
from overlay.hydrate import OutputList, hydrate
from overlay.lookup_service import Formula, Freeform, LookupService, OutputRef, OutputRemoved, Question
from overlay.measure import Measures
from overlay.outbox import Outbox, Retry
from overlay.proofs import ProofKeeper
from overlay.records import CONFLICTS, EVICTIONS, OUTPUTS, TRANSACTIONS
from overlay.reindex import Reindexer
from overlay.steak import Steak
from overlay.topic import Mode, TopicManager
from overlay.transaction import outpoint
from overlay.verifier import Verifier
from overlay.waiting import WaitingRoom
from store.port import Document, Find, Store

Progress: TypeAlias = Callable[[int, int], None]

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """Bounds and paces of the engine; `config.settings` says what they are for."""

    envelope: EnvelopeLimits = field(default_factory=EnvelopeLimits)
    retry: Retry = field(default_factory=Retry)
    topics: int = 32
    history: int = 100
    response_bytes: int = 32 * 1024 * 1024
    broadcast_concurrency: int = 16
    unproven_max_age_ms: int = 7 * 86_400_000
    waiting_max_age_ms: int = 86_400_000


class Engine:
    """Topics and lookup services over one store. `open` once before use; `tend` in the background."""

    def __init__(
        self,
        store: Store,
        headers: HeaderChain,
        verifier: Verifier,
        topic_managers: Iterable[TopicManager],
        lookup_services: Iterable[LookupService],
        *,
        broadcaster: Broadcaster | None = None,
        limits: EngineLimits | None = None,
        now_ms: NowMs = system_now_ms,
    ) -> None:
        self.topic_managers: Mapping[str, TopicManager] = {manager.name: manager for manager in topic_managers}
        self.lookup_services: Mapping[str, LookupService] = {service.name: service for service in lookup_services}
        self.measures = Measures()
        self.limits = limits = limits or EngineLimits()
        self.store = store
        self.headers = headers
        self._now_ms = now_ms
        self._flights: dict[bytes, asyncio.Future[None]] = {}
        self._stirred = asyncio.Event()
        ground = Ground(
            store, headers, self.topic_managers, self.lookup_services, self.measures, Numbers(now_ms), now_ms
        )
        self.waiting = WaitingRoom(store, now_ms, max_age_ms=limits.waiting_max_age_ms)
        self.evictor = Evictor(ground)
        self.proofs = ProofKeeper(
            ground,
            self.evictor,
            broadcaster=broadcaster,
            max_age_ms=limits.unproven_max_age_ms,
            concurrency=limits.broadcast_concurrency,
        )
        self.outbox = Outbox(ground, broadcaster, self.proofs.ingest, limits.retry) if broadcaster else None
        self._admitter = Admitter(ground, verifier, self.evictor, self.waiting, broadcasts=broadcaster is not None)
        self._admitter.offer_parent = self._alone
        self._admitter.revalidate = self.proofs.revalidate
        headers.on_change = self.proofs.on_chain_change

    async def open(self) -> None:
        """Finish what an earlier run left: the store is open, and the header chain loaded."""
        await self.proofs.settle()
        await self.waiting.sweep()

    # Submission

    async def submit(
        self,
        envelope: bytes,
        topics: Sequence[str],
        off_chain_values: bytes | None = None,
        mode: Mode = Mode.CURRENT,
        alongside: Alongside | None = None,
    ) -> Steak:
        """Submit one BEEF to topics; the reply is given when everything in it is durable (I1).

        Raises `BadRequest` for an unknown topic, or an envelope that is malformed, invalid or a double
        spend; `Busy` under overload; `Unavailable` when the chain cannot be followed. Nothing has then
        changed, but for the record of a double spend. A submitter within this process may have writes of its
        own join the commit (`alongside`), and is told of their conflict by `AlongsideConflict`.
        """
        start = perf_counter()
        try:
            named = self._known_topics(topics)
            if self.headers.halted:
                raise Unavailable(self.headers.halted, ErrorCode.REORG_TOO_DEEP)
            parsed = parse_envelope(envelope, self.limits.envelope)
            self.measures.lap("parse", start)
            steak = await self._alone(Offer(parsed, named, off_chain_values, mode, alongside))
        except MetawattError as error:
            self.measures.refusals[error.code.value] += 1
            raise
        self.measures.lap("total", start)
        if self.outbox is not None or self.waiting.occupied:
            self._stirred.set()
        return steak

    def _known_topics(self, topics: Sequence[str]) -> list[str]:
        named = list(dict.fromkeys(topics))
        if len(named) > self.limits.topics:
            raise BadRequest(f"a submission may name {self.limits.topics} topics", ErrorCode.BAD_TOPICS_HEADER)
        for topic in named:
            if topic not in self.topic_managers:
                raise BadRequest(f"This server does not support this topic: {topic}", ErrorCode.TOPIC_UNKNOWN)
        return named

    async def _alone(self, offer: Offer) -> Steak:
        """One submission of a txid at a time: repeats wait, then find the first one's receipt (I2)."""
        txid = offer.subject.txid
        while (flight := self._flights.get(txid)) is not None:
            await asyncio.shield(flight)
        flight = asyncio.get_running_loop().create_future()
        self._flights[txid] = flight
        try:
            return await self._admitter.settle(offer)
        finally:
            del self._flights[txid]
            flight.set_result(None)

    # Lookup

    async def lookup(self, service: str, query: Any) -> OutputList | Freeform:
        """Answer one question; `NotFound(LOOKUP_SERVICE_UNKNOWN)`, or `BadRequest` from the service."""
        provider = self.lookup_services.get(service)
        if provider is None:
            raise NotFound(f"Lookup service not found for provider: {service} ", ErrorCode.LOOKUP_SERVICE_UNKNOWN)
        answer = await provider.lookup(Question(service, query, self._now_ms()), self.store)
        if isinstance(answer, Formula):
            return await hydrate(self.store, answer, self.limits.history, self.limits.response_bytes)
        return answer

    # Proofs and upkeep

    async def ingest_status(self, status: Broadcast) -> bool:
        """Take in ARC's word on a transaction; False when there is nothing to do yet."""
        return await self.proofs.ingest(status)

    async def refresh_proofs(self, limit: int | None = None) -> dict[str, int]:
        """Ask for missing proofs now, all or the next `limit`; counts by what came of it."""
        return await self.proofs.refresh(limit)

    async def tend(self) -> None:
        """One round of background work: the outbox, and submissions that wait for coins."""
        if self.outbox is not None:
            await self.outbox.work()
        for document in await self.waiting.ready():
            await self._offer_again(document)

    async def mend(self) -> None:
        """One round of upkeep: who waits for coins, and indexes that a fault left incomplete."""
        await self.waiting.sweep()
        for name in await Reindexer(self.store).marked():
            if name in self.lookup_services:
                await self.reindex(name)

    async def stirred(self) -> None:
        """Return when there may be something to tend."""
        await self._stirred.wait()
        self._stirred.clear()

    async def _offer_again(self, document: Document) -> None:
        try:
            steak = await self.submit(document["beef"], document["topics"], document["off_chain_values"])
        except BadRequest as error:
            log.info("a waiting submission was refused", txid=document["_id"][::-1].hex(), reason=error.message)
        else:
            if not all(steak[topic].relevant for topic in document["topics"]):
                return
        await self.waiting.leave([document["_id"]])

    # Administration

    async def evict_output(self, txid: bytes, output_index: int, service: str | None) -> None:
        """Take an output out of lookup indexes (one service's, or all); the engine's rows stay.

        `NotFound` with OUTPUT_UNKNOWN or LOOKUP_SERVICE_UNKNOWN.
        """
        if service is not None and service not in self.lookup_services:
            raise NotFound(f"Lookup service not found for provider: {service} ", ErrorCode.LOOKUP_SERVICE_UNKNOWN)
        output = await self.store.get(OUTPUTS, outpoint(txid, output_index))
        if output is None:
            raise NotFound(f"output {txid[::-1].hex()}.{output_index} is not held here", ErrorCode.OUTPUT_UNKNOWN)
        services = {name: s for name, s in self.lookup_services.items() if service in (None, name)}
        refs = [OutputRef(topic, txid, output_index, output["seq"]) for topic in output["topics"]]
        writes = await writes_for([OutputRemoved(ref, evicted=True) for ref in refs], services, self.store)
        await self.store.commit(writes)

    async def remove_output(self, txid: bytes, output_index: int) -> None:
        """Evict the transaction of an output, and all that descends from it, at an operator's word."""
        if await self.store.get(OUTPUTS, outpoint(txid, output_index)) is None:
            raise NotFound(f"output {txid[::-1].hex()}.{output_index} is not held here", ErrorCode.OUTPUT_UNKNOWN)
        await self.evictor.evict(txid, "removed by an operator", even_proven=True)

    async def conflicts(self, limit: int = 100) -> list[Document]:
        """The double spends that were refused last, newest first: `txid` would have spent the outpoint that the
        first 36 bytes of `_id` name, and `rival` spends it (I3)."""
        page = await self.store.find(CONFLICTS, Find(index="by_age", descending=True, limit=limit))
        return page.documents

    async def evictions(self, limit: int = 100) -> list[Document]:
        """The transactions that were evicted last, newest first, each with its `reason`."""
        page = await self.store.find(EVICTIONS, Find(index="by_age", descending=True, limit=limit))
        return page.documents

    async def reindex(self, service: str | None = None, progress: Progress | None = None) -> int:
        """Rebuild one service's index, or all, from stored transactions; how many outputs were replayed."""
        if service is not None and service not in self.lookup_services:
            raise NotFound(f"Lookup service not found for provider: {service} ", ErrorCode.LOOKUP_SERVICE_UNKNOWN)
        names = [service] if service is not None else list(self.lookup_services)
        reindexer = Reindexer(self.store)
        return sum([await reindexer.rebuild(self.lookup_services[name], progress) for name in names])

    async def stats(self) -> dict[str, Any]:
        """Sizes and depths, for operators and metrics; each counted along one narrow index.

        `transactions` leaves out ancestors that were given up without a proof.
        """
        depth, oldest_ms = await self.outbox.depth() if self.outbox else (0, 0)
        pending = await self.store.count(TRANSACTIONS, Find(index="pending"))
        oldest = (await self.store.find(TRANSACTIONS, Find(index="pending", limit=1))).documents
        return {
            "transactions": pending + await self.store.count(TRANSACTIONS, Find(index="by_height")),
            "outputs": await self.store.count(OUTPUTS, Find(index="by_seq")),
            "unproven": pending,
            "proofLagMs": max(0, self._now_ms() - oldest[0]["pending_ms"]) if oldest else 0,
            "conflicts": await self.store.count(CONFLICTS),
            "evictions": await self.store.count(EVICTIONS),
            "waiting": self.waiting.occupied,
            "outboxDepth": depth,
            "outboxOldestMs": oldest_ms,
            "tipHeight": self.headers.tip_height,
            "storageBytes": await self.store.size_bytes(),
        }
