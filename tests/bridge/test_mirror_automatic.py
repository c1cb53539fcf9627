"""A meter that is mirrored, from its registration to the certificates of its account, in a whole mirror."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from api.solana.server import SolanaServer
from bridge.audit import check_readings
from bridge.cluster.cluster import Cluster
from bridge.meters.directory import MeterDirectory
from bridge.meters.intake import Intake
from bridge.mirror.records import LOTS
from bridge.mirror.states import Direction, Kind, State
from bridge.records import READINGS
from config.settings import MeterSettings
from lookup.records import CERTIFICATES
from store.pages import every
from store.port import Find, Patch
from store.sqlite import SqliteStore
from tests.bridge.mirror_kit import ACCOUNT, DEVICE, MirrorNode, memo_to
from tests.bridge.readings_kit import SimpleMeter
from tests.overlay.kit import Chain, Clock

MIRRORED, PLAIN = SimpleMeter("METER-001"), SimpleMeter("METER-002", wallet=str(Pubkey.from_bytes(b"\x08" * 32)))
INTERVAL_MS = 300_000


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


@pytest.fixture
async def intake(node: MirrorNode) -> Intake:
    """The way in for readings of a mirrored meter of the device, and of one that is not."""
    mirroring = node.mirror.mirroring
    directory = MeterDirectory(node.store, MeterSettings(), node.clock, mirroring)
    await directory.register(MIRRORED.registration(account_id=ACCOUNT, device_id=DEVICE, mirror=True))
    await directory.register(PLAIN.registration(account_id=ACCOUNT, device_id=DEVICE))
    return Intake(node.store, directory, node.settings, node.clock, mirroring=mirroring)


async def mint(node: MirrorNode) -> None:
    for _ in range(40):
        await node.minting.round()
        await node.cluster.advance(33)
        node.clock.now_ms += 1_000
        await node.watching.catch_up()
        if not await node.store.count(READINGS, Find("open")):
            return
    raise AssertionError("not minted")


async def test_its_readings_become_certificates_of_its_account(node: MirrorNode, intake: Intake) -> None:
    now_ms = node.clock.now_ms
    taken = [await intake.submit(MIRRORED.body(now_ms - back * INTERVAL_MS, "1.5")) for back in (1, 2)]
    await intake.submit(PLAIN.body(now_ms, "2.000001"))
    await mint(node)
    await node.until(State.RECEIPTED)

    messages = await node.messages()
    assert [(each.kind, each.direction, each.wh, each.recipient) for each in messages] == [
        (Kind.AUTOMATIC, Direction.IN, 1_500, ACCOUNT)
    ] * 2
    assert {each.facts["readings"][0] for each in messages} == {each.document["_id"].hex() for each in taken}
    assert {each.facts["account_id"] for each in messages} == {ACCOUNT}
    certificates = await every(node.store, CERTIFICATES, Find())
    assert {row["account_id"] for row in certificates} == {ACCOUNT}
    assert sum(row["quantity_wh"] for row in certificates if row["live"]) == 3_000
    assert await node.custody() == 3_000 * 10**6
    assert await check_readings(node.store) == []
    assert await node.wallet_balance(Pubkey.from_string(MIRRORED.wallet)) == 0
    assert await node.wallet_balance(Pubkey.from_string(PLAIN.wallet)) == 2_000_001_000


async def test_an_interval_that_goes_on_is_waited_for(node: MirrorNode, intake: Intake) -> None:
    """A meter that stamps the end of what it measured tells, as it is counted here, of what has just begun."""
    holder = Keypair()
    reading = (await intake.submit(MIRRORED.body(node.clock.now_ms, "0.7"))).document
    (other,) = await node.mint_readings(holder, [300])
    end_ms = reading["interval_start_ms"] + INTERVAL_MS
    lot = await node.store.get(LOTS, other.hex())
    assert lot is not None
    begun = {"interval_start_ms": reading["interval_start_ms"] + INTERVAL_MS}
    await node.store.commit([Patch(LOTS, lot["_id"], begun)])
    await node.deposit(holder, 300 * 10**6, memo_to())
    for _ in range(4):
        await node.round()
    waiting = {each.kind: each for each in await node.messages()}
    assert {each.state for each in waiting.values()} == {State.VALIDATED}
    assert waiting[Kind.AUTOMATIC].due_ms == end_ms
    assert waiting[Kind.DEPOSIT].due_ms == end_ms + INTERVAL_MS
    node.clock.now_ms = end_ms
    for _ in range(8):
        await node.round()
    done = {each.kind: each.state for each in await node.messages()}
    assert done == {Kind.AUTOMATIC: State.RECEIPTED, Kind.DEPOSIT: State.VALIDATED}
    node.clock.now_ms = end_ms + INTERVAL_MS
    await node.until(State.RECEIPTED)


async def test_told_again_it_crosses_once(node: MirrorNode, intake: Intake) -> None:
    await intake.submit(MIRRORED.body(node.clock.now_ms - INTERVAL_MS, "0.7"))
    await mint(node)
    await node.until(State.RECEIPTED)
    (before,) = await node.messages()
    await node.restart()
    await node.watching.replay(0)
    for _ in range(3):
        await node.round()
    assert await node.messages() == [before]
