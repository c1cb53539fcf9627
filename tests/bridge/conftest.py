"""An embedded Solana cluster with its own ports, for everybody who speaks to one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from api.solana.server import SolanaServer
from bridge.cluster.cluster import Cluster
from overlay.clock import system_now_ms
from store.sqlite import SqliteStore

SLOT_MS = 10


@pytest.fixture
def slot_ms() -> int:
    """The length of a slot; a test file may say another, and 0 for slots that only `advance` opens."""
    return SLOT_MS


@pytest.fixture
async def cluster(tmp_path: Path, slot_ms: int) -> AsyncIterator[Cluster]:
    """The cluster, open."""
    store = SqliteStore(tmp_path / "solana.db")
    cluster = Cluster(store, network="dev", slot_ms=slot_ms, now_ms=system_now_ms)
    await cluster.open()
    yield cluster
    await cluster.close()


@pytest.fixture
async def solana(cluster: Cluster) -> AsyncIterator[SolanaServer]:
    """The cluster's JSON-RPC and WebSocket on free ports: `rpc_url`, `ws_url`."""
    server = SolanaServer(cluster, "127.0.0.1", 0)
    await server.start()
    yield server
    await server.stop()
