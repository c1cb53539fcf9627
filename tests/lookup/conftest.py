"""A node in small for the lookup service: real tokens, real topic managers, the real store, its events."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson
import pytest

from certificates.issuance import issue, withdraw
from certificates.policy import Issuer, Policy
from certificates.ranges import Range
from certificates.token import ISSUANCE_PROTOCOL, Token, encode_fields
from certificates.withdrawal import Withdrawal
from config.settings import LimitSettings, Settings
from lookup.metawatt import MetawattLookup
from overlay.builder import make_transaction
from overlay.keys import PrivateKey
from overlay.lookup_service import (
    Event,
    Formula,
    Freeform,
    OutputAdmitted,
    OutputProven,
    OutputRef,
    OutputRemoved,
    OutputSpent,
    OutputUnspent,
    Question,
)
from overlay.pushdrop import lock
from overlay.topic import Coin, Submission
from overlay.transaction import Input, Output, Transaction
from store.port import Find, Reader
from store.sqlite import SqliteStore
from tests.sample import ATTRIBUTES as SAMPLE
from topics.certificates import CertificateTopic
from topics.names import certificate_topics

NOW_MS = 1_780_315_200_000
"""2026-06-01T12:00:00Z."""

WHOLE = Range(1, 1000)

ATTRIBUTES: dict[str, Any] = {name: value for name, value in SAMPLE.items() if name != "device_id"}


class SmallNode:
    """What the engine does around a lookup service, without envelopes and chain: topics judge, events
    follow, their writes are committed. Outpoints are 36 bytes."""

    def __init__(self, store: SqliteStore, limits: dict[str, int], *, accept_unissued: bool = False) -> None:
        self.store = store
        self.issuer = PrivateKey.from_int(1001)
        self.other_issuer = PrivateKey.from_int(1009)
        issuers = (Issuer(self.issuer.public, "One"), Issuer(self.other_issuer.public, "Other"))
        policy = Policy(issuers, accept_unissued=accept_unissued)
        names = certificate_topics(("solar_pv", "wind"), ("de", "dk"))
        self.topics = [CertificateTopic(name, policy) for name in names]
        self.service = MetawattLookup(Settings(limits=LimitSettings(**limits)))  # type: ignore[arg-type]
        self.outputs: dict[bytes, Output] = {}
        self.held: dict[bytes, list[str]] = {}
        self.tokens: dict[bytes, Token] = {}
        self.events: list[list[Event]] = []
        self.seqs: dict[bytes, int] = {}
        self._made = 0

    def funding(self) -> Input:
        """An input that no topic knows."""
        self._made += 1
        return Input(sha256(self._made.to_bytes(8, "big")).digest(), 0, b"", 0xFFFFFFFF)

    def key(self) -> bytes:
        """A fresh owner key."""
        self._made += 1
        return PrivateKey.from_int(10_000 + self._made).public

    def device_id(self) -> str:
        """That of a fresh device."""
        self._made += 1
        return f"00000000-0000-4000-8000-{self._made:012}"

    def sign(self, content: Any, signer: PrivateKey | None = None) -> Any:
        key = (signer or self.issuer).derive(ISSUANCE_PROTOCOL, content.issuance_id, "anyone")
        return content.with_signature(key.sign(sha256(content.signed_text).digest()))

    async def issue(self, issued: Range = WHOLE, signer: PrivateKey | None = None, **changes: Any) -> bytes:
        """Issue to a fresh key, by default from a device of its own; the new outpoint."""
        return (await self.issue_many([changes], issued, signer))[0]

    async def issue_many(
        self, bundles: Sequence[dict[str, Any]], issued: Range = WHOLE, signer: PrivateKey | None = None
    ) -> list[bytes]:
        """Issue one certificate for each set of changes to `ATTRIBUTES`, in one transaction."""
        funding = self.funding()
        issuer_key = (signer or self.issuer).public
        tokens = [
            issue(
                ATTRIBUTES | {"device_id": self.device_id()} | changes,
                issued,
                spends=funding.outpoint,
                output_index=index,
                issuer_key=issuer_key,
                locking_key=self.key(),
            )
            for index, changes in enumerate(bundles)
        ]
        return await self.transact([funding], [self.sign(token, signer) for token in tokens])

    async def replace(self, coins: Sequence[bytes], tokens: Sequence[Token]) -> list[bytes]:
        """Spend coins and put tokens in their place; the new outpoints."""
        inputs = [Input(coin[:32], int.from_bytes(coin[32:], "little"), b"", 0xFFFFFFFF) for coin in coins]
        return await self.transact(inputs, tokens)

    async def lose(self, coin: bytes) -> bytes:
        """Spend a coin to nothing of ours; the txid that did it."""
        await self.replace([coin], [])
        return self.last.txid

    async def notice(
        self, coin: Token | bytes, part: Range, signer: PrivateKey | None = None, reason: str = "meter fault"
    ) -> bytes:
        """Publish a withdrawal notice on part of a certificate's issuance; its outpoint."""
        return (await self.transact([self.funding()], [self.sign_notice(coin, part, signer, reason)]))[0]

    def sign_notice(
        self, coin: Token | bytes, part: Range, signer: PrivateKey | None = None, reason: str = "meter fault"
    ) -> Withdrawal:
        token = coin if isinstance(coin, Token) else self.tokens[coin]
        notice = withdraw(token, part, reason, locking_key=self.key())
        return self.sign(replace(notice, issuer_key=(signer or self.issuer).public), signer)

    async def transact(self, inputs: Sequence[Input], contents: Sequence[Any]) -> list[bytes]:
        """Submit a transaction of these tokens and notices to every topic."""
        outputs = [Output(1, lock(each.locking_key, encode_fields(each))) for each in contents]
        transaction = make_transaction(inputs, outputs or [Output(1, b"\x51")])
        await self.submit(transaction)
        made = [transaction.txid + index.to_bytes(4, "little") for index in range(len(contents))]
        self.tokens |= {each: token for each, token in zip(made, contents, strict=True) if isinstance(token, Token)}
        return made

    async def submit(self, transaction: Transaction, topics: Sequence[str] | None = None) -> list[Event]:
        """Judge a transaction, and commit what the service records of it."""
        self.last = transaction
        named = [topic for topic in self.topics if topics is None or topic.name in topics]
        self._made += 1
        events = [event for topic in named for event in await self._judged(topic, transaction)]
        fresh = [event for event in events if isinstance(event, OutputAdmitted)]
        everything = {each.ref.outpoint: tuple(self.held[each.ref.outpoint]) for each in fresh}
        events = [
            replace(each, topics=everything[each.ref.outpoint]) if isinstance(each, OutputAdmitted) else each
            for each in events
        ]
        await self.apply(events)
        return events

    async def _judged(self, topic: CertificateTopic, transaction: Transaction) -> list[Event]:
        coins = tuple(
            Coin(index, each.source_txid, each.source_index, 1, self.outputs[each.outpoint].script)
            for index, each in enumerate(transaction.inputs)
            if topic.name in self.held.get(each.outpoint, ())
        )
        admission = await topic.judge(Submission(topic.name, transaction, coins))
        events: list[Event] = [
            OutputSpent(
                self.ref(topic.name, transaction.inputs[coin.input_index].outpoint),
                coin.input_index in admission.coins_to_retain,
                admission.outputs_to_admit,
                coin.script,
                transaction.txid,
                coin.input_index,
                transaction=transaction,
            )
            for coin in coins
        ]
        return events + [self._admitted(topic.name, transaction, index) for index in admission.outputs_to_admit]

    def _admitted(self, topic: str, transaction: Transaction, index: int) -> OutputAdmitted:
        outpoint = transaction.txid + index.to_bytes(4, "little")
        held = self.held.setdefault(outpoint, [])
        first, output = not held, transaction.outputs[index]
        held.append(topic)
        self.outputs[outpoint] = output
        self.seqs.setdefault(outpoint, self._made)
        return OutputAdmitted(
            self.ref(topic, outpoint), output.satoshis, output.script, (), first, transaction=transaction
        )

    def ref(self, topic: str, outpoint: bytes) -> OutputRef:
        return OutputRef(topic, outpoint[:32], int.from_bytes(outpoint[32:], "little"), self.seqs[outpoint])

    async def apply(self, events: Iterable[Event]) -> None:
        """One commit of what the service records."""
        batch = list(events)
        self.events.append(batch)
        writes = []
        for event in batch:
            writes += await self.service.writes_for(event, self.store)
        await self.store.commit(writes)

    async def prove(self, coin: bytes, height: int | None) -> None:
        await self.apply([OutputProven(self.ref(topic, coin), height) for topic in self.held[coin]])

    async def unspend(self, coin: bytes, evicted_txid: bytes) -> None:
        await self.apply([OutputUnspent(self.ref(topic, coin), evicted_txid) for topic in self.held[coin]])

    async def remove(self, outpoint: bytes, *, evicted: bool) -> None:
        await self.apply([OutputRemoved(self.ref(topic, outpoint), evicted) for topic in self.held.pop(outpoint)])

    async def ask(self, query: Any, now_ms: int = NOW_MS, reader: Reader | None = None) -> Formula | Freeform:
        return await self.service.lookup(Question("ls_metawatt", query, now_ms), reader or self.store)

    async def find(self, query: Any = None, now_ms: int = NOW_MS, **filters: Any) -> list[bytes]:
        """The outpoints that a question finds, in order, of one page."""
        answer = await self.ask(filters if query is None else query, now_ms)
        assert isinstance(answer, Formula)
        return [found.txid + found.output_index.to_bytes(4, "little") for found in answer.found]

    async def pages(self, query: dict[str, Any], now_ms: int = NOW_MS) -> list[list[bytes]]:
        """Every page of a question, to the end."""
        pages, cursor = [], None
        while True:
            answer = await self.ask(query | ({"cursor": cursor} if cursor else {}), now_ms)
            pages.append([found.txid + found.output_index.to_bytes(4, "little") for found in answer.found])
            cursor = answer.cursor
            if cursor is None:
                return pages

    async def contexts(self, now_ms: int = NOW_MS, **filters: Any) -> dict[bytes, Any]:
        """What the answer tells beside the scripts, by outpoint."""
        answer = await self.ask(filters, now_ms)
        return {
            found.txid + found.output_index.to_bytes(4, "little"): found.context and orjson.loads(found.context)
            for found in answer.found
        }

    async def ranges(self, coin: bytes, now_ms: int = NOW_MS) -> Any:
        answer = await self.ask({"ranges": {"issuance_id": self.tokens[coin].issuance_id}}, now_ms)
        return answer.result

    async def documents(self) -> dict[str, list[Any]]:
        """Everything that the service has recorded."""
        return {
            collection.name: (await self.store.find(collection, Find(limit=10_000))).documents
            for collection in self.service.collections
        }


NodeFactory = Callable[..., AbstractAsyncContextManager[SmallNode]]


@pytest.fixture(scope="session")
def small_node() -> NodeFactory:
    """A maker of nodes, each on a store of its own; for tests that need several."""

    @asynccontextmanager
    async def make(*, accept_unissued: bool = False, **limits: int) -> AsyncIterator[SmallNode]:
        with TemporaryDirectory() as folder:
            store = SqliteStore(Path(folder) / "node.db", cache_mib=4)
            node = SmallNode(store, limits, accept_unissued=accept_unissued)
            await store.open(node.service.collections)
            try:
                yield node
            finally:
                await store.close()

    return make


@pytest.fixture
async def node(small_node: NodeFactory) -> AsyncIterator[SmallNode]:
    async with small_node() as made:
        yield made
