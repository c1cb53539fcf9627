"""The whole mirror when BSV takes a certificate back before it is final: nobody gets anything twice, and parity
holds at every step."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from solders.keypair import Keypair

from api.solana.server import SolanaServer
from bridge.cluster.cluster import Cluster
from bridge.mirror.message import Message
from bridge.mirror.operators.commands import Desk
from bridge.mirror.states import Hold, State
from config.errors import BadRequest, ErrorCode
from store.sqlite import SqliteStore
from tests.bridge.mirror_kit import UNITS_A_WH, MirrorNode, memo_to
from tests.bridge.test_mirror_crossing import live_wh
from tests.overlay.kit import Chain, Clock


@pytest.fixture
def slot_ms() -> int:
    return 0


@pytest.fixture
async def node(tmp_path: Path, cluster: Cluster, solana: SolanaServer) -> AsyncIterator[MirrorNode]:
    clock = Clock()
    chain = Chain(tmp_path, clock)
    await chain.open()
    made = MirrorNode(chain, cluster, solana.rpc_url, SqliteStore(tmp_path / "node.db", cache_mib=4), clock)
    await made.open()
    yield made
    await made.close()
    await chain.close()


async def held(node: MirrorNode, holder: Keypair, *, is_sent: bool) -> Message:
    """A deposit whose certificate was evicted, when the network had seen it or before."""
    await node.mint_readings(holder, [1_000])
    await node.deposit(holder, 600 * UNITS_A_WH, memo_to())
    for _ in range(20):
        await node.watching.catch_up()
        await node.parts.lanes[0].round()
        node.clock.now_ms += 5_000
        messages = await node.messages()
        if messages and messages[0].state is State.DST_SIGNED:
            break
    if is_sent:
        await node.registry.node.engine.tend()
    (sent,) = await node.messages()
    assert sent.destination_tx is not None
    assert await node.registry.node.engine.evictor.evict(sent.destination_tx, "told so")
    await node.registry.registry.undoing.work()
    await node.registry.treasury.tend()
    await node.parts.bsv.follow()
    (message,) = await node.messages()
    assert message.reason is not None
    assert message.reason.code is Hold.DESTINATION_CONFLICT
    await is_exact(node)
    return message


async def is_exact(node: MirrorNode) -> None:
    figures = await node.parts.parity.compute()
    assert figures.is_exact, figures


async def order(node: MirrorNode, kind: str, message: Message) -> None:
    """Order it, and have it carried out; raises what it was refused with."""
    desk = Desk(node.store, node.clock)
    told = await desk.ask(kind, {"message": message.id.hex(), "reason": "looked at"}, "operator", wait_secs=0)
    await node.parts.operating.round()
    await desk.outcome(told["command"])


@pytest.mark.parametrize("is_sent", [False, True])
async def test_released_it_is_issued_once(node: MirrorNode, is_sent: bool) -> None:
    message = await held(node, Keypair(), is_sent=is_sent)
    await order(node, "release", message)
    await node.until(State.RECEIPTED)
    assert await live_wh(node, "Active") == 600
    assert await node.custody() == 600 * UNITS_A_WH
    await is_exact(node)


async def test_refunded_only_when_the_certificate_can_never_be_mined(node: MirrorNode) -> None:
    holder = Keypair()
    message = await held(node, holder, is_sent=False)
    with pytest.raises(BadRequest) as refusal:
        await order(node, "refund", message)
    assert refusal.value.code is ErrorCode.STATUS_FORBIDS
    await spend_elsewhere(node)
    with pytest.raises(BadRequest):
        await order(node, "refund", message)
    await node.registry.node.engine.tend()
    for _ in range(node.settings.bridge.confirmations):
        await node.mine()
    await order(node, "refund", message)
    await node.until(State.REFUNDED)
    assert await node.wallet_balance(holder.pubkey()) == 1_000 * UNITS_A_WH
    assert await node.custody() == 0
    await is_exact(node)


async def spend_elsewhere(node: MirrorNode) -> None:
    """All free coins for fees go into transactions of the registry's own."""
    purse = node.registry.treasury._purse
    for hour in range(len(purse.free())):
        (first, *others) = sorted(purse.free(), key=lambda coin: coin.outpoint)
        if first.block is None and hour:
            break
        for coin in others:
            purse.hold(coin)
        await node.registry.issue(100 + hour, 1)
        for coin in others:
            purse.release(coin.outpoint)
