"""The dev chain mines what real nodes could check, and is the same after a restart."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from config.errors import BadRequest, ErrorCode, MetawattError, Unavailable
from overlay.builder import Coin, coins_of, p2pkh_lock
from overlay.chain import TxStatus
from overlay.devchain import DevChain, Policy
from overlay.envelope import parse_envelope
from overlay.headers import check_work
from overlay.keys import PrivateKey
from overlay.merkle import Bump, merkle_root
from overlay.sdk import hash256, load_sdk
from overlay.transaction import Output
from overlay.wire import to_extended

STRANGER = p2pkh_lock(PrivateKey.from_int(7).public)


async def members(chain: DevChain, height: int) -> list[bytes]:
    """The txids of a block."""
    (document,) = await chain._ledger.blocks(height, 1)
    return [document["txids"][at : at + 32] for at in range(0, len(document["txids"]), 32)]


async def test_headers_link_and_meet_their_target(chain: DevChain, wallet: Any) -> None:
    await wallet.fund(chain)
    await chain.mine(3)
    headers = await chain.headers(0, 1000)
    assert [header.height for header in headers] == list(range(chain.tip.height + 1))
    assert headers[-1] == chain.tip
    for previous, header in zip([None, *headers], headers, strict=False):
        check_work(header)
        assert header.hash == hash256(header.raw)
        assert header.previous == (previous.hash if previous else bytes(32))
        assert header.merkle_root == merkle_root(await members(chain, header.height))


async def test_coinbases_differ_and_tell_their_height(chain: DevChain) -> None:
    txids = [(await members(chain, height))[0] for height in range(chain.tip.height + 1)]
    assert len(set(txids)) == len(txids)
    record = await chain._ledger.record(txids[100])
    assert record is not None
    assert bytes((1, 100)) in record["raw"]


async def test_other_networks_are_refused(chain: DevChain) -> None:
    for network in ("main", "test"):
        with pytest.raises(MetawattError) as refusal:
            DevChain(chain._store, network)  # type: ignore[arg-type]
        assert refusal.value.code is ErrorCode.SETTINGS_INVALID


@pytest.mark.parametrize("count", [1, 2, 1000])
async def test_the_faucet_pays_mined_coins(chain: DevChain, count: int) -> None:
    before = chain.tip.height
    payment = await chain.faucet(STRANGER, 2500, count)
    assert payment.vouts == tuple(range(count))
    assert chain.tip.height == before + 1
    transaction = load_sdk().Transaction.from_beef(payment.beef)
    assert [o.satoshis for o in transaction.outputs[:count]] == [2500] * count
    assert all(o.locking_script.serialize() == STRANGER for o in transaction.outputs[:count])
    assert bytes.fromhex(transaction.txid())[::-1] == payment.txid
    envelope = parse_envelope(payment.beef)
    bump = envelope.members[payment.txid].bump
    assert bump is not None
    assert bump.root_for(payment.txid) == chain.tip.merkle_root


async def test_the_faucet_leaves_the_pool_alone(chain: DevChain, wallet: Any) -> None:
    transaction = wallet.spend((await wallet.fund(chain))[0])
    await chain.submit(transaction.raw)
    await wallet.fund(chain)
    report = await chain.status(transaction.txid)
    assert report is not None
    assert report.status is TxStatus.SEEN_ON_NETWORK


async def test_the_faucet_pays_many_at_once_from_different_coins(chain: DevChain) -> None:
    payments = await asyncio.gather(*[chain.faucet(STRANGER, 1000 + n) for n in range(20)])
    assert len({payment.txid for payment in payments}) == 20


async def test_the_faucet_gathers_several_rewards(chain: DevChain) -> None:
    await chain.mine(10)
    await chain.faucet(STRANGER, 6 * 50 * 100_000_000)
    with pytest.raises(Unavailable):
        await chain.faucet(STRANGER, 60 * 50 * 100_000_000)


@pytest.mark.parametrize(
    ("script", "satoshis", "count"),
    [(b"", 1, 1), (b"\x51" * 10_001, 1, 1), (b"\x51", 0, 1), (b"\x51", -1, 1), (b"\x51", 1, 0), (b"\x51", 1, 1001)],
)
async def test_the_faucet_refuses(chain: DevChain, script: bytes, satoshis: int, count: int) -> None:
    with pytest.raises(BadRequest):
        await chain.faucet(script, satoshis, count)


async def test_what_is_submitted_is_mined_with_a_proof(chain: DevChain, wallet: Any) -> None:
    coins = await wallet.fund(chain, 7)
    transactions = [wallet.spend(coin) for coin in coins]
    for transaction in transactions:
        assert (await chain.submit(transaction.raw)).status is TxStatus.SEEN_ON_NETWORK
    (header,) = await chain.mine()
    assert (await members(chain, header.height))[1:] == [t.txid for t in transactions]
    for transaction in transactions:
        report = await chain.status(transaction.txid)
        assert report is not None
        assert (report.status, report.block_height) == (TxStatus.MINED, header.height)
        assert report.block_hash == header.hash
        assert report.merkle_path is not None
        assert Bump.parse_whole(report.merkle_path).root_for(transaction.txid) == header.merkle_root
    assert chain.pool_size == 0


async def test_fees_go_to_the_miner(chain: DevChain, wallet: Any) -> None:
    await chain.submit(wallet.spend((await wallet.fund(chain))[0], 9_000).raw)
    (header,) = await chain.mine()
    record = await chain._ledger.record((await members(chain, header.height))[0])
    assert record is not None
    assert (5_000_000_000 + 1_000).to_bytes(8, "little") in record["raw"]


async def test_parents_come_before_children(chain: DevChain, wallet: Any) -> None:
    family = wallet.chained((await wallet.fund(chain))[0], 25)
    for transaction in family:
        await chain.submit(transaction.raw)
    (header,) = await chain.mine()
    assert (await members(chain, header.height))[1:] == [transaction.txid for transaction in family]


@pytest.mark.parametrize("blocks", [0, -1, 10_001])
async def test_how_many_blocks_are_mined_is_bounded(chain: DevChain, blocks: int) -> None:
    with pytest.raises(BadRequest):
        await chain.mine(blocks)


async def test_a_restart_keeps_everything(restarting: Any, wallet: Any) -> None:
    async with restarting() as chain:
        mined = wallet.spend((await wallet.fund(chain))[0])
        await chain.submit(mined.raw)
        await chain.mine()
        waiting = wallet.chained((await wallet.fund(chain))[0], 3)
        for transaction in waiting:
            await chain.submit(transaction.raw)
        headers = await chain.headers(0, 1000)
    async with restarting() as chain:
        assert await chain.headers(0, 1000) == headers
        assert chain.tip == headers[-1]
        assert chain.pool_size == 3
        report = await chain.status(mined.txid)
        assert report is not None
        assert report.status is TxStatus.MINED
        rival = wallet.spend(Coin(waiting[0].txid, 0, waiting[0].outputs[0]), 5_000)
        assert (await chain.submit(rival.raw)).status is TxStatus.DOUBLE_SPEND_ATTEMPTED
        (header,) = await chain.mine()
        assert (await members(chain, header.height))[1:] == [t.txid for t in waiting]
        await wallet.fund(chain)


async def test_submissions_of_one_coin_race(chain: DevChain, wallet: Any) -> None:
    coin = (await wallet.fund(chain))[0]
    rivals = [wallet.spend(coin, 5_000 + n) for n in range(30)]
    reports = await asyncio.gather(*[chain.submit(rival.raw) for rival in rivals])
    taken = [report.txid for report in reports if report.status is TxStatus.SEEN_ON_NETWORK]
    assert len(taken) == 1
    (header,) = await chain.mine()
    assert (await members(chain, header.height))[1:] == taken


async def test_submissions_race_with_blocks(chain: DevChain, wallet: Any) -> None:
    coins = await wallet.fund(chain, 60)
    work = [chain.submit(wallet.spend(coin).raw) for coin in coins]
    for at in (10, 30, 50):
        work.insert(at, chain.mine())
    await asyncio.gather(*work)
    await chain.mine()
    found = [txid for h in range(102, chain.tip.height + 1) for txid in (await members(chain, h))[1:]]
    assert len(found) == len(set(found)) == 61


async def test_one_transaction_races_with_itself(chain: DevChain, wallet: Any) -> None:
    family = wallet.chained((await wallet.fund(chain))[0], 2)
    await chain.submit(family[0].raw)
    work = [chain.submit(member.raw) for member in family for _ in range(10)]
    work.insert(12, chain.mine())
    await asyncio.gather(*work)
    (header,) = await chain.mine()
    found = [await members(chain, height) for height in (header.height - 1, header.height)]
    assert [txid for txids in found for txid in txids[1:]] == [member.txid for member in family]


async def test_families_race_with_blocks(chain: DevChain, wallet: Any) -> None:
    """Children beside their parents, whatever comes first, while blocks are mined."""
    families = [wallet.chained(coin, 4) for coin in await wallet.fund(chain, 10)]
    work = []
    for family in families:
        sources = [[Output(transaction.outputs[0].satoshis + 100, wallet.lock)] for transaction in family]
        work += [chain.submit(to_extended(t, source)) for t, source in zip(family, sources, strict=True)][::-1]
    for at in (8, 20, 35):
        work.insert(at, chain.mine())
    await asyncio.gather(*work)
    await chain.mine()
    for transaction in (member for family in families for member in family):
        report = await chain.status(transaction.txid)
        assert report is not None
        assert report.status is TxStatus.MINED


async def test_blocks_come_by_themselves(open_chain: Any) -> None:
    chain = await open_chain(mine_interval_secs=0.01)
    height = chain.tip.height
    async with asyncio.timeout(10):
        while chain.tip.height < height + 3:
            await asyncio.sleep(0.01)


async def test_the_first_blocks_do_not_run_ahead_of_the_clock(open_chain: Any) -> None:
    chain = await open_chain(now_ms=lambda: 1_700_000_000_000, initial_blocks=150)
    (first,) = await chain.headers(0, 1)
    assert int.from_bytes(first.raw[68:72], "little") == 1_700_000_000 - 151
    assert int.from_bytes(chain.tip.raw[68:72], "little") <= 1_700_000_000


async def test_a_rate_of_fees_is_asked(open_chain: Any, wallet: Any) -> None:
    chain = await open_chain(policy=Policy(fee_rate=1000))
    coin = (await wallet.fund(chain))[0]
    with pytest.raises(BadRequest):
        await chain.submit(wallet.spend(coin, 9_999).raw)
    await chain.submit(wallet.spend(coin, 9_000).raw)


async def test_outputs_of_the_pool_can_be_spent(chain: DevChain, wallet: Any) -> None:
    first, second = wallet.chained((await wallet.fund(chain))[0], 2)
    await chain.submit(first.raw)
    await chain.submit(second.raw)
    assert coins_of(second)[0].output == Output(9_800, wallet.lock)
