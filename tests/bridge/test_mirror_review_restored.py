"""A database of before a release: what its books say of a message is old, and Solana knows better."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from solders.keypair import Keypair

from api.solana.server import SolanaServer
from bridge.cluster.cluster import Cluster
from bridge.mirror.message import Message
from bridge.mirror.records import MESSAGES, RELEASES
from bridge.mirror.states import Direction, Hold, Kind, State
from config.errors import BadRequest, ErrorCode, Unavailable
from store.port import Delete, Patch
from store.sqlite import SqliteStore
from tests.bridge.mirror_kit import UNITS_A_WH, MirrorNode, memo_to
from tests.overlay.kit import Chain, Clock


@pytest.fixture
def slot_ms() -> int:
    return 0


@pytest.fixture
async def node(tmp_path: Path, cluster: Cluster, solana: SolanaServer) -> AsyncIterator[MirrorNode]:
    clock = Clock()
    chain = Chain(tmp_path, clock)
    await chain.open()
    store = SqliteStore(tmp_path / "node.db", cache_mib=4)
    made = MirrorNode(chain, cluster, solana.rpc_url, store, clock)
    await made.open()
    yield made
    await made.close()
    await chain.close()


async def test_what_was_paid_before_is_not_given_back(node: MirrorNode) -> None:
    """Its tokens are out, and the marker is there; only the books of this database do not know."""
    wallet = Keypair()
    await _paid(node, wallet)
    exit_ = await _exit(node)
    await _forgotten(node, exit_)
    with pytest.raises(BadRequest) as refused:
        await _ordered(node, "refund", exit_)
    assert refused.value.code is ErrorCode.STATUS_FORBIDS
    assert "marker" in str(refused.value)
    await _ordered(node, "release", exit_)
    await node.until(State.RECEIPTED)
    assert await node.wallet_balance(wallet.pubkey()) == 2 * UNITS_A_WH


async def test_an_order_that_waits_for_a_chain_keeps_no_other_waiting(
    node: MirrorNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever wants to pause, because an endpoint is away, is not told to wait for that endpoint."""
    await _paid(node, Keypair())
    exit_ = await _exit(node)
    await _forgotten(node, exit_)

    async def away(*args: object, **more: object) -> None:
        raise Unavailable("the endpoint is away", ErrorCode.SOLANA_UNAVAILABLE)

    desk, operating = node.mirror.desk, node.parts.operating
    waits = await desk.ask("refund", {"message": exit_.id.hex(), "reason": "a test"}, "test", wait_secs=0)
    with monkeypatch.context() as patch:
        patch.setattr(node.parts.ground.rpc, "accounts", away)
        with pytest.raises(Unavailable):
            await operating.round()
        paused = await desk.ask("pause", {"direction": "out", "reason": "a test"}, "test", wait_secs=0)
        assert await operating.round() == 1
    assert (await desk.outcome(paused["command"]))["paused"] is True
    assert (await desk.outcome(waits["command"]))["state"] == "open"


async def _paid(node: MirrorNode, wallet: Keypair) -> None:
    """An exit whose tokens are out, finally, and whose certificate is not withdrawn yet."""
    holder = Keypair()
    await node.mint_readings(holder, [5])
    await node.deposit(holder, 5 * UNITS_A_WH, memo_to())
    await node.until(State.RECEIPTED)
    await node.lock(2, str(wallet.pubkey()))
    for _ in range(20):
        await node.registry.node.engine.tend()
        await node.mine()
        await node.parts.lanes[1].forward()
        await node.cluster.advance(40)
        await node.parts.solana.follow()
        node.clock.now_ms += 5_000
        if any(each.state is State.DST_FINAL for each in await node.messages()):
            return
    raise AssertionError("not paid")


async def _exit(node: MirrorNode) -> Message:
    return next(each for each in await node.messages() if each.kind is Kind.EXIT)


async def _forgotten(node: MirrorNode, message: Message) -> None:
    """The books as they were before anything was signed, and a person who held the message."""
    assert message.destination_tx is not None
    held = {"code": Hold.OPERATOR.value, "text": "a test"}
    facts = {name: each for name, each in message.facts.items() if name not in ("slot", "marker", "paid_to")}
    changes = {
        "state": State.HELD.value,
        "lane": Direction.OUT.value,
        "due_ms": 0,
        "destination_tx": None,
        "attempt": 0,
        "sent_ms": None,
        "reason": held,
        "facts": facts,
    }
    await node.store.commit([Patch(MESSAGES, message.id, changes), Delete(RELEASES, message.destination_tx)])
    await node.restart()


async def _ordered(node: MirrorNode, order: str, message: Message) -> None:
    arguments = {"message": message.id.hex(), "reason": "a test"}
    asked = await node.mirror.desk.ask(order, arguments, "test", wait_secs=0)
    await node.parts.operating.round()
    await node.mirror.desk.outcome(asked["command"])
