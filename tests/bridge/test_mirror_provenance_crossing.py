"""Provenance on both chains: certificates are of the intervals of the readings that have been tokens longest."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from solders.keypair import Keypair

from api.solana.server import SolanaServer
from bridge.cluster.cluster import Cluster
from bridge.mirror.checks.mirror_check import check_mirror
from bridge.mirror.message import Message
from bridge.mirror.records import LOTS, MESSAGES
from bridge.mirror.states import Hold, State
from bridge.records import READINGS
from energytag.actions import Kind as ActionKind
from energytag.audit import check_registry
from energytag.intervals import is_bridges
from energytag.models.common import moment_of_ms
from energytag.rebuild import rebuild
from energytag.records import DEVICES, INTERVALS
from lookup.doubles import doubles_of
from lookup.records import CERTIFICATES
from overlay.chain import Broadcast, TxStatus
from store.pages import every
from store.port import Delete, Find, Put
from store.sqlite import SqliteStore
from tests.bridge.mirror_kit import UNITS_A_WH, MirrorNode, memo_to
from tests.energytag.kit import DEVICE
from tests.energytag.test_rebuild import World
from tests.overlay.kit import Chain, Clock

ENDS = (State.RECEIPTED, State.REFUNDED, State.HELD)


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


async def starts(node: MirrorNode, readings: list[bytes]) -> list[int]:
    """Where the intervals of readings begin, epoch seconds."""
    rows = await node.store.get_many(READINGS, readings)
    return [rows[key]["interval_start_ms"] // 1000 for key in readings]


async def live(node: MirrorNode) -> Counter[int]:
    """Wh of Active certificates by the start of their interval."""
    found: Counter[int] = Counter()
    for row in await every(node.store, CERTIFICATES, Find()):
        if row["live"] and row["status"] == "Active":
            found[row["period_start"]] += row["quantity_wh"]
    return found


async def deposited(node: MirrorNode, holder: Keypair, wh: int) -> Message:
    """The message of a deposit, at its end."""
    known = {each.id for each in await node.messages()}
    await node.deposit(holder, wh * UNITS_A_WH, memo_to())
    await node.until(*ENDS)
    (made,) = [each for each in await node.messages() if each.id not in known]
    return made


async def refund(node: MirrorNode, message: Message) -> None:
    """Given back, to the end."""
    arguments = {"message": message.id.hex(), "reason": "a test"}
    await node.mirror.desk.ask("refund", arguments, "a test", wait_secs=0)
    await node.parts.operating.round()
    await node.until(*ENDS)
    row = await node.store.get(MESSAGES, message.id)
    assert row is not None and row["state"] == State.REFUNDED, row


async def is_sound(node: MirrorNode) -> None:
    assert await check_mirror(node.store) == []
    await node.registry.treasury.tend()
    assert await check_registry(node.store, node.registry.keyring) == []
    rows = await every(node.store, CERTIFICATES, Find())
    assert await doubles_of(rows, node.store) == {}


async def test_the_oldest_reading_first_whoever_brings_the_tokens(node: MirrorNode) -> None:
    """Two households; what the second one brings first is of the first one's reading, minted before."""
    early, late = Keypair(), Keypair()
    first = await node.mint_readings(early, [100, 200])
    second = await node.mint_readings(late, [400])
    one, two, three = await starts(node, [*sorted(first), *second])
    await deposited(node, late, 150)
    assert await live(node) == {one: 100, two: 50}
    await deposited(node, late, 250)
    await deposited(node, early, 300)
    assert await live(node) == {one: 100, two: 200, three: 400}
    await is_sound(node)


async def test_what_was_released_is_the_last_in_line_and_of_its_own_interval(node: MirrorNode) -> None:
    holder, wallet = Keypair(), Keypair()
    readings = await node.mint_readings(holder, [100])
    await deposited(node, holder, 100)
    await node.lock(60, str(wallet.pubkey()))
    await is_sound(node)
    await node.until(State.RECEIPTED)
    readings += await node.mint_readings(holder, [30])
    one, two = await starts(node, readings)
    assert await live(node) == {one: 40}
    await deposited(node, wallet, 20)
    assert await live(node) == {one: 60}, "what was released came before the new reading"
    await deposited(node, wallet, 40)
    await deposited(node, holder, 30)
    assert await live(node) == {one: 100, two: 30}
    await is_sound(node)


async def test_what_the_registry_issued_is_passed_over_and_its_tokens_lack_provenance(node: MirrorNode) -> None:
    holder = Keypair()
    readings = await node.mint_readings(holder, [100, 100])
    gone, kept = sorted(readings)
    (row,) = (await node.store.get_many(READINGS, [gone])).values()
    start_ms = row["interval_start_ms"]
    issued = {"start": moment_of_ms(start_ms), "end": moment_of_ms(start_ms + 300_000), "energy_wh": 100}
    await node.registry.resolved(ActionKind.CREATE_MANY, {"device_id": DEVICE, "readings": [issued]})
    message = await deposited(node, holder, 100)
    assert message.state is State.RECEIPTED
    assert message.facts["lots"] == [[kept.hex(), 100 * UNITS_A_WH]]
    lacking = await deposited(node, holder, 100)
    assert lacking.state is State.HELD and lacking.reason is not None
    assert lacking.reason.code is Hold.PROVENANCE_LACKING
    await is_sound(node)


async def test_tokens_of_no_reading_lack_provenance_and_go_back(node: MirrorNode) -> None:
    holder = Keypair()
    await node.mint_readings(holder, [10])
    lots = await every(node.store, LOTS, Find())
    await node.store.commit([Delete(LOTS, lot["_id"]) for lot in lots])
    message = await deposited(node, holder, 10)
    assert message.reason is not None and message.reason.code is Hold.PROVENANCE_LACKING
    await refund(node, message)
    assert await node.wallet_balance(holder.pubkey()) == 10 * UNITS_A_WH
    await is_sound(node)


async def test_a_refund_that_was_accounted_puts_its_lots_back_in_line(node: MirrorNode) -> None:
    """The device is taken from the registry between the lots and their certificates."""
    holder = Keypair()
    (reading,) = await node.mint_readings(holder, [100])
    device = await node.store.get(DEVICES, DEVICE)
    assert device is not None
    delivers = node.parts.bsv.deliver

    async def too_late(messages: Sequence[Message]) -> None:
        if await node.store.get(DEVICES, DEVICE) is not None:
            await node.store.commit([Delete(DEVICES, DEVICE)])
        await delivers(messages)

    node.parts.bsv.deliver = too_late  # type: ignore[method-assign]
    message = await deposited(node, holder, 60)
    node.parts.bsv.deliver = delivers  # type: ignore[method-assign]
    assert message.reason is not None and message.reason.code is Hold.ISSUANCE_FORBIDDEN
    assert message.facts["lots"] == [[reading.hex(), 60 * UNITS_A_WH]]
    await node.store.commit([Put(DEVICES, device)])
    await refund(node, message)
    assert [row["left"] for row in await every(node.store, LOTS, Find())] == [100 * UNITS_A_WH]
    await deposited(node, holder, 100)
    assert await live(node) == {(await starts(node, [reading]))[0]: 100}
    await is_sound(node)


async def test_an_automatic_message_that_is_refunded_gives_its_lot_to_whoever_has_the_tokens(
    node: MirrorNode,
) -> None:
    device = await node.store.get(DEVICES, DEVICE)
    assert device is not None
    await node.store.commit([Delete(DEVICES, DEVICE)])
    (reading,) = await node.mint_to_custody([100])
    await node.until(*ENDS)
    (message,) = await node.messages()
    assert message.state is State.HELD
    assert await every(node.store, LOTS, Find("free")) == []
    await node.store.commit([Put(DEVICES, device)])
    await refund(node, message)
    assert [row["_id"] for row in await every(node.store, LOTS, Find("free"))] == [reading.hex()]
    await is_sound(node)


async def test_parts_of_an_interval_are_issued_on_after_a_rebuild(node: MirrorNode) -> None:
    await World(node.registry).populate()
    holder = Keypair()
    (reading,) = await node.mint_readings(holder, [100])
    await deposited(node, holder, 30)
    await node.registry.registry.stop()
    await rebuild(node.store, node.registry.keyring)
    await node.registry.registry.start()
    await deposited(node, holder, 70)
    assert await live(node) == {(await starts(node, [reading]))[0]: 100}
    await is_sound(node)


async def test_a_certificate_that_the_network_refused_leaves_the_interval_the_bridges(node: MirrorNode) -> None:
    holder = Keypair()
    (reading,) = await node.mint_readings(holder, [100])
    await node.deposit(holder, 60 * UNITS_A_WH, memo_to())
    await node.watching.catch_up()
    for lane in node.parts.lanes:
        await lane.round()
    (message,) = await node.messages()
    assert message.destination_tx is not None
    told = Broadcast(message.destination_tx, TxStatus.REJECTED, "told so")
    assert await node.registry.node.engine.proofs.ingest(told)
    await node.registry.registry.undoing.work()
    (guard,) = await every(node.store, INTERVALS, Find())
    assert is_bridges(guard)
    await node.until(State.HELD)
    assert await live(node) == {}
    (lot,) = await every(node.store, LOTS, Find())
    assert (lot["reading"], lot["left"]) == (reading, 40 * UNITS_A_WH), "its part is kept for it"
    await is_sound(node)
