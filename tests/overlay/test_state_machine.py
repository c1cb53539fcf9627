"""The engine against a model: whatever comes in whatever order, and wherever the process dies.

The store, the dev chain, topics and lookup service are the real ones. A crash is `Died`, raised at a commit
that is drawn: before it, or after it and before anybody hears of it. What is on disk then is copied, and a new
node starts on the copy; the operation is tried again, as its caller would who was told nothing, and the end
must be what it would have been without the crash. Sequences are fixed; METAWATT_TEST_LONG=1 draws new ones.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, TypeAlias, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from certificates import successor
from certificates.token import Token
from config.errors import BadRequest, ErrorCode
from lookup.audit import check_partitions
from overlay.builder import Coin, coins_of
from overlay.chain import Broadcast, Broadcaster, TxStatus
from overlay.invariants import check_invariants
from overlay.lookup_service import Formula, Question
from overlay.records import CONFLICTS, OUTBOX, TRANSACTIONS, WAITING
from overlay.steak import Steak, TopicResult
from overlay.transaction import Transaction, outpoint
from store.port import Collection, Document, Find, Write
from store.sqlite import SqliteStore
from tests.overlay.kit import GC, SOLAR_DE, Chain, Clock, DevBroadcaster, Node
from tests.overlay.model import Block, Model, Outpoint, Part, Refused, Tx

WIND = "tm_metawatt_gc_wind"
TOPICS = (GC, SOLAR_DE, WIND)
REORG_LIMIT = 10
LEASE_MS = 60_000
"""How long work that a dead process had begun lies before another takes it up."""
HOUR_MS = 3_600_000
LONG = bool(os.environ.get("METAWATT_TEST_LONG"))

T = TypeVar("T")
PICK = st.integers(0, 999)
NAMED = st.lists(st.sampled_from(TOPICS), min_size=1, unique=True).map(tuple)
Topics: TypeAlias = tuple[str, ...] | None
MAYBE = st.none() | NAMED
"""The topics to which a new transaction is submitted at once; None when it is kept for later."""


class Died(BaseException):
    """The process is no more."""


class MortalStore(SqliteStore):
    """A store that dies at a set commit, and answers nothing from then on."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, cache_mib=2)
        self.dead = False
        self.fuse: int | None = None
        self.writes_before_death = False

    async def commit(self, writes: Sequence[Write]) -> None:
        self._check_alive()
        if self.fuse is None:
            return await super().commit(writes)
        self.fuse -= 1
        if self.fuse >= 0:
            return await super().commit(writes)
        self.dead = True
        if self.writes_before_death:
            await super().commit(writes)
        raise Died

    async def get_each(self, requests: Any) -> Any:
        self._check_alive()
        return await super().get_each(requests)

    async def find(self, collection: Collection, find: Find) -> Any:
        self._check_alive()
        return await super().find(collection, find)

    def _check_alive(self) -> None:
        if self.dead:
            raise Died


class Listening:
    """A broadcaster that remembers what was answered."""

    def __init__(self, broadcaster: Broadcaster) -> None:
        self._broadcaster = broadcaster
        self.heard: list[Broadcast] = []

    async def broadcast(self, transaction: bytes) -> Broadcast:
        answer = await self._broadcaster.broadcast(transaction)
        self.heard.append(answer)
        return answer

    async def status(self, txid: bytes) -> Broadcast | None:
        answer = await self._broadcaster.status(txid)
        if answer is not None:
            self.heard.append(answer)
        return answer

    async def close(self) -> None:
        await self._broadcaster.close()


class Template:
    """A chain with buried funds, made once and copied for each run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.chain = Chain(folder, Clock())

    async def make(self) -> None:
        await self.chain.open()
        await self.chain.fund()
        await self.chain.dev.mine(REORG_LIMIT + 2)
        await self.chain.close()

    def copy(self, folder: Path) -> Chain:
        shutil.copy(self.folder / "devchain.db", folder / "devchain.db")
        chain = Chain(folder, Clock())
        chain.known, chain.proofs = dict(self.chain.known), dict(self.chain.proofs)
        (payment,) = chain.known.values()
        chain.add_funds(payment)
        return chain


class Machine(RuleBasedStateMachine):
    template: Template

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = Path(mkdtemp(dir=self.template.folder))
        self.chain = self.template.copy(self.folder)
        self.clock = self.chain.clock
        self.model = Model([WIND])
        self.made: list[Transaction] = []
        self.tokens: dict[Outpoint, Token] = {}
        self.faucets: set[bytes] = set()
        self.lives = 0
        self.fuse: tuple[int, bool] | None = None
        self.run(self.chain.open())
        for payment in self.chain.known.values():
            self.note(payment, [])
        self.run(self.start())
        self.see_chain()

    def run(self, work: Awaitable[T]) -> T:
        return self.loop.run_until_complete(work)

    async def start(self) -> None:
        """A node on what is on disk."""
        self.store = MortalStore(self.folder / f"node{self.lives}.db")
        self.arc = Listening(DevBroadcaster(self.chain.dev))
        self.node = Node(self.chain, self.store, self.clock, broadcaster=self.arc)
        await self.node.open()

    def teardown(self) -> None:
        self.store.dead = False
        self.run(self.node.close())
        self.run(self.chain.close())
        self.run(self.loop.shutdown_default_executor())
        self.loop.close()
        shutil.rmtree(self.folder)

    # Life and death

    def crash(self) -> None:
        """Nothing is closed: the node's file and its log are taken as they lie there."""
        self.store.dead = True
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        before, self.lives = self.folder / f"node{self.lives}.db", self.lives + 1
        for ending in ("", "-wal"):
            source = before.with_name(before.name + ending)
            if source.exists():
                shutil.copy(source, self.folder / f"node{self.lives}.db{ending}")
        self.run(self.node.close())
        self.run(self.start())
        self.model.forget_memory()

    def do(self, work: Callable[[Node], Awaitable[T]]) -> T:
        """Do it, or, with a fuse lit, die in the middle of it and do it again in the next life."""
        if self.fuse is None:
            return self.run(work(self.node))
        (self.store.fuse, self.store.writes_before_death), self.fuse = self.fuse, None
        try:
            return self.run(work(self.node))
        except Died:
            heard = self.arc.heard
            self.crash()
            self.arc.heard[:0] = heard
            return self.run(work(self.node))
        finally:
            self.store.fuse = None

    @rule(commits=st.integers(0, 3), writes=st.booleans())
    def light_fuse(self, commits: int, writes: bool) -> None:
        self.fuse = (commits, writes)

    @rule()
    def die(self) -> None:
        self.crash()

    # Making transactions

    def note(self, transaction: Transaction, tokens: Sequence[Token], issues: bool = False) -> None:
        parts = {
            i: Part(token.issuance_id, *token.bundle.range, token.bundle.status.value)
            for i, token in enumerate(tokens)
        }
        inputs = tuple((spent.source_txid, spent.source_index) for spent in transaction.inputs)
        self.model.txs[transaction.txid] = Tx(transaction.txid, inputs, parts, issues)
        if inputs[0][0] in self.chain.known:
            self.made.append(transaction)
        else:
            self.faucets.add(transaction.txid)
        for index, token in enumerate(tokens):
            self.tokens[transaction.txid, index] = token

    def coin(self, output: Outpoint) -> Coin:
        txid, index = output
        return Coin(txid, index, self.chain.known[txid].outputs[index])

    def pick_token(self, pick: int) -> tuple[Coin, Token]:
        output = list(self.tokens)[pick % len(self.tokens)]
        return self.coin(output), self.tokens[output]

    def succeed(self, coins: Sequence[Coin], tokens: Sequence[Token], topics: Topics) -> None:
        funding = self.run(self.fund())
        self.offer(self.chain.spend([*coins, funding], tokens), tokens, topics)

    def offer(
        self, transaction: Transaction, tokens: Sequence[Token], topics: Topics, issues: bool = False
    ) -> None:
        self.note(transaction, tokens, issues)
        if topics is not None:
            self.submit_one(transaction, topics)

    async def fund(self) -> Coin:
        coin = await self.chain.fund()
        if coin.txid not in self.model.txs:
            self.note(self.chain.known[coin.txid], [])
            await self.node.headers.sync()
            self.see_chain()
        return coin

    @rule(quantities=st.lists(st.integers(1, 9), min_size=1, max_size=2), topics=MAYBE)
    def issue(self, quantities: list[int], topics: Topics) -> None:
        transaction, tokens = self.run(self.chain.issue(quantities, self.run(self.fund())))
        self.offer(transaction, tokens, topics, issues=True)

    @precondition(lambda self: self.made)
    @rule(pick=PICK, quantity=st.integers(1, 9), topics=MAYBE)
    def issue_on_change(self, pick: int, quantity: int, topics: Topics) -> None:
        """The change of an earlier transaction pays for an issuance."""
        funding = coins_of(self.made[pick % len(self.made)])[-1]
        transaction, tokens = self.run(self.chain.issue([quantity], funding))
        self.offer(transaction, tokens, topics, issues=True)

    @precondition(lambda self: self.made)
    @rule(pick=PICK)
    def pay(self, pick: int) -> None:
        """A payment without certificates, out of change."""
        self.note(self.chain.spend([coins_of(self.made[pick % len(self.made)])[-1]], []), [])

    @precondition(lambda self: self.tokens)
    @rule(pick=PICK, topics=MAYBE)
    def transfer(self, pick: int, topics: Topics) -> None:
        coin, token = self.pick_token(pick)
        self.succeed([coin], [successor.transfer(token, self.chain.owner.public)], topics)

    @precondition(lambda self: self.tokens)
    @rule(pick=PICK, at=PICK, topics=MAYBE)
    def split(self, pick: int, at: int, topics: Topics) -> None:
        coin, token = self.pick_token(pick)
        quantity = token.bundle.range.quantity
        if quantity > 1:
            sizes = [1 + at % (quantity - 1)]
            sizes.append(quantity - sizes[0])
            self.succeed([coin], successor.split(token, sizes, [self.chain.owner.public] * 2), topics)

    @precondition(lambda self: self.tokens)
    @rule(pick=PICK, topics=MAYBE)
    def merge(self, pick: int, topics: Topics) -> None:
        """With a part that lies next to it, wherever that comes from."""
        coin, token = self.pick_token(pick)
        for output, other in self.tokens.items():
            if other.issuance_id == token.issuance_id and other.bundle.range.start == token.bundle.range.end + 1:
                try:
                    merged = successor.merge([token, other], self.chain.owner.public)
                except ValueError:
                    continue
                self.succeed([coin, self.coin(output)], [merged], topics)
                return

    @precondition(lambda self: self.tokens)
    @rule(pick=PICK, topics=MAYBE)
    def cancel_or_claim(self, pick: int, topics: Topics) -> None:
        coin, token = self.pick_token(pick)
        owner = self.chain.owner.public
        status = token.bundle.status.value
        if status == "Active":
            self.succeed([coin], [successor.cancel(token, "Somebody", owner)], topics)
        elif status == "Cancelled":
            self.succeed([coin], [successor.claim(token, owner)], topics)

    @precondition(lambda self: self.tokens)
    @rule(pick=PICK, gap=st.booleans(), topics=MAYBE)
    def lose(self, pick: int, gap: bool, topics: Topics) -> None:
        """Spent without successors, or with one that holds less."""
        coin, token = self.pick_token(pick)
        quantity = token.bundle.range.quantity
        keys = [self.chain.owner.public] * 2
        parts = successor.split(token, [1, quantity - 1], keys)[1:] if gap and quantity > 1 else []
        self.succeed([coin], parts, topics)

    # Submitting

    def is_provable(self, txid: bytes) -> bool:
        """Whether its maker can say what it stands on: a payment of the faucet's only when that is mined."""
        return txid in self.chain.proofs or (
            txid not in self.faucets
            and all(self.is_provable(spent.source_txid) for spent in self.chain.known[txid].inputs)
        )

    @precondition(lambda self: self.made)
    @rule(pick=PICK, topics=NAMED)
    def submit(self, pick: int, topics: tuple[str, ...]) -> None:
        self.submit_one(self.made[pick % len(self.made)], topics)

    def submit_one(self, transaction: Transaction, topics: Sequence[str]) -> None:
        if not self.is_provable(transaction.txid):
            return
        answered = self.do(lambda node: answer(node, transaction, topics))
        assert answered == self.expected(transaction, topics)

    def expected(self, transaction: Transaction, topics: Sequence[str]) -> Steak | str:
        try:
            return self.model.submit(transaction.txid, topics, self.blocks())
        except Refused as refused:
            return str(refused)

    def blocks(self) -> dict[bytes, Block]:
        """Where everything that is mined now lies."""
        return {txid: self.mined[txid] for txid in self.chain.proofs}

    # The chain

    def see_chain(self) -> None:
        """The node follows the chain, and everybody learns what is mined."""
        self.do(lambda node: node.headers.sync())
        tip = self.chain.dev.tip.height
        headers = self.run(self.chain.dev.headers(0, tip + 1))
        self.run(self.find_proofs())
        self.model.follow({header.height: header.hash for header in headers})

    async def find_proofs(self) -> None:
        self.chain.proofs.clear()
        self.mined: dict[bytes, Block] = {}
        for txid in self.chain.known:
            report = await self.chain.dev.status(txid)
            if report is not None and report.merkle_path is not None and report.block_height is not None:
                (header,) = await self.chain.dev.headers(report.block_height, 1)
                self.chain.proofs[txid] = report.merkle_path
                self.mined[txid] = (header.height, header.hash)

    @rule(blocks=st.integers(1, 3))
    def mine(self, blocks: int) -> None:
        self.run(self.chain.dev.mine(blocks))
        self.see_chain()

    @rule(depth=st.integers(1, REORG_LIMIT), drop=st.booleans())
    def reorganise(self, depth: int, drop: bool) -> None:
        """The faucet's own payments are never dropped: nobody would send them again."""
        fork = self.chain.dev.tip.height - depth
        if drop and any(self.mined[txid][0] > fork for txid in self.faucets & self.mined.keys()):
            drop = False
        self.run(self.chain.dev.reorg(depth, drop))
        self.see_chain()

    @precondition(lambda self: self.made)
    @rule(pick=PICK)
    def bypass(self, pick: int) -> None:
        """Its maker gives a transaction to the miners, and what it stands on, and not to the node."""
        transaction = self.made[pick % len(self.made)]
        if self.is_provable(transaction.txid):
            for txid in self.model.ancestry(transaction.txid, self.blocks()):
                if txid not in self.chain.proofs:
                    self.run(DevBroadcaster(self.chain.dev).broadcast(self.chain.extended(self.chain.known[txid])))

    # Background work

    def hear(self) -> None:
        """What the network answered, the model hears too."""
        for answer in self.arc.heard:
            if answer.merkle_path is not None:
                self.model.prove(answer.txid, self.mined[answer.txid])
            elif answer.status.refused:
                self.model.evict(answer.txid)
        self.arc.heard.clear()

    @rule()
    def tend(self) -> None:
        self.do(lambda node: node.engine.tend())
        self.hear()
        self.model.offer_again()

    @rule()
    def mend(self) -> None:
        self.do(lambda node: node.engine.mend())
        self.model.sweep()

    @rule()
    def ask_for_proofs(self) -> None:
        asked = list(self.model.pending)
        self.do(lambda node: node.engine.refresh_proofs())
        self.hear()
        self.model.age(asked)

    @precondition(lambda self: self.model.held)
    @rule(pick=PICK)
    def call_back(self, pick: int) -> None:
        """ARC tells of a proof by itself."""
        txid = self.pick_held(pick)
        path = self.chain.proofs.get(txid)
        self.do(lambda node: node.engine.ingest_status(Broadcast(txid, TxStatus.MINED, merkle_path=path)))
        if path is not None:
            self.model.prove(txid, self.mined[txid])

    def pick_held(self, pick: int) -> bytes:
        held = [txid for txid in self.chain.known if txid in self.model.held]
        return held[pick % len(held)]

    @precondition(lambda self: self.model.held)
    @rule(pick=PICK, status=st.sampled_from([TxStatus.REJECTED, TxStatus.DOUBLE_SPEND_ATTEMPTED]))
    def refuse(self, pick: int, status: TxStatus) -> None:
        """The network refuses what is not mined."""
        txid = self.pick_held(pick)
        if txid in self.mined:
            return

        async def told(node: Node) -> None:
            if await node.store.get(TRANSACTIONS, txid) is not None:
                await node.engine.ingest_status(Broadcast(txid, status, "no"))

        self.do(told)
        self.model.evict(txid)

    @rule(hours=st.sampled_from([1, 25, 24 * 7]))
    def wait(self, hours: int) -> None:
        self.turn_clock(hours * HOUR_MS)

    def turn_clock(self, by_ms: int) -> None:
        self.clock.now_ms += by_ms
        self.model.now_ms = self.clock.now_ms

    @rule()
    def reindex(self) -> None:
        self.do(lambda node: node.engine.reindex("ls_metawatt"))

    @rule()
    def come_to_rest(self) -> None:
        """Promised work is done in the end: everything that the chain takes is proven."""
        for _ in range(3):
            self.turn_clock(LEASE_MS)
            self.tend()
            self.mine(1)
            self.ask_for_proofs()
        assert self.run(self.store.count(OUTBOX)) == 0
        unproven = {txid for txid in self.model.receipts if self.model.held[txid] is None}
        assert not unproven

    # What must hold after each step

    @invariant()
    def time_passes(self) -> None:
        self.turn_clock(1)

    @invariant()
    def the_store_says_what_the_model_says(self) -> None:
        stored = {document["_id"]: document for document in self.everything(TRANSACTIONS)}
        assert {t: _block(d) for t, d in stored.items()} == self.model.held
        assert {t: _receipts(d) for t, d in stored.items() if d.get("receipts")} == self.model.receipts
        pending = {t: d["pending_ms"] for t, d in stored.items() if d.get("pending_ms") is not None}
        assert pending.keys() == self.model.pending.keys()
        conflicts = {document["_id"] for document in self.everything(CONFLICTS)}
        assert conflicts == {outpoint(*spent) + txid for spent, txid in self.model.conflicts}
        assert {document["_id"] for document in self.everything(WAITING)} == self.model.waiting.keys()

    def everything(self, collection: Collection) -> list[Document]:
        return self.run(self.store.find(collection, Find(limit=10_000))).documents

    @invariant()
    def lookups_find_what_is_live(self) -> None:
        for topic in TOPICS:
            live = self.model.live(topic)
            assert self.run(self.indexed(topic)) == live
            assert self.run(self.node.live(topics=[topic], limit=1000)) == {
                output for output in live if self.model.is_provable(output[0])
            }

    async def indexed(self, topic: str) -> set[Outpoint]:
        question = Question("ls_metawatt", {"topics": [topic], "limit": 1000}, self.clock())
        answer = await self.node.engine.lookup_services["ls_metawatt"].lookup(question, self.store)
        assert isinstance(answer, Formula)
        return {(found.txid, found.output_index) for found in answer.found}

    @invariant()
    def invariants_hold(self) -> None:
        assert self.run(check_invariants(self.store)) == []
        assert self.run(check_partitions(self.store)) == []


async def answer(node: Node, transaction: Transaction, topics: Sequence[str]) -> Steak | str:
    try:
        return await node.submit(transaction, *topics)
    except BadRequest as error:
        return "double spend" if error.code is ErrorCode.DOUBLE_SPEND else error.message


def _block(document: Document) -> Block | None:
    return None if document.get("height") is None else (document["height"], document["block_hash"])


def _receipts(document: Document) -> Steak:
    return {topic: TopicResult.from_wire(wire) for topic, wire in document["receipts"].items()}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Template]:
    made = Template(tmp_path_factory.mktemp("template"))
    asyncio.run(made.make())
    yield made


@pytest.mark.timeout(0 if LONG else 120)
def test_the_engine_does_what_the_model_does(template: Template) -> None:
    machine = type("EngineMachine", (Machine,), {"template": template})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=400 if LONG else 50,
            stateful_step_count=60 if LONG else 40,
            derandomize=not LONG,
            database=None,
            phases=[Phase.generate],  # to shrink takes minutes, to read forty steps does not
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


async def test_an_ancestor_that_was_given_up_is_asked_about_again_once_it_is_admitted(
    node: Node, chain: Chain, clock: Clock
) -> None:
    """Seldom drawn: nobody proves an ancestor for a week, then it is submitted by itself."""
    parent, _ = await chain.issue()
    child, _ = await chain.issue(funding=coins_of(parent)[-1])
    await node.submit(child)
    clock.now_ms += 7 * 24 * HOUR_MS
    await node.engine.refresh_proofs()
    await node.submit(child)
    clock.now_ms += 1
    await node.submit(parent)
    await node.engine.tend()
    await chain.dev.mine()
    await node.engine.refresh_proofs()
    document = await node.store.get(TRANSACTIONS, parent.txid)
    assert document is not None
    assert document["height"] == chain.dev.tip.height
