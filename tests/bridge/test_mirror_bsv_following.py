"""The bridge's transactions on BSV until they are final: proofs that come and go, evictions, what is made anew."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from basket.coins import FUND_COINS
from bridge.mirror.books.landing import Landing
from bridge.mirror.message import Message
from bridge.mirror.records import AUDIT, ISSUES, RECEIPTS
from bridge.mirror.states import Hold, State
from bridge.mirror.to_bsv import following as bsv_following
from config.errors import BadRequest, ErrorCode, Unavailable
from energytag.records import BASKET, INTERVALS
from overlay.hydrate import load_kept, ordered
from overlay.transaction import Transaction
from overlay.wire import write_beef
from store.port import Delete
from tests.bridge.bsv_kit import CONFIRMATIONS, BsvMirror, is_whole, store_at
from tests.overlay.kit import GC, Chain, Clock


@pytest.fixture
async def chain(tmp_path: Path) -> AsyncIterator[Chain]:
    made = Chain(tmp_path, Clock())
    await made.open()
    yield made
    await made.close()


@pytest.fixture
async def mirror(tmp_path: Path, chain: Chain) -> AsyncIterator[BsvMirror]:
    made = BsvMirror(chain, store_at(tmp_path), chain.clock)
    await made.open()
    await made.registry.populate()
    yield made
    await made.close()


async def delivered(mirror: BsvMirror, count: int = 3, first_hour: int = 0) -> list[Message]:
    messages = await mirror.deposits(count, first_hour=first_hour)
    await mirror.destination.deliver(messages)
    return await mirror.now(*messages)


async def is_at(mirror: BsvMirror, state: State, messages: list[Message]) -> None:
    assert set(await mirror.states(*messages)) == {state}


async def test_the_way_to_the_receipt(mirror: BsvMirror) -> None:
    messages = await delivered(mirror)
    assert await mirror.destination.follow() == 0
    await is_at(mirror, State.DST_SIGNED, messages)
    await mirror.broadcast()
    assert await mirror.destination.follow() == 3
    await is_at(mirror, State.DST_SENT, messages)
    assert all(each.sent_ms is not None for each in await mirror.now(*messages))
    assert await mirror.destination.follow() == 0
    for blocks in range(1, CONFIRMATIONS):
        await mirror.mined()
        assert await mirror.destination.follow() == (3 if blocks == 1 else 0)
        await is_at(mirror, State.DST_SEEN, messages)
    await mirror.mined()
    assert await mirror.destination.follow() == 3
    final = await mirror.now(*messages)
    assert {(each.state, each.due_ms) for each in final} == {(State.DST_FINAL, 0)}
    await mirror.destination.complete(final)
    await is_at(mirror, State.RECEIPTED, messages)
    assert len(await mirror.rows(RECEIPTS)) == 3
    assert [row["open_ms"] for row in await mirror.rows(ISSUES)] == [None]
    assert await mirror.destination.follow() == 0


async def test_what_is_mined_before_anybody_looked_goes_all_the_way_at_once(mirror: BsvMirror) -> None:
    messages = await delivered(mirror)
    await mirror.mined(CONFIRMATIONS)
    assert await mirror.destination.follow() == 3
    await is_at(mirror, State.DST_FINAL, messages)


async def test_a_receipt_that_a_chain_does_not_tell_waits_and_stops_nobody(mirror: BsvMirror) -> None:
    messages = await delivered(mirror)
    await mirror.mined(CONFIRMATIONS)
    await mirror.destination.follow()
    mirror.books.silent.add(messages[1].id)
    await mirror.destination.complete(await mirror.now(*messages))
    assert await mirror.states(*messages) == [State.RECEIPTED, State.DST_FINAL, State.RECEIPTED]
    (waiting,) = await mirror.now(messages[1])
    assert waiting.due_ms is not None
    assert waiting.due_ms > mirror.clock()
    mirror.books.silent.clear()
    await mirror.destination.complete([waiting])
    await is_at(mirror, State.RECEIPTED, messages)


@pytest.mark.parametrize("depth", range(1, CONFIRMATIONS))
@pytest.mark.parametrize("drop", [False, True])
async def test_a_reorganisation_of_every_depth_below_the_limit(mirror: BsvMirror, depth: int, drop: bool) -> None:
    messages = await delivered(mirror)
    await mirror.mined(depth)
    await mirror.destination.follow()
    await is_at(mirror, State.DST_SEEN, messages)
    await mirror.chain.dev.reorg(depth, drop=drop)
    await mirror.registry.node.headers.sync()
    assert await mirror.destination.follow() == 3
    await is_at(mirror, State.DST_SENT, messages)
    txids = {each.destination_tx for each in await mirror.now(*messages)}
    await mirror.mined(CONFIRMATIONS)
    assert await mirror.destination.follow() == 3
    await is_at(mirror, State.DST_FINAL, messages)
    assert {each.destination_tx for each in await mirror.now(*messages)} == txids
    assert is_whole(await mirror.mirrored(), messages)


async def test_depth_is_counted_anew_in_another_block(mirror: BsvMirror) -> None:
    messages = await delivered(mirror)
    await mirror.mined(CONFIRMATIONS - 1)
    await mirror.destination.follow()
    await mirror.chain.dev.reorg(CONFIRMATIONS - 1)
    await mirror.mined()
    await mirror.destination.follow()
    await is_at(mirror, State.DST_SEEN, messages)


# Evictions


async def evicted(mirror: BsvMirror, messages: list[Message]) -> bytes:
    """The messages' transaction is evicted, and they are held; the transaction with its ancestors."""
    (txid,) = {each.destination_tx for each in await mirror.now(*messages)}
    assert txid is not None
    beef = await beef_of(mirror, txid)
    await mirror.evict(txid)
    assert await mirror.destination.follow() == len(messages)
    held = await mirror.now(*messages)
    assert {each.reason.code for each in held if each.reason is not None} == {Hold.DESTINATION_CONFLICT}
    assert await mirror.mirrored() == {}
    return beef


async def beef_of(mirror: BsvMirror, txid: bytes) -> bytes:
    entries = ordered(await load_kept(mirror.store, [txid]), [txid])
    return write_beef([(Transaction.parse(each.raw), each.bump) for each in entries])


async def test_what_is_evicted_is_held_and_stays_so(mirror: BsvMirror) -> None:
    messages = await delivered(mirror)
    await evicted(mirror, messages)
    assert await mirror.destination.follow() == 0
    await mirror.mined(CONFIRMATIONS)
    assert await mirror.destination.follow() == 0
    await is_at(mirror, State.HELD, messages)
    assert [(row["open_ms"], row["stage"]) for row in await mirror.rows(ISSUES)] == [(None, None)]


async def test_what_is_released_is_issued_by_a_transaction_that_excludes_the_first(mirror: BsvMirror) -> None:
    messages = await delivered(mirror)
    beef = await evicted(mirror, messages)
    landing = Landing(mirror.ground)
    assert all([await landing.against_refund(each) for each in await mirror.now(*messages)])
    released = await mirror.released(*messages[:2])
    await mirror.destination.deliver(released)
    await is_at(mirror, State.DST_SIGNED, messages[:2])
    assert is_whole(await mirror.mirrored(), messages[:2])
    with pytest.raises(BadRequest) as refused:
        await mirror.engine.submit(beef, [GC])
    assert refused.value.code is ErrorCode.DOUBLE_SPEND
    again = await mirror.now(*messages[:2])
    assert {each.attempt for each in again} == {2}
    assert [each.facts["earlier"] for each in again] == [[each.destination_tx.hex()] for each in messages[:2]]
    # The third would not spend what the first transaction spent: it waits until that is past doubt.
    (last,) = await mirror.released(messages[2])
    await mirror.destination.deliver([last])
    (waiting,) = await mirror.now(last)
    assert waiting.state is State.ACCOUNTED
    assert waiting.due_ms is not None
    assert waiting.due_ms > mirror.clock()
    await mirror.mined(CONFIRMATIONS)
    assert await landing.against_refund(waiting) is None
    await mirror.destination.deliver([waiting])
    await is_at(mirror, State.DST_SIGNED, [waiting])
    assert is_whole(await mirror.mirrored(), messages)


async def test_what_stood_on_an_evicted_transaction_is_issued_anew_with_it(mirror: BsvMirror) -> None:
    first = await delivered(mirror)
    purse = mirror.registry.treasury._purse
    others = [coin for coin in purse.free() if coin.txid != first[0].destination_tx]
    for coin in others:
        purse.hold(coin)
    second = await delivered(mirror, first_hour=10)
    for coin in others:
        purse.release(coin.outpoint)
    assert first[0].destination_tx is not None
    await mirror.evict(first[0].destination_tx)
    assert await mirror.destination.follow() == 6
    await mirror.destination.deliver(await mirror.released(*second))
    await is_at(mirror, State.DST_SIGNED, second)
    again = await mirror.now(*second)
    # The first ones would have to exclude the same transaction, by a coin that is spent now.
    await mirror.destination.deliver(await mirror.released(*first))
    await is_at(mirror, State.ACCOUNTED, first)
    await mirror.mined(CONFIRMATIONS)
    await mirror.destination.deliver(await mirror.now(*first))
    assert is_whole(await mirror.mirrored(), [*first, *again])


async def test_a_transaction_that_came_back_is_taken_up(mirror: BsvMirror) -> None:
    messages = await delivered(mirror)
    beef = await evicted(mirror, messages)
    await mirror.engine.submit(beef, [GC])
    await mirror.destination.deliver(await mirror.released(*messages))
    now = await mirror.now(*messages)
    assert [each.destination_tx for each in now] == [each.destination_tx for each in messages]
    assert [each.facts["issuances"] for each in now] == [each.facts["issuances"] for each in messages]
    assert {each.attempt for each in now} == {1}
    assert len(await mirror.rows(BASKET)) == 3
    await mirror.mined(CONFIRMATIONS)
    await mirror.destination.follow()
    await is_at(mirror, State.DST_FINAL, messages)
    assert is_whole(await mirror.mirrored(), messages)


@pytest.mark.parametrize("is_mined", [False, True])
async def test_what_the_network_has_after_all_is_admitted_again(mirror: BsvMirror, is_mined: bool) -> None:
    messages = await delivered(mirror)
    await mirror.broadcast()  # the network has it, whatever this node thinks of it
    await evicted(mirror, messages)
    if is_mined:
        await mirror.chain.dev.mine(1)
        await mirror.registry.node.headers.sync()
    await mirror.destination.deliver(await mirror.released(*messages))
    now = await mirror.now(*messages)
    assert [each.destination_tx for each in now] == [each.destination_tx for each in messages]
    await mirror.mined(CONFIRMATIONS)
    await mirror.destination.follow()
    await is_at(mirror, State.DST_FINAL, messages)
    assert is_whole(await mirror.mirrored(), messages)


async def test_while_the_network_cannot_be_asked_only_what_was_evicted_waits(
    mirror: BsvMirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    messages = await delivered(mirror)
    await evicted(mirror, messages)
    fresh = await mirror.deposits(2, first_hour=10)

    async def silent(txid: bytes) -> None:
        raise Unavailable("no answer")

    with monkeypatch.context() as patched:
        patched.setattr(mirror.engine.proofs, "ask", silent)
        await mirror.destination.deliver([*await mirror.released(*messages), *fresh])
    await is_at(mirror, State.DST_SIGNED, fresh)
    await is_at(mirror, State.ACCOUNTED, messages)
    await mirror.mined(CONFIRMATIONS)
    await mirror.destination.deliver(await mirror.now(*messages))
    assert is_whole(await mirror.mirrored(), [*messages, *fresh])


async def test_of_what_nothing_is_known_any_more_nothing_is_made(mirror: BsvMirror) -> None:
    messages = await delivered(mirror)
    await evicted(mirror, messages)
    for coin in await mirror.rows(FUND_COINS):
        await mirror.store.commit([Delete(FUND_COINS, coin["_id"])])
        mirror.registry.treasury._purse.drop(coin["_id"])
    await mirror.destination.deliver(await mirror.released(*messages))
    held = await mirror.now(*messages)
    assert {each.state for each in held} == {State.HELD}
    assert all(each.reason is not None and "may still be mined" in each.reason.text for each in held)
    assert await mirror.mirrored() == {}


async def test_only_a_proof_tells_when_too_much_waits_to_be_broadcast(
    mirror: BsvMirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    messages = await delivered(mirror)
    await mirror.broadcast()
    await delivered(mirror, first_hour=10)
    monkeypatch.setattr(bsv_following, "_MOST_PENDING", 0)
    await mirror.destination.follow()
    await is_at(mirror, State.DST_SIGNED, messages)
    await mirror.mined()
    await mirror.destination.follow()
    await is_at(mirror, State.DST_SEEN, messages)


async def test_more_transactions_than_one_look_takes(mirror: BsvMirror, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bsv_following, "_ROWS", 2)
    messages = [each for n in range(7) for each in await delivered(mirror, 1, first_hour=n)]
    await mirror.mined(CONFIRMATIONS)
    for _ in range(4):
        await mirror.destination.follow()
    await is_at(mirror, State.DST_FINAL, messages)
    assert await mirror.destination.follow() == 0


async def test_an_operators_hold_leaves_the_transaction_alone(mirror: BsvMirror) -> None:
    messages = await delivered(mirror)
    async with mirror.book.page() as page:
        page.hold(messages[0], Hold.OPERATOR, "wait")
    await mirror.mined(CONFIRMATIONS)
    assert await mirror.destination.follow() == 2
    await mirror.destination.deliver(await mirror.released(messages[0]))
    await is_at(mirror, State.DST_SIGNED, messages[:1])
    assert await mirror.destination.follow() == 1
    await is_at(mirror, State.DST_FINAL, messages)
    assert is_whole(await mirror.mirrored(), messages)


async def test_an_interval_stays_the_bridges(mirror: BsvMirror) -> None:
    messages = await delivered(mirror)
    await evicted(mirror, messages)
    assert len(await mirror.rows(INTERVALS)) == 3


async def test_every_step_is_in_the_log(mirror: BsvMirror) -> None:
    await delivered(mirror)
    before = len(await mirror.rows(AUDIT))
    await mirror.broadcast()
    await mirror.destination.follow()
    await mirror.mined(CONFIRMATIONS)
    await mirror.destination.follow()
    assert len(await mirror.rows(AUDIT)) == before + 2
