"""Where receipts have their transactions on Solana from."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from solders.keypair import Keypair
from solders.signature import Signature

from api.solana.server import SolanaServer
from bridge.cluster.cluster import Cluster
from bridge.mirror.receipts.sources import Sources, source_write
from bridge.mirror.records import MIRROR_COLLECTIONS
from bridge.solana.client import ClusterClient
from config.errors import Unavailable
from store.sqlite import SqliteStore
from tests.bridge.minting_kit import FINAL_SLOTS, SOL


@pytest.fixture
def slot_ms() -> int:
    return 0


@pytest.fixture
async def rpc(solana: SolanaServer) -> AsyncIterator[ClusterClient]:
    client = ClusterClient(solana.rpc_url)
    yield client
    await client.close()


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    made = SqliteStore(tmp_path / "node.db", cache_mib=4)
    await made.open(MIRROR_COLLECTIONS)
    yield made
    await made.close()


async def final(cluster: Cluster, rpc: ClusterClient) -> Signature:
    """Some transaction that is final."""
    signature = await rpc.airdrop(Keypair().pubkey(), SOL)
    await cluster.advance(FINAL_SLOTS)
    return signature


async def test_what_was_not_kept_is_asked_for(cluster: Cluster, rpc: ClusterClient, store: SqliteStore) -> None:
    signature = await final(cluster, rpc)
    found = await Sources(store, rpc).transaction(bytes(signature), None)
    seen = await rpc.transaction(signature)
    assert seen is not None
    assert (found.raw, found.leg.slot) == (bytes(seen.transaction), seen.slot)


async def test_what_was_kept_needs_no_cluster(cluster: Cluster, rpc: ClusterClient, store: SqliteStore) -> None:
    signature = await final(cluster, rpc)
    seen = await rpc.transaction(signature)
    assert seen is not None
    await store.commit([source_write(seen), source_write(seen)])
    sources = Sources(store, ClusterClient("http://127.0.0.1:1"))
    assert await sources.transaction(bytes(signature), None) == await Sources(store, rpc).transaction(
        bytes(signature), None
    )


async def test_what_the_cluster_does_not_tell_is_asked_for_again(
    cluster: Cluster, rpc: ClusterClient, store: SqliteStore
) -> None:
    await final(cluster, rpc)
    for slot in (None, await rpc.slot()):
        with pytest.raises(Unavailable):
            await Sources(store, rpc).transaction(bytes(Signature.new_unique()), slot)


async def test_what_the_cluster_has_forgotten_is_missing(rpc: ClusterClient, store: SqliteStore) -> None:
    signature = Signature.new_unique()
    slot = await rpc.first_available_slot() - 1
    found = await Sources(store, rpc).transaction(bytes(signature), slot)
    assert (found.raw, found.leg.signature, found.leg.slot) == (None, signature, slot)
