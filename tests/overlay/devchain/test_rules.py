"""What a miner refuses, by ARC's numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from config.errors import ErrorCode
from overlay.builder import ALL_FORKID, FINAL_SEQUENCE, Coin, P2pkhSigner, TransactionBuilder, sighash
from overlay.chain import TxStatus
from overlay.devchain import DevChain, Refusal
from overlay.devchain.orphans import Orphan
from overlay.keys import PrivateKey
from overlay.transaction import Input, Output, Transaction
from overlay.wire import make_transaction, to_extended

UNKNOWN = Coin(b"\x77" * 32, 0, Output(10_000, b"\x51"))


def signed_by(key: PrivateKey, coin: Coin, wallet: Any) -> Transaction:
    return TransactionBuilder().spend(coin, P2pkhSigner(key)).pay(9_000, wallet.lock).build()


def locked_until(lock_time: int, sequence: int, coin: Coin, wallet: Any) -> Transaction:
    builder = TransactionBuilder(lock_time=lock_time).spend(coin, wallet.signer, sequence)
    return builder.pay(9_000, wallet.lock).build()


def twice(coin: Coin, wallet: Any) -> Transaction:
    builder = TransactionBuilder().spend(coin, wallet.signer).spend(coin, wallet.signer)
    return builder.pay(19_000, wallet.lock).build()


def paying(coin: Coin, wallet: Any, *outputs: Output) -> Transaction:
    """Signed, whatever it pays."""
    spent = Input(coin.txid, coin.index, b"", FINAL_SEQUENCE)
    script = wallet.signer.unlock(sighash(make_transaction([spent], outputs), 0, coin.output), ALL_FORKID)
    return make_transaction([spent._replace(unlocking_script=script)], outputs)


def made_of_nothing(_coin: Coin, wallet: Any) -> Transaction:
    return make_transaction([Input(bytes(32), 0xFFFFFFFF, b"\x51\x51", 0)], [Output(1, wallet.lock)])


REFUSED: dict[str, tuple[int, Callable[[Coin, Any], bytes]]] = {
    "not a transaction": (463, lambda coin, wallet: b"\x00" * 80),
    "cut off": (463, lambda coin, wallet: wallet.spend(coin).raw[:-1]),
    "left over": (463, lambda coin, wallet: wallet.spend(coin).raw + b"\x00"),
    "no inputs": (463, lambda coin, wallet: make_transaction([], [Output(1, wallet.lock)]).raw),
    "too small": (463, lambda coin, wallet: make_transaction([Input(coin.txid, 0, b"", 0)], [Output(1, b"")]).raw),
    "a parent that nobody knows": (460, lambda coin, wallet: wallet.spend(UNKNOWN).raw),
    "an output that the parent has not": (
        460,
        lambda coin, wallet: wallet.spend(Coin(coin.txid, 9, coin.output)).raw,
    ),
    "another's signature": (461, lambda coin, wallet: signed_by(PrivateKey.from_int(9), coin, wallet).raw),
    "a coinbase": (462, lambda coin, wallet: made_of_nothing(coin, wallet).raw),
    "an output spent twice": (462, lambda coin, wallet: twice(coin, wallet).raw),
    "an extended format that lies of the value": (
        462,
        lambda coin, wallet: to_extended(wallet.spend(coin), [Output(10_001, wallet.lock)]),
    ),
    "an extended format that lies of the script": (
        462,
        lambda coin, wallet: to_extended(wallet.spend(coin), [Output(10_000, b"\x51")]),
    ),
    "not final by height": (463, lambda coin, wallet: locked_until(10_000, 1, coin, wallet).raw),
    "not final by time": (463, lambda coin, wallet: locked_until(4_000_000_000, 1, coin, wallet).raw),
    "dust": (464, lambda coin, wallet: paying(coin, wallet, Output(0, wallet.lock)).raw),
    "no fee": (465, lambda coin, wallet: wallet.spend(coin, 10_000).raw),
    "value out of nothing": (465, lambda coin, wallet: paying(coin, wallet, Output(10_001, wallet.lock)).raw),
    "more than exists": (
        464,
        lambda coin, wallet: paying(coin, wallet, *[Output(21 * 10**14, wallet.lock)] * 2).raw,
    ),
}


@pytest.mark.parametrize(("number", "make"), REFUSED.values(), ids=REFUSED.keys())
async def test_refused(chain: DevChain, wallet: Any, number: int, make: Callable[[Coin, Any], bytes]) -> None:
    coin = (await wallet.fund(chain))[0]
    with pytest.raises(Refusal) as refusal:
        await chain.submit(make(coin, wallet))
    assert refusal.value.arc_status == number
    assert refusal.value.code is ErrorCode.BROADCAST_REJECTED
    assert chain.pool_size == 0
    await chain.submit(wallet.spend(coin).raw)


TAKEN: dict[str, Callable[[Coin, Any], bytes]] = {
    "raw": lambda coin, wallet: wallet.spend(coin).raw,
    "extended": lambda coin, wallet: to_extended(wallet.spend(coin), [coin.output]),
    "the least fee": lambda coin, wallet: wallet.spend(coin, 9_999).raw,
    "final by sequence": lambda coin, wallet: locked_until(10_000, FINAL_SEQUENCE, coin, wallet).raw,
    "final by height": lambda coin, wallet: locked_until(50, 1, coin, wallet).raw,
    "final by time": lambda coin, wallet: locked_until(1_500_000_000, 1, coin, wallet).raw,
    "data for nothing": lambda coin, wallet: paying(coin, wallet, Output(0, b"\x00\x6a\x01a")).raw,
    "another script": lambda coin, wallet: wallet.spend(coin, script=b"\x51\x87").raw,
}


@pytest.mark.parametrize("make", TAKEN.values(), ids=TAKEN.keys())
async def test_taken(chain: DevChain, wallet: Any, make: Callable[[Coin, Any], bytes]) -> None:
    coin = (await wallet.fund(chain))[0]
    report = await chain.submit(make(coin, wallet))
    assert report.status is TxStatus.SEEN_ON_NETWORK
    assert chain.pool_size == 1


async def test_costly_scripts_run_elsewhere(chain: DevChain, wallet: Any) -> None:
    (coin,) = await wallet.fund(chain)
    odd = wallet.spend(coin, script=b"\x76\x87")
    await chain.submit(odd.raw)
    opened = make_transaction([Input(odd.txid, 0, b"\x55", FINAL_SEQUENCE)], [Output(9_000, wallet.lock)])
    assert (await chain.submit(opened.raw)).status is TxStatus.SEEN_ON_NETWORK


async def test_coinbases_must_ripen(chain: DevChain, wallet: Any) -> None:
    """The faucet's own key stands in for a miner's."""
    signer = chain._faucet._signer
    page = await chain._ledger.blocks(chain.tip.height - 98, 2)
    coins = [Coin(b["txids"][:32], 0, Output(5_000_000_000, chain._faucet.script)) for b in page]
    ripe, green = [TransactionBuilder().spend(c, signer).pay(4_000_000_000, wallet.lock).build() for c in coins]
    with pytest.raises(Refusal) as refusal:
        await chain.submit(green.raw)
    assert refusal.value.arc_status == 462
    with pytest.raises(Refusal):
        await chain.submit(ripe.raw)
    await chain.mine()
    assert (await chain.submit(ripe.raw)).status is TxStatus.SEEN_ON_NETWORK
    with pytest.raises(Refusal):
        await chain.submit(green.raw)


async def test_the_first_seen_stays(chain: DevChain, wallet: Any) -> None:
    (coin,) = await wallet.fund(chain)
    first, second = wallet.spend(coin), wallet.spend(coin, 5_000)
    await chain.submit(first.raw)
    report = await chain.submit(second.raw)
    assert report.status is TxStatus.DOUBLE_SPEND_ATTEMPTED
    assert report.competing == (first.txid_hex,)
    assert await chain.status(second.txid) == report
    await chain.mine()
    with pytest.raises(Refusal) as refusal:
        await chain.submit(second.raw)
    assert (refusal.value.arc_status, refusal.value.competing) == (466, (first.txid_hex,))


async def test_again_is_the_same(chain: DevChain, wallet: Any) -> None:
    (coin,) = await wallet.fund(chain)
    transaction = wallet.spend(coin)
    assert await chain.submit(transaction.raw) == await chain.submit(to_extended(transaction, [coin.output]))
    await chain.mine()
    assert (await chain.submit(transaction.raw)).status is TxStatus.MINED


async def test_orphans_wait_for_their_parents(chain: DevChain, wallet: Any) -> None:
    (coin,) = await wallet.fund(chain)
    first, second, third = wallet.chained(coin, 3)
    for orphan, parent in ((third, second), (second, first)):
        report = await chain.submit(to_extended(orphan, parent.outputs))
        assert report.status is TxStatus.SEEN_IN_ORPHAN_MEMPOOL
    assert chain.pool_size == 0
    await chain.submit(first.raw)
    assert chain.pool_size == 3


async def test_an_orphan_that_comes_in_by_itself_is_one_no_longer(chain: DevChain, wallet: Any) -> None:
    (coin,) = await wallet.fund(chain)
    parent, child = wallet.chained(coin, 2)
    await chain.submit(parent.raw)
    await chain.submit(child.raw)
    chain._orphans.add(Orphan(child))
    await chain.mine()
    report = await chain.status(child.txid)
    assert report is not None
    assert report.status is TxStatus.MINED


async def test_an_orphan_whose_parent_comes_at_that_very_moment(chain: DevChain, wallet: Any) -> None:
    (coin,) = await wallet.fund(chain)
    parent, child = wallet.chained(coin, 2)
    await chain.submit(parent.raw)
    report = await chain._set_aside(Orphan(child))
    assert report.status is TxStatus.SEEN_ON_NETWORK
    assert chain.pool_size == 2


async def test_an_orphan_that_lies_of_its_parent_is_rejected(chain: DevChain, wallet: Any) -> None:
    (coin,) = await wallet.fund(chain)
    parent = wallet.spend(coin)
    orphan = wallet.spend(Coin(parent.txid, 0, Output(50_000, wallet.lock)), 40_000)
    await chain.submit(to_extended(orphan, [Output(50_000, wallet.lock)]))
    await chain.submit(parent.raw)
    report = await chain.status(orphan.txid)
    assert report is not None
    assert report.status is TxStatus.REJECTED
