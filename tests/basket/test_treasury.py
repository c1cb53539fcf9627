"""The treasury against the real engine, store and dev chain."""

from __future__ import annotations

from tests.basket.conftest import WalletNode


async def test_the_dev_network_pays_in_what_is_asked_for(node: WalletNode) -> None:
    treasury = node.treasury(node.chain.dev.faucet)
    await treasury.open()
    assert treasury.balance().satoshis == 0
    funding = await treasury.take(300)
    assert len(funding.coins) == 1
    assert funding.satoshis == 5000
    assert treasury.balance().coins == 8
    transaction, _, change = await node.spend(treasury)
    assert change is not None
    assert (await node.live(issuance_id="x")) == set()
    assert transaction.outputs[1].satoshis == change.coin.output.satoshis
    again = node.treasury()
    await again.open()
    assert again.balance().satoshis == treasury.balance().satoshis
