"""What a node ought to know and say, in plain Python: sets of integers, dictionaries, no storage, no I/O.

The state machine holds the engine against this model. It is slow and keeps everything in memory; nothing of
it is shared with the engine but the value that a topic's answer is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from overlay.steak import Steak, TopicResult

Outpoint: TypeAlias = tuple[bytes, int]
Block: TypeAlias = tuple[int, bytes]
"""Height and hash."""

STEPS = {("Active", "Active"), ("Active", "Cancelled"), ("Cancelled", "Claimed")}
PROOF_AGE_MS = 7 * 86_400_000
WAITING_AGE_MS = 86_400_000


class Refused(Exception):
    """The submission is refused, with this code."""


@dataclass(frozen=True)
class Part:
    """A certificate output: some ids of one issuance, both ends included, and their status."""

    issuance: str
    start: int
    end: int
    status: str

    @property
    def ids(self) -> set[int]:
        return set(range(self.start, self.end + 1))


@dataclass(frozen=True)
class Tx:
    """A transaction as far as it matters: what it spends, and its certificates by output index."""

    txid: bytes
    inputs: tuple[Outpoint, ...]
    parts: Mapping[int, Part] = field(default_factory=dict)
    issues: bool = False


@dataclass
class Waiting:
    """`proofs` are those that came along; None when the transaction was kept without its ancestors."""

    topics: tuple[str, ...]
    proofs: Mapping[bytes, Block] | None
    since_ms: int


class Model:
    """`deaf` are hosted topics that none of our certificates is for."""

    def __init__(self, deaf: Iterable[str]) -> None:
        self.deaf = frozenset(deaf)
        self.now_ms = 0
        self.chain: Mapping[int, bytes] = {}
        self.txs: dict[bytes, Tx] = {}
        self.receipts: dict[bytes, Steak] = {}
        self.held: dict[bytes, Block | None] = {}
        self.pending: dict[bytes, int] = {}
        self.conflicts: set[tuple[Outpoint, bytes]] = set()
        self.waiting: dict[bytes, Waiting] = {}
        self.ready: set[bytes] = set()

    # What is so

    def admits(self, topic: str, spent: Outpoint) -> bool:
        result = self.receipts.get(spent[0], {}).get(topic)
        return result is not None and spent[1] in result.outputs_to_admit

    def spenders(self, spent: Outpoint) -> list[bytes]:
        return [txid for txid in self.receipts if spent in self.txs[txid].inputs]

    def live(self, topic: str) -> set[Outpoint]:
        admitted = {
            (txid, index)
            for txid, steak in self.receipts.items()
            if topic in steak
            for index in steak[topic].outputs_to_admit
        }
        return {output for output in admitted if not self.spenders(output)}

    def is_provable(self, txid: bytes) -> bool:
        """Whether the path to mined transactions is known."""
        if txid not in self.held:
            return False
        return self.held[txid] is not None or all(self.is_provable(spent[0]) for spent in self.txs[txid].inputs)

    # Submission

    def submit(
        self, txid: bytes, topics: Sequence[str], known: Mapping[bytes, Block] | None, again: Sequence[str] = ()
    ) -> Steak:
        """`known` are the proofs that come along, None when no ancestor does; `again` topics judge once more."""
        while True:
            proofs = {t: b for t, b in self.held.items() if b and t != txid} if known is None else known
            receipts = self.receipts.get(txid, {})
            holding = {t for steak in self.receipts.values() for t in steak if self._coins(txid, t)}
            offered = dict.fromkeys([*topics, *sorted(holding)])
            wanted = [topic for topic in offered if topic not in receipts or topic in again]
            if not wanted:
                return _reply(topics, receipts)
            if not receipts:
                self._verify(txid, proofs)
                if self._overcomes_rivals(txid, proofs):
                    continue
            judged = {topic: self._judge(topic, txid) for topic in wanted}
            waits = [topic for topic, (_, lacks) in judged.items() if lacks]
            if waits and not again and self._admit_parents(txid, waits, proofs):
                continue
            results = {topic: _joined(receipts.get(topic), result) for topic, (result, _) in judged.items()}
            self._apply(txid, {t: r for t, r in results.items() if r.relevant}, proofs)
            if waits:
                self.waiting.setdefault(txid, Waiting(tuple(topics), known, self.now_ms))
            return _reply(topics, {**receipts, **results})

    def _coins(self, txid: bytes, topic: str) -> dict[int, Part]:
        inputs = enumerate(self.txs[txid].inputs)
        return {i: self.txs[spent[0]].parts[spent[1]] for i, spent in inputs if self.admits(topic, spent)}

    def ancestry(self, txid: bytes, proofs: Mapping[bytes, Block]) -> list[bytes]:
        """Down to what is proven, parents first, itself last; of the inputs the last comes first."""
        order: dict[bytes, None] = {}
        if txid not in self.txs:
            raise Refused("an ancestor is missing")
        if txid not in proofs:
            for source, _ in reversed(self.txs[txid].inputs):
                order |= dict.fromkeys(self.ancestry(source, proofs))
        return list(order | {txid: None})

    def _verify(self, txid: bytes, proofs: Mapping[bytes, Block]) -> None:
        spent: set[Outpoint] = set()
        for member in self.ancestry(txid, proofs):
            if member in proofs:
                height, digest = proofs[member]
                if self.chain.get(height) != digest:
                    raise Refused("not proven")
                continue
            inputs = self.txs[member].inputs
            if spent & set(inputs):
                raise Refused("double spend")
            spent |= set(inputs)

    def _overcomes_rivals(self, txid: bytes, proofs: Mapping[bytes, Block]) -> bool:
        """Mined transactions put unproven rivals out; others are refused for theirs."""
        rivals = {(spent, by) for spent in self.txs[txid].inputs for by in self.spenders(spent) if by != txid}
        if not rivals:
            return False
        if txid in proofs:
            stayed = [by for by in {by for _, by in rivals} if not self.evict(by)]
            if not stayed:
                return True
        self.conflicts |= {(spent, txid) for spent, _ in rivals}
        raise Refused("double spend")

    def _judge(self, topic: str, txid: bytes) -> tuple[TopicResult, bool]:
        """All parts of an issuance that is spent, or none; an issuance of its own; and whether coins lack."""
        tx, coins = self.txs[txid], self._coins(txid, topic)
        parts = {} if topic in self.deaf else tx.parts
        admit: list[int] = []
        keep: list[int] = []
        lacks = False
        for issuance in {part.issuance for part in (*parts.values(), *coins.values())}:
            spent = {i: part for i, part in coins.items() if part.issuance == issuance}
            made = {i: part for i, part in parts.items() if part.issuance == issuance}
            had, has = ids(spent.values()), ids(made.values())
            if tx.issues:
                admit += made
            elif spent and is_succession(list(spent.values()), list(made.values())):
                admit += made
                keep += spent
            else:
                lacks = lacks or bool(has - had)
        removed = coins.keys() - set(keep)
        return TopicResult(tuple(sorted(admit)), tuple(sorted(keep)), tuple(sorted(removed))), lacks

    def _admit_parents(self, txid: bytes, topics: Sequence[str], proofs: Mapping[bytes, Block]) -> bool:
        admitted = False
        for parent in self.ancestry(txid, proofs)[:-1]:
            lacking = [topic for topic in topics if topic not in self.receipts.get(parent, {})]
            if lacking:
                steak = self.submit(parent, lacking, proofs)
                admitted = admitted or any(steak[topic].relevant for topic in lacking)
        return admitted

    def _apply(self, txid: bytes, results: Steak, proofs: Mapping[bytes, Block]) -> None:
        if not results:
            return
        if txid not in self.receipts:
            for member in self.ancestry(txid, proofs)[:-1]:
                if member not in self.held:
                    self._hold(member, proofs.get(member))
        if self.held.get(txid) is None:
            self._hold(txid, proofs.get(txid))
        self.receipts[txid] = {**self.receipts.get(txid, {}), **results}
        admitted = {(txid, i): t for t, result in results.items() for i in result.outputs_to_admit}
        self.ready |= {waiter for waiter in self.waiting if set(self.txs[waiter].inputs) & admitted.keys()}
        self._judge_children(txid, results)

    def _judge_children(self, txid: bytes, results: Steak) -> None:
        """Who had spent an output before it was admitted is judged again with it."""
        children: dict[bytes, set[str]] = {}
        for topic, result in results.items():
            for index in result.outputs_to_admit:
                for child in self.spenders((txid, index)):
                    children.setdefault(child, set()).add(topic)
        for child, topics in children.items():
            self.submit(child, sorted(topics), None, again=sorted(topics))

    def _hold(self, txid: bytes, block: Block | None) -> None:
        self.held[txid] = block
        if block is None:
            self.pending.setdefault(txid, self.now_ms)
        else:
            self.pending.pop(txid, None)

    # Eviction and proofs

    def evict(self, txid: bytes) -> bool:
        """Put out an unproven transaction and all that descends from it."""
        if txid not in self.held or self.held[txid] is not None:
            return False
        doomed = {txid}
        while more := {t for t in self.held if t not in doomed and doomed & {s[0] for s in self.txs[t].inputs}}:
            doomed |= more
        for each in doomed:
            del self.held[each]
            self.receipts.pop(each, None)
            self.pending.pop(each, None)
        return True

    def prove(self, txid: bytes, block: Block) -> None:
        if txid in self.held and self.chain.get(block[0]) == block[1]:
            self._hold(txid, block)

    def follow(self, chain: Mapping[int, bytes]) -> None:
        """The node has seen another chain: proofs of blocks that are gone are taken back."""
        self.chain = chain
        for txid, block in self.held.items():
            if block is not None and chain.get(block[0]) != block[1]:
                self._hold(txid, None)

    def age(self, txids: Iterable[bytes]) -> None:
        """What was asked about and not proven goes when it is too old; mere ancestors are let be."""
        for txid in txids:
            if txid in self.pending and self.now_ms - self.pending[txid] >= PROOF_AGE_MS:
                if txid in self.receipts:
                    self.evict(txid)
                else:
                    del self.pending[txid]

    # The waiting room

    def offer_again(self) -> None:
        """Those whose coins have come, first come first served."""
        ready = sorted(self.ready & self.waiting.keys(), key=lambda t: (self.waiting[t].since_ms, t))
        self.ready = set()
        for txid in ready:
            entry = self.waiting[txid]
            try:
                steak = self.submit(txid, entry.topics, entry.proofs)
            except Refused:
                del self.waiting[txid]
            else:
                if all(steak[topic].relevant for topic in entry.topics):
                    del self.waiting[txid]

    def sweep(self) -> None:
        """The whole room: the too old leave, and whose coins are here are ready."""
        self.waiting = {t: w for t, w in self.waiting.items() if w.since_ms >= self.now_ms - WAITING_AGE_MS}
        admitted = {(t, i) for t, s in self.receipts.items() for r in s.values() for i in r.outputs_to_admit}
        self.ready |= {txid for txid in self.waiting if set(self.txs[txid].inputs) & admitted}

    def forget_memory(self) -> None:
        """The process died: what was only in memory is gone, and found again by a sweep."""
        self.ready = set()
        self.sweep()


def ids(parts: Iterable[Part]) -> set[int]:
    return set().union(*(part.ids for part in parts))


def is_succession(spent: Sequence[Part], made: Sequence[Part]) -> bool:
    """Whether every id goes on exactly once, by a lawful step."""
    before = {number: part.status for part in spent for number in part.ids}
    after = [(number, part.status) for part in made for number in part.ids]
    return sorted(before) == sorted(number for number, _ in after) and all(
        (before[number], status) in STEPS for number, status in after
    )


def _joined(before: TopicResult | None, now: TopicResult) -> TopicResult:
    """A second judgement adds to the first."""
    if before is None:
        return now
    kept = {*before.coins_to_retain, *now.coins_to_retain}
    removed = {*before.coins_removed, *now.coins_removed} - kept
    admitted = {*before.outputs_to_admit, *now.outputs_to_admit}
    return TopicResult(tuple(sorted(admitted)), tuple(sorted(kept)), tuple(sorted(removed)))


def _reply(topics: Sequence[str], results: Steak) -> Steak:
    """The topics named, then those that gave up a coin or kept one."""
    implied = [t for t, r in results.items() if t not in topics and (r.coins_to_retain or r.coins_removed)]
    return {topic: results[topic] for topic in [*topics, *implied]}
