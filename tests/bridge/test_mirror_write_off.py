"""Sources that are gone for good: an operator writes them off, and parity is exact before and after."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from solders.keypair import Keypair

from api.solana.server import SolanaServer
from bridge.cluster.cluster import Cluster
from bridge.mirror.alarms import Alarm, standing
from bridge.mirror.books.accounting import read_ledger
from bridge.mirror.books.ledger import Ledger
from bridge.mirror.from_solana.witnesses import ENOUGH_MS
from bridge.mirror.message import Message
from bridge.mirror.records import OUTSTANDING
from bridge.mirror.states import Direction, Hold, State
from bridge.solana.client import ClusterClient
from bridge.watching.cursor import LAG_SLOTS
from certificates.successor import transfer
from config.errors import BadRequest, ErrorCode
from overlay.records import load_raws
from overlay.transaction import Transaction
from store.sqlite import SqliteStore
from tests.bridge.lying_rpc import lying
from tests.bridge.mirror_kit import UNITS_A_WH, MirrorNode, memo_to
from tests.bridge.stranger_kit import DEPOSITED_WH, STRANGER, WALLET, Wallet, exit_of, height_of
from tests.overlay.kit import Chain, Clock

DELAY_MS = 100_000
UNITS = DEPOSITED_WH * UNITS_A_WH


@pytest.fixture
def slot_ms() -> int:
    return 0


@pytest.fixture
async def node(tmp_path: Path, cluster: Cluster, solana: SolanaServer) -> AsyncIterator[MirrorNode]:
    clock = Clock()
    chain = Chain(tmp_path, clock)
    await chain.open()
    made = MirrorNode(chain, cluster, solana.rpc_url, SqliteStore(tmp_path / "node.db", cache_mib=4), clock)
    await made.open(large_wh=1_000, large_confirmations=3, large_delay_secs=DELAY_MS // 1000)
    yield made
    await made.close()
    await chain.close()


async def exact(node: MirrorNode) -> Ledger:
    """Parity holds; the ledger."""
    figures = await node.parts.parity.compute()
    assert figures.is_exact, figures
    return await read_ledger(node.store, node.parts.ground.asset.name)


async def resumed(wallet: Wallet) -> None:
    for direction in await wallet.node.mirror.pauses.all():
        await wallet.ordered("resume", {"direction": direction.value})


async def lost(wallet: Wallet) -> tuple[Message, Transaction]:
    """An exit that is in the books, and whose source went after it had been final; and the lock."""
    node = wallet.node
    locked = await wallet.lock()
    await node.until(State.RECEIPTED, State.QUEUED)
    await node.registry.node.engine.remove_output(locked.txid, 0)
    node.clock.now_ms += DELAY_MS
    await node.until(State.RECEIPTED, State.HELD)
    message = await exit_of(node)
    assert message.was_accounted
    assert message.reason is not None
    assert message.reason.code is Hold.SOURCE_LOST
    return message, locked


async def test_an_exit_whose_coin_was_double_spent_is_written_off(node: MirrorNode) -> None:
    wallet, dev = await Wallet.with_mirrored(node), node.chain.dev
    node.chain.known[wallet.coin.txid] = Transaction.parse(
        (await load_raws(node.store, [wallet.coin.txid]))[wallet.coin.txid]
    )
    rival = await wallet.spend(transfer(wallet.token, STRANGER.public))
    await wallet.lock()
    await node.until(State.RECEIPTED, State.QUEUED)
    await dev.reorg(dev.tip.height - await height_of(node), drop=True)
    await dev.submit(node.chain.extended(rival))
    await node.mine()
    node.clock.now_ms += DELAY_MS
    await node.until(State.RECEIPTED, State.HELD)
    await node.parts.parity.watch()
    assert [row["alarm"] for row in await standing(node.store)] == [Alarm.SOURCE_LOST]
    assert await exact(node) == Ledger(custody=UNITS, in_flight_out=UNITS)
    message = await exit_of(node)
    await wallet.ordered("write_off", {"message": message.id.hex()})
    assert (await exit_of(node)).state is State.SRC_ORPHANED
    assert await exact(node) == Ledger(custody=UNITS, live=UNITS)
    assert (await node.store.get(OUTSTANDING, bytes.fromhex(message.facts["origin"])) or {})["left"] == UNITS
    await node.parts.parity.watch()
    assert await standing(node.store) == []
    await resumed(wallet)
    await node.round()
    assert await node.wallet_balance(WALLET) == 0
    await exact(node)


async def test_one_that_is_written_off_and_comes_back_crosses_once(node: MirrorNode) -> None:
    wallet = await Wallet.with_mirrored(node)
    message, locked = await lost(wallet)
    await wallet.ordered("write_off", {"message": message.id.hex()})
    await exact(node)
    await resumed(wallet)
    await wallet.submit(locked)
    await node.until(State.RECEIPTED)
    assert (await exit_of(node)).id == message.id
    assert await node.wallet_balance(WALLET) == UNITS
    assert await exact(node) == Ledger()


async def test_what_is_there_is_not_written_off(node: MirrorNode) -> None:
    wallet = await Wallet.with_mirrored(node)
    message, locked = await lost(wallet)
    await wallet.submit(locked)
    with pytest.raises(BadRequest, match="locked to the bridge") as refused:
        await wallet.ordered("write_off", {"message": message.id.hex()})
    assert refused.value.code is ErrorCode.STATUS_FORBIDS
    (came,) = [each for each in await node.messages() if each.direction is Direction.IN]
    with pytest.raises(BadRequest, match="RECEIPTED"):
        await wallet.ordered("write_off", {"message": came.id.hex()})


async def test_an_exit_that_was_paid_for_nothing_raises_an_alarm(node: MirrorNode) -> None:
    """Its tokens are out when its source goes: it cannot end, is counted on, and everything is paused."""
    wallet = await Wallet.with_mirrored(node)
    locked = await wallet.lock()
    for _ in range(60):
        await node.round(slots=0)
        if (await exit_of(node)).state is State.DST_SENT:
            break
    await node.registry.node.engine.remove_output(locked.txid, 0)
    await node.until(State.RECEIPTED, State.DST_FINAL)
    await node.round()
    await node.parts.parity.watch()
    (alarm,) = await standing(node.store)
    assert (alarm["alarm"], alarm["subject"]) == (Alarm.SOURCE_LOST, (await exit_of(node)).id.hex())
    assert set(await node.mirror.pauses.all()) == set(Direction)
    await exact(node)
    await wallet.submit(locked)
    node.clock.now_ms += 60_000
    await node.until(State.RECEIPTED)
    await node.parts.parity.watch()
    assert await standing(node.store) == []
    assert await exact(node) == Ledger()


async def test_a_deposit_that_is_denied_is_written_off_and_found_again(
    node: MirrorNode, solana: SolanaServer
) -> None:
    """A witness denies it, then the first endpoint does; both lied. Parity says that tokens are there, and the
    history, read once more, brings them in."""
    holder, honest = Keypair(), node.rpc
    await node.mint_readings(holder, [DEPOSITED_WH])
    async with lying(solana.rpc_url) as liar:
        liar.lies["getTransaction"] = lambda _: None
        denying = ClusterClient(liar.url, remembered=0)
        await node.restart(witnesses=[denying])
        await node.deposit(holder, UNITS, memo_to())
        await node.watching.catch_up()
        await node.parts.lanes[0].round()
        await node.cluster.advance(LAG_SLOTS)
        node.clock.now_ms += ENOUGH_MS
        await node.until(State.HELD)
        (message,) = await node.messages()
        assert message.reason is not None
        assert message.reason.code is Hold.SOURCE_DISPUTED
        with pytest.raises(BadRequest, match="still tells"):
            await ordered(node, "write_off", message=message.id.hex())
        node.rpc = denying
        await node.restart()
        await ordered(node, "write_off", message=message.id.hex())
        assert [each.state for each in await node.messages()] == [State.SRC_ORPHANED]
        await denying.close()
    node.rpc = honest
    await node.restart()
    node.mirror.replay = node.watching.replay
    await node.parts.parity.watch()
    await node.until(State.RECEIPTED)
    assert [each.id for each in await node.messages()] == [message.id]
    assert await exact(node) == Ledger(custody=UNITS, live=UNITS)


async def ordered(node: MirrorNode, kind: str, **about: str) -> None:
    asked = await node.mirror.desk.ask(kind, {"reason": "looked at", **about}, "an operator", wait_secs=0)
    await node.parts.operating.round()
    await node.mirror.desk.outcome(asked["command"])
