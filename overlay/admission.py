"""Admission: one verified submission, judged by topics, recorded in one atomic commit.

    picture → (repeat? replay) → verify → rivals? → judge by topic → commit → children

A commit that was overtaken raises `Conflict`; whoever called takes a new picture and starts again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, TypeAlias

import structlog

from config.errors import BadRequest, Busy, ErrorCode, MetawattError
from overlay.ancestors import ancestor_writes, raw_writes, transaction_document
from overlay.conflicts import ConflictLog
from overlay.envelope import Envelope, Member
from overlay.events import admission_events, admitted_topics, spend_events, writes_for
from overlay.eviction import Evictor
from overlay.ground import Ground
from overlay.hydrate import load_members
from overlay.lookup_service import Event
from overlay.outbox import outbox_entry
from overlay.picture import Picture, guards, read_picture, record_outputs, record_spends, seen_result
from overlay.records import OUTPUTS, TRANSACTIONS, load_stored
from overlay.steak import Steak, TopicResult
from overlay.topic import Coin, Mode, Submission
from overlay.transaction import Transaction, outpoint, show_outpoint
from overlay.verifier import Verifier
from overlay.waiting import WaitingRoom
from store.port import Conflict, Insert, Patch, Write

ATTEMPTS = 8

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Judged:
    """What the topics said of one submission, the coins that each was shown, and who waits for more."""

    results: Steak = field(default_factory=dict)
    coins: dict[str, tuple[Coin, ...]] = field(default_factory=dict)
    waits: list[str] = field(default_factory=list)


Alongside: TypeAlias = Callable[[Steak], Sequence[Write]]
"""Writes of the submitter's own that join the commit of its admission. It is told what the topics said, and
may raise: nothing is then changed. When one of these writes is a `Conflict`, the submission is not tried again, for
what it would write is no longer right: it fails with `AlongsideConflict`."""


class AlongsideConflict(MetawattError):
    """What would have been written beside an admission conflicts; nothing was written."""

    default_code = ErrorCode.STORAGE_CONFLICT


@dataclass(frozen=True, slots=True)
class Offer:
    """What is submitted: an envelope, the topics named, and what came beside it."""

    envelope: Envelope
    topics: Sequence[str]
    off_chain_values: bytes | None = None
    mode: Mode = Mode.CURRENT
    alongside: Alongside | None = None

    @property
    def subject(self) -> Transaction:
        return self.envelope.subject


class Admitter:
    """Admits offers, one attempt at a time. `offer_parent` submits an ancestor that came along."""

    def __init__(
        self, ground: Ground, verifier: Verifier, evictor: Evictor, waiting: WaitingRoom, *, broadcasts: bool
    ) -> None:
        self._ground = ground
        self._store = ground.store
        self._headers = ground.headers
        self._managers = ground.managers
        self._measures = ground.measures
        self._now_ms = ground.now_ms
        self._verifier = verifier
        self._evictor = evictor
        self._conflicts = ConflictLog(ground.store, ground.now_ms)
        self._waiting = waiting
        self._broadcasts = broadcasts
        self.offer_parent: Callable[[Offer], Awaitable[Steak]] | None = None
        self.revalidate: Callable[[Sequence[bytes]], Awaitable[None]] | None = None

    async def settle(self, offer: Offer, again: Sequence[str] = ()) -> Steak:
        """Admit until no other submission comes between; topics in `again` judge once more. `Busy` when
        others keep changing the same coins."""
        deep = bool(again)
        for _ in range(ATTEMPTS):
            try:
                return await self._attempt(offer, deep, again)
            except Conflict:
                deep = True
        raise Busy("other submissions keep changing the same coins")

    async def _attempt(self, offer: Offer, deep: bool, again: Sequence[str]) -> Steak:
        since = perf_counter()
        picture = await read_picture(self._store, offer.envelope, deep=deep)
        since = self._measures.lap("read", since)
        receipts = picture.receipts
        wanted = [topic for topic in self._offered(offer, picture) if topic not in receipts or topic in again]
        if not wanted:
            self._measures.repeated(offer.topics)
            return reply(offer.topics, receipts)
        generation = self._headers.generation
        if not receipts:
            await self._verify(offer.envelope)
            await self._check_rivals(picture, offer)
        since = self._measures.lap("verify", since)
        judged = await self._judge(picture, offer, wanted)
        if judged.waits and await self._coins_come(picture, offer, judged.waits):
            raise Conflict("coins came in with the ancestors, or meanwhile")
        since = self._measures.lap("judge", since)
        relevant = {topic: result for topic, result in judged.results.items() if result.relevant}
        if relevant:
            await self._commit(picture, offer, judged, relevant)
            self._measures.lap("commit", since)
            await self._after_commit(picture, offer, relevant, generation)
        if judged.waits:
            await self._waiting.keep(offer.envelope, offer.topics, offer.off_chain_values)
        self._measures.judged(judged.results)
        return reply(offer.topics, {**receipts, **judged.results})

    def _offered(self, offer: Offer, picture: Picture) -> list[str]:
        """The topics named, and those that hold a coin which is spent: none goes on showing a coin that is gone."""
        holding = [topic for topic in picture.holding_topics() if topic in self._managers]
        return list(dict.fromkeys([*offer.topics, *holding]))

    # Verification

    async def _verify(self, envelope: Envelope) -> None:
        envelope.forget_kept()
        missing = envelope.missing()
        if missing:
            # Parents that did not come along but are stored, and so verified, already.
            envelope.supply(await load_members(self._store, missing))
        unknown = {
            member.bump.height
            for member in envelope.ancestry()
            if member.bump is not None and self._headers.root_at(member.bump.height) is None
        }
        if unknown:
            await self._headers.ensure(unknown)
        await self._verifier.verify(envelope)

    async def _check_rivals(self, picture: Picture, offer: Offer) -> None:
        """Inputs that another applied transaction spends (I3): the chain decides, else the first one stays."""
        rivals = picture.rivals()
        if not rivals:
            return
        if offer.envelope.subject_bump is not None:
            reason = f"transaction {offer.subject.txid_hex} was mined in its place"
            if all([await self._evictor.evict(rival, reason) for rival in set(rivals.values())]):
                raise Conflict("the rivals were evicted")
        await self._conflicts.record(offer.subject.txid, rivals)
        self._measures.events["conflict"] += 1
        spent, rival = next(iter(rivals.items()))
        raise BadRequest(
            f"output {show_outpoint(spent)} is already spent by transaction {rival[::-1].hex()}; "
            "the double spend was recorded",
            ErrorCode.DOUBLE_SPEND,
        )

    # Judgement

    async def _judge(self, picture: Picture, offer: Offer, topics: Sequence[str]) -> Judged:
        """Each topic alone: one that raises has failed, and the others go on."""
        judged = Judged()
        for topic in topics:
            coins = picture.coins(topic)
            submission = Submission(topic, picture.transaction, coins, offer.off_chain_values, offer.mode)
            try:
                admission = await self._managers[topic].judge(submission)
                result = checked(picture.transaction, coins, admission.outputs_to_admit, admission.coins_to_retain)
            except Exception as error:
                log.exception("topic failed", topic=topic, txid=picture.transaction.txid_hex)
                judged.results[topic] = TopicResult(failed=f"{type(error).__name__}: {error}"[:500])
                continue
            if admission.waits_for_coins:
                judged.waits.append(topic)
            judged.results[topic] = seen_result(picture.receipts.get(topic), result)
            judged.coins[topic] = coins
        return judged

    async def _coins_come(self, picture: Picture, offer: Offer, topics: Sequence[str]) -> bool:
        """Whether topics that miss coins would be shown others now: those of ancestors that came along, or
        of a parent that somebody else brought in since the picture was taken."""
        if await self._admit_parents(offer, topics):
            return True
        spent = [spend.outpoint for spend in picture.transaction.inputs]
        now = await self._store.get_many(OUTPUTS, spent)
        return {key: each["topics"] for key, each in now.items()} != {
            key: each["topics"] for key, each in picture.outputs.items()
        }

    async def _admit_parents(self, offer: Offer, topics: Sequence[str]) -> bool:
        """Offer the ancestors that came along to topics that miss coins; whether any was admitted."""
        assert self.offer_parent is not None
        admitted = False
        for member in offer.envelope.ancestry()[:-1]:
            parent = Envelope(member.transaction, offer.envelope.members)
            before = (await read_picture(self._store, parent)).receipts
            lacking = [topic for topic in topics if topic not in before]
            if lacking:
                steak = await self.offer_parent(Offer(parent, lacking, None, offer.mode))
                admitted = admitted or any(steak[topic].relevant for topic in lacking)
        return admitted

    # The commit

    async def _commit(self, picture: Picture, offer: Offer, judged: Judged, relevant: Steak) -> None:
        """Everything that follows from the judgement, in one atomic commit (I2)."""
        stored = picture.stored or {}
        seq: int = stored.get("seq") or self._ground.numbers.next()
        bump = offer.envelope.subject_bump
        height = bump.height if bump is not None else stored.get("height")
        admitted = admitted_topics(relevant)
        events: list[Event] = [
            *spend_events(picture, relevant, judged.coins, offer.off_chain_values),
            *admission_events(picture, relevant, seq, height, offer.off_chain_values),
        ]
        writes = guards(picture, admitted)
        writes += self._record_transaction(picture, offer, relevant, seq)
        writes += record_outputs(picture, admitted, seq)
        writes += record_spends(picture, relevant)
        writes += await writes_for(events, self._ground.services, self._store)
        if self._broadcasts and offer.mode is Mode.CURRENT and height is None and not picture.receipts:
            work = {"txid": offer.subject.txid}
            writes.append(outbox_entry(self._ground.numbers, self._now_ms(), "broadcast", work))
        await self._write(writes, offer.alongside, judged.results)

    async def _write(self, writes: Sequence[Write], alongside: Alongside | None, results: Steak) -> None:
        beside = alongside(results) if alongside is not None else ()
        try:
            await self._store.commit([*writes, *beside])
        except Conflict as conflict:
            if conflict.write_index < len(writes):
                raise
            raise AlongsideConflict(conflict.message) from conflict

    def _record_transaction(self, picture: Picture, offer: Offer, relevant: Steak, seq: int) -> list[Write]:
        wire = {topic: result.to_wire() for topic, result in {**picture.receipts, **relevant}.items()}
        judged: dict[str, Any] = {"seq": seq, "receipts": wire}
        if offer.off_chain_values is not None:
            judged["off_chain_values"] = offer.off_chain_values
        writes: list[Write] = []
        if not picture.receipts:
            ancestors = offer.envelope.ancestry()[:-1]
            fresh = [member for member in ancestors if not member.is_kept]
            writes += ancestor_writes(fresh, self._headers, self._now_ms())
            writes += [_still_kept(member) for member in ancestors if member.is_kept and member.bump is None]
        own = transaction_document(offer.envelope.members[offer.subject.txid], self._headers, self._now_ms())
        stored = picture.stored
        if stored is None:
            return [*writes, Insert(TRANSACTIONS, own | judged), *raw_writes(offer.subject)]
        if stored.get("height") is None and "bump" in own:
            judged |= {key: own[key] for key in ("height", "block_hash", "bump")} | {"pending_ms": None}
        elif stored.get("height") is None and stored.get("pending_ms") is None:
            judged["pending_ms"] = self._now_ms()  # as an ancestor it had been given up
        judged["rev"] = stored["rev"] + 1
        writes.append(Patch(TRANSACTIONS, stored["_id"], judged, expect={"rev": stored["rev"]}))
        return writes

    # What follows

    async def _after_commit(self, picture: Picture, offer: Offer, relevant: Steak, generation: int) -> None:
        if generation != self._headers.generation and self.revalidate is not None:
            await self.revalidate([member.transaction.txid for member in offer.envelope.ancestry()])
        self._waiting.admitted(outpoint(picture.transaction.txid, index) for index in admitted_topics(relevant))
        if picture.own_spends:
            await self._judge_children(picture, relevant)

    async def _judge_children(self, picture: Picture, results: Steak) -> None:
        """Outputs that were spent before they were admitted: their spenders are judged again, with the coins
        that they lacked."""
        children: dict[bytes, set[str]] = {}
        for index, topics in admitted_topics(results).items():
            spend = picture.own_spends.get(outpoint(picture.transaction.txid, index))
            if spend is not None:
                children.setdefault(spend["txid"], set()).update(topics)
        for txid, topics_again in children.items():
            stored = (await load_stored(self._store, [txid])).get(txid)
            if stored is not None:
                child = Transaction.parse(stored.raw)
                envelope = Envelope(child, {txid: Member(child)})
                off_chain_values = stored.document.get("off_chain_values")
                offer = Offer(envelope, sorted(topics_again), off_chain_values, Mode.HISTORICAL)
                await self.settle(offer, sorted(topics_again))


def _still_kept(member: Member) -> Write:
    """A guard: `Conflict` when the transaction was evicted since it was read."""
    return Patch(TRANSACTIONS, member.transaction.txid, {})


def reply(topics: Sequence[str], results: Steak) -> Steak:
    """The STEAK: topics named, in the order named, then those that were offered it for a coin of theirs."""
    implied = [t for t, r in results.items() if t not in topics and (r.coins_to_retain or r.coins_removed)]
    return {topic: results[topic] for topic in [*topics, *implied]}


def checked(
    transaction: Transaction, coins: Sequence[Coin], admit: Sequence[int], retain: Sequence[int]
) -> TopicResult:
    """A judgement made into a result; ValueError when it names what is not there."""
    own = {coin.input_index for coin in coins}
    if not all(0 <= index < len(transaction.outputs) for index in admit):
        raise ValueError("the topic manager admits an output that does not exist")
    if not own.issuperset(retain):
        raise ValueError("the topic manager retains a coin that is not its own")
    return TopicResult(tuple(sorted(set(admit))), tuple(sorted(set(retain))), tuple(sorted(own - set(retain))))
