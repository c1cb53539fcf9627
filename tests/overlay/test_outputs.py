"""Single outputs: from the rows of large transactions, from the raw bytes of small ones."""

from __future__ import annotations

import pytest

from certificates import successor
from overlay.builder import coins_of, make_transaction
from overlay.outputs import LARGE_RAW_BYTES, carried, load_outputs
from overlay.records import OUTPUTS
from overlay.steak import TopicResult
from overlay.transaction import Input, Output, Transaction, outpoint
from tests.overlay.kit import GC, Chain, Node, without_raw

LARGE, SMALL = [100] * 40, [100] * 3


def everything(transaction: Transaction) -> dict[bytes, Output]:
    return {outpoint(transaction.txid, index): output for index, output in enumerate(transaction.outputs)}


async def admitted(node: Node, chain: Chain, quantities: list[int]) -> Transaction:
    """An issuance that has change, too."""
    transaction, _ = await chain.issue(quantities)
    await node.submit(transaction)
    assert len(transaction.outputs) == len(quantities) + 1
    return transaction


async def forget_raw(node: Node, transaction: Transaction) -> None:
    """Take the raw bytes away, so that only what the rows carry can be read."""
    await node.store.commit(without_raw(transaction.txid))


@pytest.mark.parametrize("quantities", [SMALL, LARGE], ids=["small", "large"])
async def test_all_outputs_of_what_is_stored_are_read(node: Node, chain: Chain, quantities: list[int]) -> None:
    transaction = await admitted(node, chain, quantities)
    funds = chain.known[transaction.inputs[0].source_txid]
    expected = everything(transaction) | everything(funds)
    assert await load_outputs(node.store, [*expected, *expected]) == expected
    assert await load_outputs(node.store, []) == {}


async def test_outputs_that_are_not_held_are_left_out(node: Node, chain: Chain) -> None:
    transaction = await admitted(node, chain, SMALL)
    strange = [outpoint(bytes(32), 0), outpoint(transaction.txid, 99), outpoint(transaction.txid, 2**32 - 1)]
    assert await load_outputs(node.store, strange) == {}


async def test_admitted_outputs_of_a_large_transaction_need_no_raw_bytes(node: Node, chain: Chain) -> None:
    transaction = await admitted(node, chain, LARGE)
    await forget_raw(node, transaction)
    expected = everything(transaction)
    del expected[outpoint(transaction.txid, len(LARGE))]  # the change, which no topic admitted
    assert await load_outputs(node.store, list(everything(transaction))) == expected


async def test_rows_of_small_transactions_carry_no_scripts(node: Node, chain: Chain) -> None:
    transaction = await admitted(node, chain, SMALL)
    row = await node.store.get(OUTPUTS, outpoint(transaction.txid, 0))
    assert row is not None
    assert row.keys() == {"_id", "seq", "topics"}
    await forget_raw(node, transaction)
    assert await load_outputs(node.store, list(everything(transaction))) == {}


@pytest.mark.parametrize(("excess", "carries"), [(0, False), (1, True)])
def test_what_is_large(excess: int, carries: bool) -> None:
    spent = Input(bytes(range(32)), 0, b"", 0)
    room = LARGE_RAW_BYTES - len(make_transaction([spent], [Output(7, bytes(300))]).raw) + 300
    transaction = make_transaction([spent], [Output(7, bytes(room + excess))])
    assert len(transaction.raw) == LARGE_RAW_BYTES + excess
    expected = {"satoshis": 7, "script": transaction.outputs[0].script} if carries else {}
    assert carried(transaction, 0) == expected


@pytest.mark.parametrize("quantities", [SMALL, LARGE], ids=["small", "large"])
async def test_a_mined_spend_comes_without_the_parent_of_its_coin(
    node: Node, chain: Chain, quantities: list[int]
) -> None:
    transaction, tokens = await chain.issue(quantities)
    await node.submit(transaction)
    move = await chain.succeed(coins_of(transaction)[:1], [successor.transfer(tokens[0], chain.owner.public)])
    await chain.mine(transaction, move)
    assert await node.submit(move) == {GC: TopicResult((0,), (0,))}
    assert len(await node.live(limit=100)) == len(quantities)


async def test_the_coin_of_a_large_parent_is_taken_from_its_row(node: Node, chain: Chain) -> None:
    transaction, tokens = await chain.issue(LARGE)
    await node.submit(transaction)
    move = await chain.succeed(coins_of(transaction)[:1], [successor.transfer(tokens[0], chain.owner.public)])
    await chain.mine(transaction, move)
    await forget_raw(node, transaction)
    assert await node.submit(move) == {GC: TopicResult((0,), (0,))}
