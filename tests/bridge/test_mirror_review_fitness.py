"""A lot of which nothing may be issued stands in the line, and whoever draws it would be held: it is passed over,
so that one meter's owner cannot stop everybody's deposits."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from solders.keypair import Keypair

from api.solana.server import SolanaServer
from bridge.cluster.cluster import Cluster
from bridge.mirror.records import LOTS
from bridge.mirror.states import Hold, State
from energytag.records import DEVICES
from store.pages import every
from store.port import Find, Insert, Patch
from store.sqlite import SqliteStore
from tests.bridge.mirror_kit import UNITS_A_WH, MirrorNode, memo_to
from tests.energytag.kit import DEVICE
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


@pytest.mark.parametrize("fault", [{"location": None}, {"is_storage": True}, {"capacity_w": 10}])
async def test_who_deposits_does_not_come_to_a_lot_that_cannot_be_issued(
    node: MirrorNode, fault: dict[str, Any]
) -> None:
    await _another_device(node, fault)
    theirs, holder = Keypair(), Keypair()
    await node.mint_readings(theirs, [7], device=_OTHER)
    await node.mint_readings(holder, [5])
    await node.deposit(holder, 5 * UNITS_A_WH, memo_to())
    await node.until(State.RECEIPTED, State.HELD)
    (message,) = await node.messages()
    assert (message.state, message.reason) == (State.RECEIPTED, None)
    passed_over, drawn = sorted(await every(node.store, LOTS, Find()), key=lambda lot: lot["slot"])
    assert (passed_over["left"], drawn["left"]) == (7 * UNITS_A_WH, 0)


async def test_it_is_drawn_once_its_device_is_registered_as_it_should_be(node: MirrorNode) -> None:
    await _another_device(node, {"location": None})
    holder = Keypair()
    await node.mint_readings(holder, [7], device=_OTHER)
    await node.deposit(holder, 7 * UNITS_A_WH, memo_to())
    await node.until(State.HELD)
    (held,) = await node.messages()
    assert held.reason is not None
    assert held.reason.code is Hold.PROVENANCE_LACKING
    assert "registered without location" in held.reason.text
    device = await node.store.get(DEVICES, DEVICE)
    assert device is not None
    await node.store.commit([Patch(DEVICES, _OTHER, {"location": device["location"]})])
    async with node.parts.ground.book.page() as page:
        page.move(held, State.SRC_FINAL)
    await node.until(State.RECEIPTED)


_OTHER = "0f0e0d0c-93a2-4a6b-8f5d-0e6a9a1c7b42"


async def _another_device(node: MirrorNode, fault: dict[str, Any]) -> None:
    """One that somebody has registered so that nothing can be issued for it."""
    device = await node.store.get(DEVICES, DEVICE)
    assert device is not None
    await node.store.commit([Insert(DEVICES, {**device, "_id": _OTHER, **fault})])
