"""The whole mirror: tokens become certificates and certificates tokens, on both embedded chains."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from solders.keypair import Keypair

from api.solana.server import SolanaServer
from bridge.cluster.cluster import Cluster
from bridge.mirror.states import Kind, State
from lookup.records import CERTIFICATES
from store.pages import every
from store.port import Find
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


async def live_wh(node: MirrorNode, *statuses: str) -> int:
    rows = await every(node.store, CERTIFICATES, Find())
    return sum(row["quantity_wh"] for row in rows if row["live"] and row["status"] in statuses)


async def test_a_deposit_becomes_certificates_and_comes_back(node: MirrorNode) -> None:
    holder = Keypair()
    await node.mint_readings(holder, [1_000, 2_000])
    await node.deposit(holder, 1_500 * UNITS_A_WH, memo_to())
    await node.until(State.RECEIPTED)
    (message,) = await node.messages()
    assert message.kind is Kind.DEPOSIT
    assert await live_wh(node, "Active") == 1_500
    assert await node.custody() == 1_500 * UNITS_A_WH
    wallet = Keypair().pubkey()
    await node.lock(600, str(wallet))
    await node.until(State.RECEIPTED)
    assert await node.wallet_balance(wallet) == 600 * UNITS_A_WH
    assert await node.custody() == 900 * UNITS_A_WH
    assert await live_wh(node, "Active") == 900
    assert await live_wh(node, "Withdrawn") == 600


async def test_a_mirrored_meter_has_certificates_at_once(node: MirrorNode) -> None:
    await node.mint_to_custody([700, 800])
    await node.until(State.RECEIPTED)
    assert {each.kind for each in await node.messages()} == {Kind.AUTOMATIC}
    assert await live_wh(node, "Active") == 1_500 == await node.custody() // UNITS_A_WH
