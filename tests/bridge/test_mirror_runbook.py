"""The runbook of docs/BRIDGE.md, rehearsed on a whole mirror: each procedure as it is written there."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from solders.keypair import Keypair
from spl.token.constants import TOKEN_PROGRAM_ID

from api.solana.server import SolanaServer
from bridge.cluster.cluster import Cluster
from bridge.mirror.alarms import Alarm, standing
from bridge.mirror.custody import open_custody
from bridge.mirror.from_bsv.exits import NAME, ExitIndex
from bridge.mirror.from_solana.witnesses import ENOUGH_MS
from bridge.mirror.message import Message
from bridge.mirror.records import MIRROR_COLLECTIONS
from bridge.mirror.states import Direction, Hold, State
from bridge.mirror.to_solana.vault import vault_of
from bridge.programs.keys import FileSigner
from bridge.programs.own import OwnMint
from bridge.records import BRIDGE_COLLECTIONS
from bridge.solana.client import ClusterClient
from bridge.watching.cursor import LAG_SLOTS
from bridge.watching.follower import Watched
from bridge.watching.processor import EventProcessor
from config.errors import Unavailable
from config.settings import BridgeSettings, Settings
from store.sqlite import SqliteStore
from tests.bridge.lying_rpc import LyingRpc, lying
from tests.bridge.mirror_kit import UNITS_A_WH, MirrorNode, memo_to
from tests.bridge.releases_kit import ReleaseBench
from tests.energytag.kit import RegistryNode
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
    await made.open(limit_in_wh=2_000)
    yield made
    await made.close()
    await chain.close()


@pytest.fixture
async def liar(solana: SolanaServer) -> AsyncIterator[LyingRpc]:
    async with lying(solana.rpc_url) as made:
        yield made


async def ordered(node: MirrorNode, kind: str, **about: Any) -> dict[str, Any]:
    """What an operator asks for, carried out; raises what it is refused with."""
    asked = await node.mirror.desk.ask(kind, {"reason": "a drill", **about}, "Ada", wait_secs=0)
    await node.parts.operating.round()
    return await node.mirror.desk.outcome(asked["command"])


async def one(node: MirrorNode, state: State) -> Message:
    """The only message in this state."""
    (message,) = [each for each in await node.messages() if each.state is state]
    return message


async def exact(node: MirrorNode) -> None:
    figures = await node.parts.parity.compute()
    assert figures.is_exact, figures


async def crossed(node: MirrorNode, wh: int = 1_000) -> Keypair:
    """So much of a holder's has become certificates."""
    holder = Keypair()
    await node.mint_readings(holder, [wh])
    await node.deposit(holder, wh * UNITS_A_WH, memo_to())
    await node.until(State.RECEIPTED)
    return holder


# A stuck message


async def test_a_message_that_waits_says_for_what(node: MirrorNode) -> None:
    holder = await crossed(node, 1_500)
    await node.lock(100, str(Keypair().pubkey()))
    await node.round(blocks=0)
    assert (await one(node, State.OBSERVED)).direction is Direction.OUT, "not deep enough"
    await ordered(node, "pause", direction="in")
    await node.mint_readings(holder, [700])
    await node.deposit(holder, 700 * UNITS_A_WH, memo_to())
    await node.round(blocks=0)
    assert (await one(node, State.VALIDATED)).direction is Direction.IN, "its direction is paused"
    await ordered(node, "resume", direction="in")
    node.clock.now_ms += 2_000
    await node.round(blocks=0)
    queued = await one(node, State.QUEUED)
    assert queued.facts["queued"] == "limit"
    assert queued.due_ms is not None
    node.clock.now_ms = queued.due_ms
    await node.until(State.RECEIPTED)
    await exact(node)


async def test_what_is_held_goes_on_once_its_cause_is_mended(node: MirrorNode) -> None:
    holder = Keypair()
    await node.give(holder.pubkey(), 500 * UNITS_A_WH)
    await node.deposit(holder, 500 * UNITS_A_WH, memo_to())
    await node.until(State.HELD)
    message = await one(node, State.HELD)
    assert message.reason is not None
    assert message.reason.code is Hold.PROVENANCE_LACKING
    await node.mint_readings(Keypair(), [600])
    await ordered(node, "release", message=message.id.hex())
    await node.until(State.RECEIPTED)
    await exact(node)


# Solana


async def test_a_history_that_was_kept_back_is_read_anew(node: MirrorNode, liar: LyingRpc) -> None:
    """The endpoint leaves a deposit out of every history: parity finds it. Another endpoint has it."""
    holder, honest = await crossed(node), node.rpc
    await node.mint_readings(holder, [400])
    await node.round()
    deposit = str(await node.deposit(holder, 400 * UNITS_A_WH, memo_to()))
    liar.lies["getSignaturesForAddress"] = lambda told: [each for each in told if each["signature"] != deposit]
    node.rpc = lied_to = ClusterClient(liar.url, remembered=0)
    await node.restart()
    node.mirror.replay = node.watching.replay
    await node.mint_readings(holder, [100])
    await node.watching.catch_up()
    await node.parts.parity.watch()
    assert [row["alarm"] for row in await standing(node.store)] == [Alarm.PARITY_BREACHED]
    assert set(await node.mirror.pauses.all()) == set(Direction)
    await lied_to.close()
    node.rpc = honest
    await node.restart()
    await node.watching.replay(0)
    await node.round()
    await node.parts.parity.watch()
    assert await standing(node.store) == []
    for direction in Direction:
        await ordered(node, "resume", direction=direction.value)
    await node.until(State.RECEIPTED)
    assert len(await node.messages()) == 2
    await exact(node)


async def test_an_outage_of_the_endpoint_is_waited_out(node: MirrorNode, liar: LyingRpc) -> None:
    await crossed(node)
    wallet, direct = Keypair().pubkey(), node.rpc
    node.rpc = behind = ClusterClient(liar.url, remembered=0)
    await node.restart()
    await node.lock(300, str(wallet))
    liar.is_down = True
    for _ in range(4):
        await node.mine()
    for _ in range(5):
        with suppress(Unavailable):
            await node.parts.lanes[1].round()
        node.clock.now_ms += 60_000
    (waiting,) = [each for each in await node.messages() if each.direction is Direction.OUT]
    assert waiting.state is State.OBSERVED, "where it may go on Solana nobody can say"
    liar.is_down = False
    await node.until(State.RECEIPTED)
    assert await node.wallet_balance(wallet) == 300 * UNITS_A_WH
    await exact(node)
    await behind.close()
    node.rpc = direct


async def test_what_a_witness_disputed_goes_on_once_it_agrees(node: MirrorNode, liar: LyingRpc) -> None:
    holder, witness = Keypair(), ClusterClient(liar.url, remembered=0)
    await node.mint_readings(holder, [1_000])
    await node.restart(witnesses=[witness])
    liar.lies["getTransaction"] = lambda _: None
    await node.deposit(holder, 1_000 * UNITS_A_WH, memo_to())
    await node.watching.catch_up()
    await node.parts.lanes[0].round()
    await node.cluster.advance(LAG_SLOTS)
    node.clock.now_ms += ENOUGH_MS
    await node.until(State.HELD)
    message = await one(node, State.HELD)
    assert message.reason is not None
    assert message.reason.code is Hold.SOURCE_DISPUTED
    liar.lies.clear()
    await ordered(node, "release", message=message.id.hex())
    await node.until(State.RECEIPTED)
    await exact(node)
    await witness.close()


# Keys


async def test_a_database_keeps_to_the_key_that_it_was_made_with(node: MirrorNode) -> None:
    await crossed(node)
    own, node.bridge_key = node.bridge_key, FileSigner(Keypair())
    await node.rpc.airdrop(node.bridge_key.public, 10**9)
    with pytest.raises(AssertionError, match="The database has its custody"):
        await node.restart()
    node.bridge_key = own
    await node.restart()
    wallet = Keypair().pubkey()
    await node.lock(400, str(wallet))
    await node.until(State.RECEIPTED)
    assert await node.wallet_balance(wallet) == 400 * UNITS_A_WH


async def test_another_member_of_the_multisig_signs(tmp_path: Path, cluster: Cluster, solana: SolanaServer) -> None:
    """Two of three: which two are here may change, and the database does not mind."""
    store = SqliteStore(tmp_path / "multisig.db", cache_mib=4)
    bench = await ReleaseBench.open(cluster, solana.rpc_url, store, members=3)
    base, *members = bench.signers
    settings = Settings(bridge=BridgeSettings(custody_owner=str(bench.asset.owner)))
    mode = OwnMint(bench.asset.genesis, bench.asset.mint, TOKEN_PROGRAM_ID, base.public, 9)
    for two in (members[:2], members[1:]):
        asset = await open_custody(
            store, bench.rpc, bench.asset.genesis, mode, [base, *two], settings, has_faucet=False
        )
        vault = await vault_of(asset, bench.rpc, [base, *two])
        assert vault.signers == tuple(each.public for each in two)
    await bench.close()


async def test_a_bridge_is_wound_down(node: MirrorNode) -> None:
    """In is paused, holders leave, who comes late has his tokens back, and custody is empty."""
    holder, wallet = await crossed(node), Keypair().pubkey()
    await node.mint_readings(holder, [50])
    await ordered(node, "pause", direction="in")
    await node.deposit(holder, 50 * UNITS_A_WH, memo_to())
    await node.lock(1_000, str(wallet))
    await node.until(State.RECEIPTED, State.VALIDATED)
    late = await one(node, State.VALIDATED)
    await ordered(node, "hold", message=late.id.hex())
    await ordered(node, "refund", message=late.id.hex())
    await ordered(node, "resume", direction="in")
    await node.until(State.RECEIPTED, State.REFUNDED)
    assert await node.wallet_balance(wallet) == 1_000 * UNITS_A_WH
    assert await node.wallet_balance(holder.pubkey()) == 50 * UNITS_A_WH
    assert await node.custody() == 0
    await exact(node)


# Databases


async def test_the_bridge_is_switched_on_over_an_existing_database(node: MirrorNode) -> None:
    """While it was off nobody looked for exits, lots or deposits; both chains still have them."""
    holder, wallet = await crossed(node), Keypair().pubkey()
    services = node.registry.node.engine.lookup_services
    assert isinstance(services, dict)
    index = services.pop(NAME)
    node.watching = off(node)
    await node.mint_readings(holder, [500])
    await node.deposit(holder, 500 * UNITS_A_WH, memo_to())
    await node.watching.catch_up()
    await node.lock(300, str(wallet))
    await node.mine()
    assert len(await node.messages()) == 1
    services[NAME] = index
    await node.registry.node.engine.reindex(NAME)
    await node.restart()
    await node.watching.replay(0)
    await node.until(State.RECEIPTED)
    assert len(await node.messages()) == 3
    assert await node.wallet_balance(wallet) == 300 * UNITS_A_WH
    await exact(node)


def off(node: MirrorNode) -> EventProcessor:
    """The event processor of a node that is no bridge."""
    watched, confirmations = [Watched("mint", node.mode.mint)], node.minting.confirmations
    return EventProcessor(
        node.store, node.rpc, None, watched, node.clock, lambda: None, confirmations, turn=node.minting.turn
    )


async def test_an_old_backup_pays_nothing_twice(node: MirrorNode, tmp_path: Path, solana: SolanaServer) -> None:
    await crossed(node)
    wallet = Keypair().pubkey()
    await node.lock(600, str(wallet))
    backed_up(tmp_path / "node.db", tmp_path / "backup.db")
    await node.until(State.RECEIPTED)
    assert await node.wallet_balance(wallet) == 600 * UNITS_A_WH
    async with AsyncExitStack() as stack:
        again = await restored(node, solana.rpc_url, tmp_path / "backup.db")
        stack.push_async_callback(again.close)
        assert [each.direction for each in await again.messages()] == [Direction.IN]
        for _ in range(20):
            await again.round()
        assert {each.state for each in await again.messages()} == {State.RECEIPTED}
        assert await again.wallet_balance(wallet) == 600 * UNITS_A_WH
        assert await again.custody() == 400 * UNITS_A_WH
        await exact(again)


async def test_an_old_backup_is_begun_with_everything_delayed(
    node: MirrorNode, tmp_path: Path, solana: SolanaServer
) -> None:
    """What was issued after the backup may be issued again, for nothing on BSV forbids it: all that is about to be
    done waits for a person, who holds what was done already."""
    holder = await crossed(node)
    await node.mint_readings(holder, [500])
    await node.deposit(holder, 500 * UNITS_A_WH, memo_to())
    backed_up(tmp_path / "node.db", tmp_path / "backup.db")
    await node.until(State.RECEIPTED)
    async with AsyncExitStack() as stack:
        again = await restored(node, solana.rpc_url, tmp_path / "backup.db", large_wh=1, large_delay_secs=86_400)
        stack.push_async_callback(again.close)
        await again.round()
        done = await one(again, State.QUEUED)
        assert done.id == (await node.messages())[-1].id
        await ordered(again, "hold", message=done.id.hex())
        again.clock.now_ms += 86_400_000
        await again.round()
        assert (await one(again, State.HELD)).destination_tx is None
        await exact(again)


def backed_up(database: Path, backup: Path) -> None:
    """As docs/OPERATIONS.md has it."""
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as source, sqlite3.connect(backup) as copy:
        source.backup(copy)


async def restored(node: MirrorNode, rpc_url: str, database: Path, **bridge: Any) -> MirrorNode:
    """Another node with the same keys, over a copy of the database."""
    made = MirrorNode(node.chain, node.cluster, rpc_url, SqliteStore(database, cache_mib=4), node.clock)
    made.minter_key, made.bridge_key = node.minter_key, node.bridge_key
    update = node.settings.bridge.model_copy(update=bridge)
    made.settings, made.mode = node.settings.model_copy(update={"bridge": update}), node.mode
    index = ExitIndex(made.chain.issuer.public, made.clock)
    made.registry = RegistryNode(made.chain, made.store, made.clock, made.settings, services=[index])
    await made.registry.open(*BRIDGE_COLLECTIONS, *MIRROR_COLLECTIONS)
    await made.restart()
    return made
