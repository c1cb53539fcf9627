"""Proofs over time: coming in, reorganisations of every depth, eviction by the network's word or by age (I4)."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from certificates import successor
from config.errors import BadRequest, ErrorCode, NotFound, Unavailable
from lookup.audit import check_partitions
from overlay.builder import P2pkhSigner, TransactionBuilder, coins_of, p2pkh_lock
from overlay.chain import Broadcast, TxStatus
from overlay.envelope import Envelope, parse_envelope
from overlay.invariants import check_invariants
from overlay.lookup_service import AdmissionMode, Event, OutputProven, SpendMode
from overlay.records import EVICTIONS, OUTBOX, SPENDS, TRANSACTIONS
from overlay.steak import TopicResult
from overlay.transaction import Transaction
from overlay.wire import is_extended, parse_sent, write_beef
from store.port import Document, Patch, Reader, Write
from tests.overlay.kit import GC, Chain, Clock, DevBroadcaster, Node, without_raw

REORG_LIMIT = 10


async def stored(node: Node, transaction: Transaction) -> Document:
    document = await node.store.get(TRANSACTIONS, transaction.txid)
    assert document is not None
    return document


async def assert_sound(node: Node) -> None:
    assert await check_invariants(node.store) == []
    assert await check_partitions(node.store) == []


async def issue_and_broadcast(node: Node, chain: Chain, count: int = 1) -> list[Transaction]:
    transactions = [(await chain.issue())[0] for _ in range(count)]
    for transaction in transactions:
        await node.submit(transaction)
    await node.engine.tend()
    return transactions


async def test_an_admitted_transaction_is_broadcast_mined_and_proven(node: Node, chain: Chain) -> None:
    (transaction,) = await issue_and_broadcast(node, chain)
    assert chain.dev.pool_size == 1
    assert await node.store.count(OUTBOX) == 0
    await chain.dev.mine()
    assert await node.engine.refresh_proofs() == {"proven": 1, "evicted": 0, "pending": 0, "unreachable": 0}
    document = await stored(node, transaction)
    assert document["height"] == chain.dev.tip.height
    answer = await node.engine.lookup("ls_metawatt", "all")
    envelope = parse_envelope(answer.beef(answer.outputs[0]))
    assert envelope.subject.txid == transaction.txid
    assert envelope.subject_bump is not None
    assert list(envelope.members) == [transaction.txid]
    await assert_sound(node)


class Watcher:
    """A lookup service that keeps nothing, and remembers what it was told of proofs."""

    name = "ls_watcher"
    admission_mode = AdmissionMode.LOCKING_SCRIPT
    spend_mode = SpendMode.NONE
    collections = ()

    def __init__(self, wants_proofs: bool) -> None:
        self.wants_proofs = wants_proofs
        self.told: list[tuple[str, int, int | None]] = []

    def serves(self, topic: str) -> bool:
        return topic == GC

    async def writes_for(self, event: Event, reader: Reader) -> list[Write]:
        if isinstance(event, OutputProven):
            self.told.append((event.ref.topic, event.ref.output_index, event.height))
        return []


@pytest.mark.parametrize("wants", [True, False])
async def test_services_that_want_to_are_told_of_proofs(node: Node, chain: Chain, wants: bool) -> None:
    watcher = Watcher(wants)
    node.engine.lookup_services[watcher.name] = watcher  # type: ignore[index]
    transaction, _ = await chain.issue((1, 2))
    await node.submit(transaction)
    await node.engine.tend()
    await chain.dev.mine()
    await node.engine.refresh_proofs()
    height = chain.dev.tip.height
    assert watcher.told == ([(GC, 0, height), (GC, 1, height)] if wants else [])


async def test_a_proof_is_taken_in_without_the_raw_bytes(node: Node, chain: Chain) -> None:
    transaction, _ = await chain.issue()
    await node.submit(transaction)
    await chain.mine(transaction)
    await node.store.commit(without_raw(transaction.txid))
    assert await node.engine.proofs.prove(transaction.txid, chain.proofs[transaction.txid])
    assert (await stored(node, transaction))["height"] == chain.dev.tip.height


async def test_a_proof_of_64_bytes_is_not_believed(node: Node, chain: Chain) -> None:
    transaction, _ = await chain.issue()
    await node.submit(transaction)
    await chain.mine(transaction)
    await node.store.commit([Patch(TRANSACTIONS, transaction.txid, {"size": 64})])
    with pytest.raises(BadRequest) as caught:
        await node.engine.proofs.prove(transaction.txid, chain.proofs[transaction.txid])
    assert caught.value.code is ErrorCode.MERKLE_PATH_INVALID


@pytest.mark.parametrize("depth", [1, 2, 3, 7, REORG_LIMIT])
async def test_a_reorganisation_takes_proofs_back_and_new_ones_come(node: Node, chain: Chain, depth: int) -> None:
    deep = await issue_and_broadcast(node, chain, 2)
    await chain.dev.mine()
    await node.engine.refresh_proofs()
    shallow = await issue_and_broadcast(node, chain, 3)
    await chain.dev.mine(depth)
    await node.headers.sync()
    await node.engine.refresh_proofs()
    before = {one.txid: (await stored(node, one))["block_hash"] for one in (*deep, *shallow)}
    await chain.dev.reorg(depth)
    await node.headers.sync()
    assert [(await stored(node, one))["height"] for one in shallow] == [None] * 3
    assert [(await stored(node, one))["block_hash"] for one in deep] == [before[one.txid] for one in deep]
    await assert_sound(node)
    await node.engine.tend()
    await chain.dev.mine()
    assert (await node.engine.refresh_proofs())["proven"] == 3
    for one in shallow:
        document = await stored(node, one)
        assert document["block_hash"] == node.headers.hash_at(document["height"]) != before[one.txid]
    await assert_sound(node)


async def test_a_reorganisation_beyond_the_limit_stops_admission_until_it_is_gone(node: Node, chain: Chain) -> None:
    (transaction,) = await issue_and_broadcast(node, chain)
    await chain.dev.mine(REORG_LIMIT + 1)
    await node.engine.refresh_proofs()
    await node.headers.sync()
    await chain.dev.reorg(REORG_LIMIT + 1)
    with pytest.raises(Unavailable) as caught:
        await node.headers.sync()
    assert caught.value.code is ErrorCode.REORG_TOO_DEEP
    with pytest.raises(Unavailable):
        await node.submit(transaction)
    assert (await stored(node, transaction))["height"] is not None
    await assert_sound(node)


async def test_a_reorganisation_that_a_crash_interrupted_is_finished_at_the_next_start(
    node: Node, chain: Chain
) -> None:
    (transaction,) = await issue_and_broadcast(node, chain)
    await chain.dev.mine(2)
    await node.engine.refresh_proofs()
    await node.headers.sync()
    await chain.dev.reorg(2)
    node.headers.on_change = None  # the process dies between the headers and the proofs
    await node.headers.sync()
    assert (await stored(node, transaction))["height"] is not None
    again = Node(chain, node.store, chain.clock)
    await again.headers.open()
    assert again.headers.unsettled_fork is not None
    await again.engine.open()
    assert again.headers.unsettled_fork is None
    assert (await stored(node, transaction))["height"] is None
    await again.verifier.close()


async def test_dropped_transactions_are_broadcast_again(node: Node, chain: Chain) -> None:
    (transaction,) = await issue_and_broadcast(node, chain)
    await chain.dev.mine()
    await node.engine.refresh_proofs()
    await chain.dev.reorg(1, drop=True)
    await node.headers.sync()
    assert chain.dev.pool_size == 0
    await node.engine.tend()
    await chain.dev.mine()
    await node.engine.refresh_proofs()
    assert (await stored(node, transaction))["height"] == chain.dev.tip.height


async def test_history_outlives_proofs(node: Node, chain: Chain) -> None:
    first, tokens = await chain.issue()
    await node.submit(first)
    moved = tokens[0]
    line = [first]
    for _ in range(3):
        moved = successor.transfer(moved, chain.owner.public)
        line.append(await chain.succeed(coins_of(line[-1])[:1], [moved]))
        await node.submit(line[-1])
    await node.engine.tend()
    await chain.dev.mine()
    await node.engine.refresh_proofs()
    for depth in range(5):
        answer = await node.engine.lookup("ls_metawatt", {"history": depth})
        members = parse_envelope(answer.beef(answer.outputs[0])).members
        assert set(members) == {one.txid for one in line[-1 - min(depth, 3) :]}


@pytest.mark.parametrize("status", [TxStatus.REJECTED, TxStatus.DOUBLE_SPEND_ATTEMPTED])
async def test_what_the_network_refuses_is_evicted_with_its_descendants(
    node: Node, chain: Chain, status: TxStatus
) -> None:
    first, tokens = await chain.issue()
    await node.submit(first)
    second = await chain.succeed(coins_of(first)[:1], [successor.transfer(tokens[0], chain.owner.public)])
    third = await chain.succeed(coins_of(second)[:1], [successor.transfer(tokens[0], chain.owner.public)])
    await node.submit(second)
    await node.submit(third)
    assert await node.engine.ingest_status(Broadcast(second.txid, status, "no"))
    assert await node.live() == {(first.txid, 0)}
    assert await node.store.count(EVICTIONS) == 2
    assert await node.store.get(SPENDS, coins_of(first)[0].txid + bytes(4)) is None
    await assert_sound(node)
    # What was refused may be offered again, and is judged anew.
    assert await node.submit(third) == {GC: TopicResult((0,), (0,))}


async def test_a_parent_that_is_evicted_meanwhile_lets_no_child_in(
    node: Node, chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent, _ = await chain.issue()
    await node.submit(parent)
    child, _ = await chain.issue(funding=coins_of(parent)[1])
    verify = node.verifier.verify

    async def verify_and_evict(envelope: Envelope) -> None:
        await verify(envelope)
        await node.engine.evictor.evict(parent.txid, "the network refused it")

    monkeypatch.setattr(node.verifier, "verify", verify_and_evict)
    with pytest.raises(BadRequest) as caught:
        await node.engine.submit(write_beef([(child, None)]), [GC])
    assert caught.value.code == ErrorCode.ANCESTOR_MISSING
    assert await node.store.get(TRANSACTIONS, child.txid) is None
    await assert_sound(node)


async def test_what_the_network_has_lost_is_broadcast_again_but_not_too_often(
    node: Node, chain: Chain, clock: Clock
) -> None:
    """It was mined and its block replaced before the node had a proof, so no proof was ever taken back."""
    (transaction,) = await issue_and_broadcast(node, chain)
    await chain.dev.mine()
    await chain.dev.reorg(1, drop=True)
    await node.headers.sync()
    for _ in range(3):
        await node.engine.refresh_proofs()
        assert await node.store.count(OUTBOX) == 0
    clock.now_ms += 60_000
    for _ in range(3):
        await node.engine.refresh_proofs()
        assert await node.store.count(OUTBOX) == 1
    await node.engine.tend()
    await chain.dev.mine()
    await node.headers.sync()
    assert (await node.engine.refresh_proofs())["proven"] == 1
    assert (await stored(node, transaction))["height"] == chain.dev.tip.height


async def test_what_is_never_proven_is_evicted_when_it_is_too_old(node: Node, chain: Chain, clock: Clock) -> None:
    (transaction,) = await issue_and_broadcast(node, chain)
    clock.now_ms += 7 * 86_400_000
    assert (await node.engine.refresh_proofs())["evicted"] == 1
    assert await node.live() == set()
    assert await node.store.get(TRANSACTIONS, transaction.txid) is None


def forged(path: bytes) -> Sequence[bytes]:
    """Paths that prove nothing: another height, a flipped hash, junk behind, cut short."""
    return (b"\x05" + path[1:], path[:-1] + bytes((path[-1] ^ 1,)), path + b"\x00", path[:-5])


async def test_forged_proofs_are_refused_and_change_nothing(node: Node, chain: Chain) -> None:
    (transaction,) = await issue_and_broadcast(node, chain)
    await chain.dev.mine()
    report = await chain.dev.status(transaction.txid)
    assert report is not None
    assert report.merkle_path is not None
    for path in forged(report.merkle_path):
        with pytest.raises(BadRequest) as caught:
            await node.engine.ingest_status(Broadcast(transaction.txid, TxStatus.MINED, merkle_path=path))
        assert caught.value.code in (ErrorCode.MERKLE_PATH_INVALID, ErrorCode.MERKLE_ROOT_UNKNOWN)
    assert (await stored(node, transaction)).get("height") is None


async def test_a_proof_of_an_unknown_transaction_is_not_found(node: Node) -> None:
    with pytest.raises(NotFound) as caught:
        await node.engine.ingest_status(Broadcast(bytes(32), TxStatus.MINED))
    assert caught.value.code is ErrorCode.TRANSACTION_UNKNOWN


async def test_the_outbox_tries_again_with_longer_pauses(node: Node, chain: Chain, clock: Clock) -> None:
    assert node.engine.outbox is not None

    class Down:
        async def broadcast(self, transaction: bytes) -> Broadcast:
            raise Unavailable("ARC is down")

        async def status(self, txid: bytes) -> Broadcast | None:
            raise Unavailable("ARC is down")

        async def close(self) -> None:
            """Nothing is held."""

    up, node.engine.outbox._broadcaster = node.engine.outbox._broadcaster, Down()
    (transaction,) = await issue_and_broadcast(node, chain)
    assert await node.engine.outbox.depth() == (1, 0)
    clock.now_ms += 2_000
    assert await node.engine.outbox.work() == 1
    clock.now_ms += 2_000
    assert await node.engine.outbox.work() == 0
    node.engine.outbox._broadcaster = up
    clock.now_ms += 2_000
    assert await node.engine.outbox.work() == 1
    assert await node.engine.outbox.depth() == (0, 0)
    assert chain.dev.pool_size == 1
    assert transaction.txid in node.engine.outbox._sent


async def test_what_a_proven_transaction_descends_from_stays(node: Node, chain: Chain) -> None:
    first, tokens = await chain.issue()
    await node.submit(first)
    second = await chain.succeed(coins_of(first)[:1], [successor.transfer(tokens[0], chain.owner.public)])
    await node.submit(second)
    await node.engine.tend()
    await chain.dev.mine()
    report = await chain.dev.status(second.txid)
    assert report is not None
    await node.engine.ingest_status(Broadcast(second.txid, TxStatus.MINED, merkle_path=report.merkle_path))
    assert not await node.engine.ingest_status(Broadcast(first.txid, TxStatus.REJECTED, "so they say"))
    assert await node.live() == {(second.txid, 0)}
    assert (await node.engine.refresh_proofs())["proven"] == 1
    await assert_sound(node)


async def submit_on_a_young_payment(node: Node, chain: Chain) -> tuple[Transaction, bytes]:
    """An issuance and the txid of the faucet's payment that it stands on, which came with its proof, of the last
    block, and without what it spends."""
    transaction, _ = await chain.issue()
    (funding,) = transaction.inputs
    txid = funding.source_txid
    await chain.dev.reorg(1)
    await chain.dev.mine()
    await node.headers.sync()
    chain.proofs[txid] = (await chain.dev.status(txid)).merkle_path  # type: ignore[union-attr,assignment]
    await node.submit(transaction)
    return transaction, txid


async def test_what_stands_on_an_unproven_ancestor_without_parents_is_broadcast(node: Node, chain: Chain) -> None:
    """The faucet's payment came with its proof and without what it spends; a reorganisation takes the proof."""
    transaction, funding_txid = await submit_on_a_young_payment(node, chain)
    await chain.dev.reorg(1)
    await node.headers.sync()
    assert (await node.store.get(TRANSACTIONS, funding_txid) or {}).get("height") is None
    await node.engine.tend()
    assert await node.store.count(OUTBOX) == 0
    status = await chain.dev.status(transaction.txid)
    assert status is not None
    assert status.status is TxStatus.SEEN_ON_NETWORK


async def test_a_payment_that_came_without_its_parents_and_is_lost_is_sent_again(
    node: Node, chain: Chain, clock: Clock
) -> None:
    """A reorganisation drops the faucet's payment and what stands on it, twice; who holds them brings them back."""
    transaction, funding_txid = await submit_on_a_young_payment(node, chain)
    await node.engine.tend()
    await chain.dev.mine()
    for _ in range(2):
        await chain.dev.reorg(2, drop=True)
        await node.headers.sync()
        clock.now_ms += 60_000
        for _ in range(2):  # asked about, and then sent again
            await node.engine.refresh_proofs()
            await node.engine.tend()
        await chain.dev.mine(2)
        await node.headers.sync()
        for txid in (funding_txid, transaction.txid):
            status = await chain.dev.status(txid)
            assert status is not None
            assert status.status is TxStatus.MINED
        await node.engine.refresh_proofs()
    await assert_sound(node)


async def test_a_payment_that_is_not_taken_again_is_not_evicted_for_it(node: Node, chain: Chain) -> None:
    """The network answers as ARC does when it does not know what a raw transaction spends, or not at all."""
    transaction, funding_txid = await submit_on_a_young_payment(node, chain)
    await chain.dev.reorg(1)
    await node.headers.sync()
    assert node.engine.outbox is not None
    heard = []

    class Choosy(DevBroadcaster):
        async def broadcast(self, transaction: bytes) -> Broadcast:
            if is_extended(transaction):
                return await super().broadcast(transaction)
            heard.append(transaction)
            if len(heard) == 1:
                return Broadcast(funding_txid, TxStatus.REJECTED, "what it spends is not known")
            raise Unavailable("ARC answers 409 without a judgement")

    node.engine.outbox._broadcaster = Choosy(chain.dev)
    await node.engine.tend()
    await node.engine.outbox._broadcast(transaction.txid, again=True)
    assert len(heard) == 2
    assert await node.store.count(OUTBOX) == 0
    await chain.dev.mine()
    await node.headers.sync()
    await node.engine.refresh_proofs()
    assert await node.live() == {(transaction.txid, 0)}
    await assert_sound(node)


async def test_parents_are_sent_first_and_what_was_sent_or_is_mined_is_not(node: Node, chain: Chain) -> None:
    """A payment, another that spends it, and an issuance that spends both of them."""
    lock, funding = p2pkh_lock(chain.owner.public), await chain.fund()
    builder = TransactionBuilder().spend(funding, P2pkhSigner(chain.owner))
    first = builder.pay(3_000, lock).pay(3_000, lock).change_to(lock).build()
    second = TransactionBuilder().spend(coins_of(first)[0], P2pkhSigner(chain.owner)).change_to(lock).build()
    chain.known |= {each.txid: each for each in (first, second)}
    _, tokens = await chain.issue(funding=coins_of(second)[0])
    third = chain.spend([coins_of(second)[0], coins_of(first)[1]], tokens)
    assert node.engine.outbox is not None
    heard = list[bytes]()

    class Listening(DevBroadcaster):
        async def broadcast(self, transaction: bytes) -> Broadcast:
            heard.append(parse_sent(transaction)[0].txid)
            return await super().broadcast(transaction)

    node.engine.outbox._broadcaster = Listening(chain.dev)
    await node.submit(third)
    await node.engine.tend()
    assert heard == [first.txid, second.txid, third.txid]
    await node.engine.outbox._broadcast(third.txid, again=False)
    assert heard[3:] == [third.txid]
    await node.engine.outbox._broadcast(third.txid, again=True)
    assert heard[4:] == [first.txid, second.txid, third.txid]
    await chain.dev.mine()
    await node.headers.sync()
    await node.engine.refresh_proofs()
    await node.engine.outbox._broadcast(third.txid, again=True)
    assert heard[7:] == []
