"""Two operations on one engine, the second coming in at the worst moment of the first: between what it read
and what it writes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

import pytest

from certificates import successor
from lookup.audit import check_partitions
from overlay.builder import coins_of
from overlay.chain import Broadcast, TxStatus
from overlay.invariants import check_invariants
from overlay.records import TRANSACTIONS
from overlay.steak import Steak, TopicResult
from overlay.transaction import Transaction
from store.port import Collection, Document, Key, Write
from store.sqlite import SqliteStore
from tests.overlay.kit import GC, SOLAR_DE, Chain, Clock, Node


class OvertakenStore(SqliteStore):
    """Lets `meanwhile` happen, once, before the next commit, and `after_read` after the next reads."""

    meanwhile: Callable[[], Awaitable[object]] | None = None
    after_read: Callable[[], Awaitable[object]] | None = None

    async def commit(self, writes: Sequence[Write]) -> None:
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            await meanwhile()
        await super().commit(writes)

    async def get_each(self, requests: Sequence[tuple[Collection, Sequence[Key]]]) -> list[dict[Key, Document]]:
        after_read, self.after_read = self.after_read, None
        found = await super().get_each(requests)
        if after_read is not None:
            await after_read()
        return found


@pytest.fixture
async def chain(tmp_path: Path) -> AsyncIterator[Chain]:
    made = Chain(tmp_path, Clock())
    await made.open()
    yield made
    await made.close()


@pytest.fixture
async def store(tmp_path: Path) -> OvertakenStore:
    return OvertakenStore(tmp_path / "node.db", cache_mib=4)


@pytest.fixture
async def node(chain: Chain, store: OvertakenStore) -> AsyncIterator[Node]:
    made = Node(chain, store, chain.clock)
    await made.open()
    yield made
    assert store.meanwhile is store.after_read is None
    assert await check_invariants(store) == []
    assert await check_partitions(store) == []
    await made.close()


async def refuse(node: Node, transaction: Transaction) -> bool:
    return await node.engine.ingest_status(Broadcast(transaction.txid, TxStatus.REJECTED, "no"))


async def family(chain: Chain) -> tuple[Transaction, Transaction]:
    """An issuance, and its transfer."""
    parent, tokens = await chain.issue()
    child = await chain.succeed(coins_of(parent)[:1], [successor.transfer(tokens[0], chain.owner.public)])
    return parent, child


async def test_a_child_that_comes_while_its_parent_is_evicted(
    node: Node, chain: Chain, store: OvertakenStore
) -> None:
    parent, child = await family(chain)
    await node.submit(parent)
    store.meanwhile = lambda: node.submit(child)
    await refuse(node, parent)
    assert await node.live() == set()
    assert await store.get(TRANSACTIONS, child.txid) is None


async def test_a_parent_that_is_evicted_while_its_child_comes(
    node: Node, chain: Chain, store: OvertakenStore
) -> None:
    parent, child = await family(chain)
    await node.submit(parent)
    store.meanwhile = lambda: refuse(node, parent)
    # The parent came along in the child's envelope, so it is admitted anew.
    assert await node.submit(child) == {GC: TopicResult((0,), (0,))}
    assert await node.live() == {(child.txid, 0)}
    assert await node.submit(parent) == {GC: TopicResult((0,))}
    assert node.engine.measures.submissions[GC, "repeated"] == 1


async def test_a_topic_that_takes_a_coin_while_it_is_spent(node: Node, chain: Chain, store: OvertakenStore) -> None:
    parent, child = await family(chain)
    await node.submit(parent, GC)
    store.meanwhile = lambda: node.submit(parent, SOLAR_DE)
    steak = await node.submit(child, GC)
    assert steak == {GC: TopicResult((0,), (0,)), SOLAR_DE: TopicResult((0,), (0,))}
    assert await node.live(topics=[SOLAR_DE]) == {(child.txid, 0)}


async def test_a_parent_that_comes_while_its_child_misses_it(
    node: Node, chain: Chain, store: OvertakenStore
) -> None:
    parent, child = await family(chain)
    store.after_read = lambda: node.submit(parent)
    assert await node.submit(child) == {GC: TopicResult((0,), (0,))}
    assert node.engine.waiting.occupied == 0


async def through_a_payment(node: Node, chain: Chain) -> tuple[Transaction, Transaction, Transaction]:
    """An issuance, a payment out of its change that is no topic's concern, and an issuance out of that."""
    first, _ = await chain.issue()
    payment = chain.spend([coins_of(first)[-1]], [])
    second, _ = await chain.issue(funding=coins_of(payment)[0])
    await node.submit(first)
    return first, payment, second


async def test_eviction_reaches_through_transactions_that_no_topic_judged(node: Node, chain: Chain) -> None:
    first, payment, second = await through_a_payment(node, chain)
    await node.submit(second)
    await refuse(node, first)
    assert await node.live() == set()
    assert await node.store.get(TRANSACTIONS, payment.txid) is None
    assert await node.submit(second) == {GC: TopicResult((0,))}


async def test_a_mere_ancestor_that_is_refused_takes_along_what_stands_on_it(node: Node, chain: Chain) -> None:
    first, payment, second = await through_a_payment(node, chain)
    await node.submit(second)
    assert await refuse(node, payment)
    assert await node.live() == {(first.txid, 0)}


async def test_a_distant_descendant_that_comes_while_its_ancestor_is_evicted(
    node: Node, chain: Chain, store: OvertakenStore
) -> None:
    first, _, second = await through_a_payment(node, chain)
    answers: list[Steak] = []

    async def meanwhile() -> None:
        answers.append(await node.submit(second))

    store.meanwhile = meanwhile
    await refuse(node, first)
    assert answers == [{GC: TopicResult((0,))}]
    assert await node.live() == set()
