"""Metering begins: whatever fails on the way, one minter works in the end, and none once it is stopped."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from solders.keypair import Keypair

from api.solana.server import SolanaServer
from bridge.metering import Metering, Solana
from bridge.programs.keys import FileSigner
from bridge.records import BRIDGE_COLLECTIONS, JOBS
from bridge.solana.client import ClusterClient
from config.settings import Settings
from overlay.clock import system_now_ms
from store.port import Collection, Find, Page, StoreUnavailable
from store.sqlite import SqliteStore


class Faltering:
    """A store that does not tell of jobs, the first `failures` times; for ever with -1."""

    def __init__(self, store: SqliteStore, failures: int) -> None:
        self._store = store
        self.failures = failures

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def find(self, collection: Collection, find: Find) -> Page:
        if collection is JOBS and self.failures:
            self.failures -= 1
            raise StoreUnavailable("no answer")
        return await self._store.find(collection, find)


def minters() -> int:
    return sum(task.get_name() == "minting" for task in asyncio.all_tasks())


@pytest.mark.parametrize("failures", [1, -1], ids=["once", "for ever"])
async def test_a_beginning_that_fails_leaves_no_minter_behind(
    solana: SolanaServer, tmp_path: Path, failures: int
) -> None:
    store = SqliteStore(tmp_path / "node.db")
    await store.open(BRIDGE_COLLECTIONS)
    faltering = Faltering(store, failures)
    reached = Solana(ClusterClient(solana.rpc_url), None, FileSigner(Keypair()), is_test=True)
    metering = Metering(Settings(), faltering, system_now_ms, reached, relay=None, primary=True)  # type: ignore[arg-type]
    await metering.start()
    async with asyncio.timeout(20):
        while not (metering.is_connected or faltering.failures < -1):
            await asyncio.sleep(0.05)
    assert minters() == (1 if metering.is_connected else 0)
    await metering.stop()
    assert minters() == 0
    await store.close()
