"""Reorganisations: what is replaced, what returns, what is lost."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest

from config.errors import BadRequest
from overlay.builder import Coin, TransactionBuilder
from overlay.chain import TxStatus
from overlay.devchain import DevChain, Policy, Refusal
from overlay.headers import check_work
from overlay.merkle import Bump
from overlay.transaction import Output


async def status(chain: DevChain, txid: bytes) -> TxStatus:
    report = await chain.status(txid)
    assert report is not None
    return report.status


@pytest.mark.parametrize("depth", [1, 2, 3, 7, 100])
async def test_blocks_are_replaced_by_more(chain: DevChain, depth: int) -> None:
    await chain.mine(7)
    before = await chain.headers(0, 1000)
    result = await chain.reorg(depth)
    after = await chain.headers(0, 1000)
    fork = len(before) - 1 - depth
    assert result.fork_height == fork
    assert after[: fork + 1] == before[: fork + 1]
    assert result.headers == tuple(after[fork + 1 :])
    assert result.replaced == tuple(header.hash for header in before[fork + 1 :])
    assert len(after) == len(before) + 1
    assert not {header.hash for header in after[fork + 1 :]} & set(result.replaced)
    for previous, header in itertools.pairwise(after):
        check_work(header)
        assert header.previous == previous.hash
    for digest in result.replaced:
        found = await chain.header(digest)
        assert found is not None
        assert found[1] is False


@pytest.mark.parametrize("depth", [1, 2, 3, 7])
async def test_transactions_return_and_are_mined_again(chain: DevChain, wallet: Any, depth: int) -> None:
    coins = await wallet.fund(chain, 7)
    await chain.mine()
    transactions = []
    for coin in coins:
        family = wallet.chained(coin, 2)
        for transaction in family:
            await chain.submit(transaction.raw)
        transactions += family
        await chain.mine()
    waiting = wallet.spend(Coin(transactions[-1].txid, 0, transactions[-1].outputs[0]))
    await chain.submit(waiting.raw)
    result = await chain.reorg(depth)
    assert list(result.returned) == [t.txid for t in transactions[-2 * depth :]]
    assert chain.pool_size == 2 * depth + 1
    for transaction in transactions:
        returned = transaction.txid in result.returned
        assert await status(chain, transaction.txid) is (TxStatus.SEEN_ON_NETWORK if returned else TxStatus.MINED)
    (header,) = await chain.mine()
    for txid in (*result.returned, waiting.txid):
        report = await chain.status(txid)
        assert report is not None
        assert report.merkle_path is not None
        assert Bump.parse_whole(report.merkle_path).root_for(txid) == header.merkle_root
        assert report.block_hash == header.hash


async def test_dropped_transactions_can_come_again_or_lose(chain: DevChain, wallet: Any) -> None:
    coins = await wallet.fund(chain, 2)
    await chain.mine()
    dropped = [wallet.spend(coin) for coin in coins]
    for transaction in dropped:
        await chain.submit(transaction.raw)
    await chain.mine()
    child = wallet.spend(Coin(dropped[0].txid, 0, dropped[0].outputs[0]))
    await chain.submit(child.raw)
    await chain.reorg(1, drop=True)
    assert chain.pool_size == 0
    assert await status(chain, dropped[0].txid) is TxStatus.MINED_IN_STALE_BLOCK
    assert await status(chain, child.txid) is TxStatus.SEEN_IN_ORPHAN_MEMPOOL
    assert (await chain.submit(dropped[0].raw)).status is TxStatus.SEEN_ON_NETWORK
    assert await status(chain, child.txid) is TxStatus.SEEN_ON_NETWORK
    rival = wallet.spend(coins[1], 7_000)
    assert (await chain.submit(rival.raw)).status is TxStatus.SEEN_ON_NETWORK
    assert (await chain.submit(dropped[1].raw)).status is TxStatus.DOUBLE_SPEND_ATTEMPTED
    await chain.mine()
    with pytest.raises(Refusal):
        await chain.submit(dropped[1].raw)


async def test_what_stands_on_a_replaced_coinbase_is_rejected(open_chain: Any, wallet: Any) -> None:
    chain = await open_chain(policy=Policy(maturity=1), initial_blocks=5)
    (block,) = await chain._ledger.blocks(5, 1)
    reward = Coin(block["txids"][:32], 0, Output(5_000_000_000, chain._faucet.script))
    parent = TransactionBuilder().spend(reward, chain._faucet._signer).pay(50_000, wallet.lock).build()
    child = wallet.spend(Coin(parent.txid, 0, parent.outputs[0]))
    await chain.submit(parent.raw)
    await chain.mine()
    await chain.submit(child.raw)
    result = await chain.reorg(2)
    assert chain.pool_size == 0
    assert {parent.txid, child.txid} < set(result.lost)
    assert await status(chain, parent.txid) is TxStatus.REJECTED
    assert await status(chain, child.txid) is TxStatus.REJECTED
    with pytest.raises(Refusal):
        await chain.submit(child.raw)


async def test_the_faucet_survives(chain: DevChain, wallet: Any) -> None:
    for drop in (False, True, False):
        for _ in range(4):
            await wallet.fund(chain, 3)
        await chain.reorg(3, drop)
    coins = await wallet.fund(chain, 5)
    assert (await chain.submit(wallet.spend(coins[0]).raw)).status is TxStatus.SEEN_ON_NETWORK
    await chain.mine()
    assert chain.pool_size == 0


async def test_a_restart_after_a_reorganisation(restarting: Any, wallet: Any) -> None:
    async with restarting() as chain:
        family = wallet.chained((await wallet.fund(chain))[0], 3)
        for transaction in family:
            await chain.submit(transaction.raw)
        await chain.mine(2)
        await chain.reorg(2)
        tip = chain.tip
    async with restarting() as chain:
        assert chain.tip == tip
        assert chain.pool_size == 3
        await chain.mine()
        assert await status(chain, family[2].txid) is TxStatus.MINED


async def test_reorganisations_race_with_submissions(chain: DevChain, wallet: Any) -> None:
    coins = await wallet.fund(chain, 40)
    await chain.mine(5)
    work = [chain.submit(wallet.spend(coin).raw) for coin in coins]
    for at in (5, 15, 30):
        work.insert(at, chain.reorg(2))
        work.insert(at, chain.mine())
    await asyncio.gather(*work)
    await chain.mine()
    assert chain.pool_size == 0
    for coin in coins:
        assert await status(chain, wallet.spend(coin).txid) is TxStatus.MINED


@pytest.mark.parametrize("depth", [0, -1, 102, 1001])
async def test_depth_is_bounded(chain: DevChain, depth: int) -> None:
    with pytest.raises(BadRequest):
        await chain.reorg(depth)
