"""The treasury against the real engine, store and dev chain."""

from __future__ import annotations

import asyncio
import random

import pytest

from basket.coins import FUND_COINS
from basket.funds import FundCoin, Funding
from basket.treasury import EmbeddedTreasury
from config.errors import BadRequest, Busy, ErrorCode, Unavailable
from overlay.admission import AlongsideConflict
from overlay.builder import P2pkhSigner, TransactionBuilder
from overlay.envelope import parse_envelope
from overlay.invariants import check_invariants
from overlay.records import TRANSACTIONS
from overlay.wire import write_beef
from tests.basket.conftest import WalletNode
from tests.overlay.kit import GC, Clock


async def opened(node: WalletNode, **wallet: int) -> EmbeddedTreasury:
    treasury = node.treasury(**wallet)
    await treasury.open()
    return treasury


async def pay(node: WalletNode, treasury: EmbeddedTreasury, satoshis: int, count: int = 1) -> list[FundCoin]:
    payment = await node.chain.dev.faucet(treasury.deposit_script, satoshis, count)
    return await treasury.deposit(payment.beef)


async def mine(node: WalletNode) -> None:
    await node.engine.tend()
    await node.chain.dev.mine(1)
    await node.refresh()


async def reopened(node: WalletNode) -> int:
    return (await opened(node)).balance().satoshis


# Paying in


async def test_the_dev_network_pays_in_what_is_asked_for(node: WalletNode) -> None:
    treasury = node.treasury(node.chain.dev.faucet)
    await treasury.open()
    assert treasury.balance().satoshis == 0
    fundings = await asyncio.gather(*(treasury.take(300) for _ in range(8)))
    assert len({funding.coins[0].outpoint for funding in fundings}) == 8
    assert [funding.satoshis for funding in fundings] == [5000] * 8
    assert node.chain.dev.tip.height == 102, "one payment is enough for all who wait"
    assert (await treasury.take(9000)).satoshis >= 9000
    assert not treasury.is_low


async def test_a_certificate_is_paid_for_and_a_restart_finds_the_change(node: WalletNode) -> None:
    treasury = await opened(node)
    await pay(node, treasury, 5000)
    transaction, funding, change = await node.spend(treasury)
    assert change is not None
    left = transaction.outputs[1].satoshis
    assert treasury.balance().satoshis == left == change.coin.output.satoshis
    assert await reopened(node) == left
    assert (await treasury.stock()).satoshis == left
    assert funding.coins[0].outpoint != change.outpoint
    assert await check_invariants(node.store) == []


async def test_a_coin_that_must_be_spent_is_among_those_given(node: WalletNode) -> None:
    treasury = await opened(node)
    ours, *_ = await pay(node, treasury, 1_000, 3)
    alone = await treasury.take(500, [ours.outpoint])
    assert [coin.outpoint for coin in alone.coins] == [ours.outpoint]
    with pytest.raises(Busy):
        await treasury.take(500, [ours.outpoint])
    treasury.give_back(alone)
    more = await treasury.take(1_800, [ours.outpoint])
    assert more.coins[0].outpoint == ours.outpoint
    assert more.satoshis >= 1_800


async def test_a_deposit_is_taken_in_once(node: WalletNode) -> None:
    treasury = await opened(node)
    payment = await node.chain.dev.faucet(treasury.deposit_script, 7000, 3)
    assert len(await treasury.deposit(payment.beef, [1])) == 1
    assert treasury.balance().satoshis == 7000
    assert len(await treasury.deposit(payment.beef)) == 3
    await treasury.deposit(payment.beef)
    assert treasury.balance().satoshis == 21_000
    assert treasury.balance().proven_satoshis == 21_000
    await node.spend(treasury)
    await treasury.deposit(payment.beef)
    assert treasury.balance().coins == 3
    assert await reopened(node) == treasury.balance().satoshis


@pytest.mark.parametrize("vouts", [[1], [7], []])
async def test_a_deposit_must_pay_to_this_wallet(node: WalletNode, vouts: list[int]) -> None:
    treasury = await opened(node)
    payment = await node.chain.dev.faucet(treasury.deposit_script, 7000, 1)
    with pytest.raises(BadRequest) as caught:
        await treasury.deposit(payment.beef, vouts)
    assert caught.value.code == ErrorCode.INVALID_FIELD
    assert await reopened(node) == 0


async def test_a_deposit_with_a_false_proof_is_refused(node: WalletNode) -> None:
    treasury = await opened(node)
    payment = await node.chain.dev.faucet(treasury.deposit_script, 7000, 1)
    envelope = parse_envelope(payment.beef)
    assert envelope.subject_bump is not None
    builder = TransactionBuilder().spend(await node.chain.fund(), P2pkhSigner(node.chain.owner))
    invented = builder.pay(9000, treasury.deposit_script).build()
    with pytest.raises(BadRequest) as caught:
        await treasury.deposit(write_beef([(invented, envelope.subject_bump.raw)]))
    assert caught.value.code == ErrorCode.MERKLE_PATH_INVALID
    assert await reopened(node) == 0


async def test_an_unproven_deposit_is_verified_broadcast_and_proven(node: WalletNode) -> None:
    treasury = await opened(node)
    source = await node.chain.fund()
    builder = TransactionBuilder().spend(source, P2pkhSigner(node.chain.owner))
    payment = builder.pay(9000, treasury.deposit_script).build()
    node.chain.known[payment.txid] = payment
    await treasury.deposit(node.chain.beef(payment))
    assert treasury.balance().satoshis == 9000
    assert treasury.balance().proven_satoshis == 0
    await node.spend(treasury)
    await mine(node)
    await treasury.tend()
    assert treasury.balance().proven_satoshis == treasury.balance().satoshis > 8000


# How deep coins stand


async def test_no_coin_stands_on_more_unproven_transactions_than_is_set(node: WalletNode) -> None:
    treasury = await opened(node, unproven_depth=2, spare_coins=1)
    await pay(node, treasury, 5000)
    for _ in range(3):
        await node.spend(treasury)
    with pytest.raises(Unavailable) as caught:
        await treasury.take(300)
    assert caught.value.code == ErrorCode.WALLET_EMPTY
    assert "wait to be mined" in caught.value.message
    await mine(node)
    await treasury.tend()
    assert (await treasury.take(300)).satoshis > 4000


async def test_an_empty_wallet_says_where_to_pay(node: WalletNode) -> None:
    treasury = await opened(node)
    with pytest.raises(Unavailable) as caught:
        await treasury.take(300)
    assert treasury.deposit_address in caught.value.message
    assert treasury.is_low


async def test_a_reorganisation_makes_coins_unproven_again(node: WalletNode) -> None:
    treasury = await opened(node, unproven_depth=1)
    await pay(node, treasury, 5000)
    await treasury.tend()
    assert treasury.balance().proven_satoshis == 5000
    await node.chain.dev.reorg(1)
    await node.refresh()
    await treasury.tend()
    assert treasury.balance().proven_satoshis == 0
    assert (await treasury.take(100)).satoshis == 5000
    await mine(node)
    await treasury.tend()
    assert treasury.balance().proven_satoshis == 5000


# Splitting and joining


async def test_a_large_coin_is_split_broadcast_and_mined(node: WalletNode) -> None:
    treasury = await opened(node)
    await pay(node, treasury, 100_000)
    await treasury.tend()
    balance = treasury.balance()
    assert balance.coins == balance.ready == 8
    assert 99_990 <= balance.satoshis < 100_000
    assert balance.proven_satoshis == 0
    transaction, funding, _ = await node.spend(treasury)
    assert funding.satoshis == 5000
    await mine(node)
    await treasury.tend()
    assert treasury.balance().proven_satoshis == treasury.balance().satoshis
    kept = await node.store.get(TRANSACTIONS, transaction.txid)
    assert kept is not None
    assert kept["height"] == node.chain.dev.tip.height
    assert await check_invariants(node.store) == []


async def test_coins_are_made_when_they_are_asked_for(node: WalletNode) -> None:
    treasury = await opened(node)
    await pay(node, treasury, 100_000)
    first = await treasury.take(300)
    assert first.satoshis == 100_000
    with pytest.raises(Unavailable):
        await treasury.take(300)
    treasury.give_back(first)
    await treasury.take(300)


async def test_small_coins_are_joined(node: WalletNode) -> None:
    treasury = await opened(node, spare_coins=1)
    await pay(node, treasury, 400, 40)
    await treasury.tend()
    balance = treasury.balance()
    assert balance.coins == 3
    assert 15_980 < balance.satoshis < 16_000
    await mine(node)
    await treasury.tend()
    assert treasury.balance().coins == 3
    assert await reopened(node) == balance.satoshis


# Two processes


async def test_two_processes_cannot_spend_one_coin(node: WalletNode) -> None:
    first = await opened(node)
    await pay(node, first, 5000)
    second = await opened(node)
    taken = await second.take(300)
    await node.spend(first)
    change = second.change()
    transaction = await node.issue(taken, change.script)
    with pytest.raises((AlongsideConflict, BadRequest)):
        await node.engine.submit(await node.beef(transaction), [GC], alongside=lambda _: second.writes(taken, None))
    second.give_back(taken)
    with pytest.raises(Unavailable):
        await second.take(300)
    assert second.balance().satoshis == 0


async def test_the_commit_itself_refuses_a_coin_that_was_split_elsewhere(node: WalletNode) -> None:
    first = await opened(node)
    await pay(node, first, 100_000)
    second = await opened(node)
    taken = await second.take(300)
    await first.tend()
    transaction = await node.issue(taken, second.change().script)
    with pytest.raises(AlongsideConflict):
        await node.engine.submit(await node.beef(transaction), [GC], alongside=lambda _: second.writes(taken, None))
    assert await node.store.get(TRANSACTIONS, transaction.txid) is None


async def test_a_deposit_in_one_process_is_found_by_the_other(node: WalletNode) -> None:
    first, second = await opened(node), await opened(node)
    await pay(node, first, 5000)
    await second.tend()
    assert (await second.take(300)).satoshis == 5000


# Evictions


async def test_coins_come_back_when_their_spender_is_evicted(node: WalletNode) -> None:
    treasury = await opened(node)
    await pay(node, treasury, 5000)
    transaction, funding, change = await node.spend(treasury)
    assert change is not None
    await node.engine.evictor.evict(transaction.txid, "for the test")
    await treasury.tend()
    assert treasury.balance().satoshis == 5000
    assert (await treasury.take(300)).coins == funding.coins
    assert await reopened(node) == 5000


async def test_a_split_that_the_network_refuses_is_undone(node: WalletNode) -> None:
    treasury = await opened(node)
    (deposit,) = await pay(node, treasury, 100_000)
    await treasury.tend()
    _, funding, _ = await node.spend(treasury)
    await node.engine.evictor.evict(funding.coins[0].coin.txid, "for the test")
    await treasury.tend()
    # The coin was split anew at once.
    assert treasury.balance().coins == 8
    assert 99_990 <= treasury.balance().satoshis < 100_000
    assert deposit.outpoint not in {coin.outpoint for coin in (await treasury.stock()).largest}
    assert await reopened(node) == treasury.balance().satoshis
    assert await check_invariants(node.store) == []


async def test_an_eviction_while_the_node_was_down_is_learned_at_the_start(node: WalletNode) -> None:
    treasury = await opened(node)
    await pay(node, treasury, 5000)
    transaction, _, _ = await node.spend(treasury)
    await node.engine.evictor.evict(transaction.txid, "for the test")
    assert await reopened(node) == 5000


async def test_a_split_that_is_never_mined_is_given_up(node: WalletNode, clock: Clock) -> None:
    treasury = await opened(node)
    await pay(node, treasury, 100_000)
    await treasury.tend()
    clock.now_ms += node.engine.limits.unproven_max_age_ms + 1
    await node.engine.refresh_proofs()
    await treasury.tend()
    clock.now_ms += 60_000
    await treasury.tend()
    assert 99_980 <= treasury.balance().satoshis < 100_000
    assert await reopened(node) == treasury.balance().satoshis


async def test_spent_coins_are_forgotten_when_nothing_can_bring_them_back(node: WalletNode, clock: Clock) -> None:
    treasury = await opened(node, spare_coins=1)
    await pay(node, treasury, 5000)
    await node.spend(treasury)
    await mine(node)
    assert await node.store.count(FUND_COINS) == 2
    clock.now_ms += 9 * 86_400_000
    await treasury.tend()
    assert await node.store.count(FUND_COINS) == 1


# All together


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_happens_memory_and_storage_agree(node: WalletNode, seed: int) -> None:
    """No coin is given twice, what is kept is what there is, and no satoshi is lost but to fees."""
    choose = random.Random(seed)
    treasury = await opened(node, spare_coins=4, coin_satoshis=2000, unproven_depth=3)
    paid = 0
    held: list[Funding] = []
    for _ in range(40):
        match choose.choice(["pay", "take", "take", "back", "spend", "spend", "tend", "mine", "reopen"]):
            case "pay" if paid < 60_000:
                satoshis = choose.choice([700, 3000, 20_000])
                await pay(node, treasury, satoshis)
                paid += satoshis
            case "take":
                try:
                    funding = await treasury.take(choose.choice([200, 1500, 4000]))
                except Unavailable:
                    continue
                outpoints = {coin.outpoint for each in held for coin in each.coins}
                assert not outpoints & {coin.outpoint for coin in funding.coins}
                held.append(funding)
            case "back" if held:
                treasury.give_back(held.pop(choose.randrange(len(held))))
            case "spend":
                try:
                    await node.spend(treasury)
                except Unavailable:
                    continue
            case "tend":
                await treasury.tend()
            case "mine":
                await mine(node)
            case "reopen":
                treasury, held = await opened(node, spare_coins=4, coin_satoshis=2000, unproven_depth=3), []
        assert treasury.balance().satoshis == (await treasury.stock()).satoshis
    assert paid * 0.9 < treasury.balance().satoshis <= paid
    assert await reopened(node) == treasury.balance().satoshis
    assert await check_invariants(node.store) == []
