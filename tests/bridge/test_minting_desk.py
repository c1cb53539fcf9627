"""The operator's routes on a node whose cluster has not answered yet: what is the store's is told and taken."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from solders.keypair import Keypair

from api.access import admin_only
from api.bridge.minting import MintingHandler
from api.edge import Edge
from api.lifecycle import Lifecycle, Phase
from api.limits import Bodies
from api.metrics import HttpMetrics
from api.route import Access
from bridge.metering import Metering, Solana
from bridge.programs.keys import FileSigner
from bridge.records import READINGS, ReadingState, reading_id
from bridge.solana.client import ClusterClient
from config.settings import Settings
from store.port import Patch
from store.sqlite import SqliteStore
from tests.bridge.readings_kit import NOW_MS, Gateway, SimpleMeter

TOKEN = "an admin's token"
NOBODY = "http://127.0.0.1:1"


class Silent:
    """A node whose cluster does not answer, and a meter with a reading on it."""

    def __init__(self, gateway: Gateway, metering: Metering, client: TestClient[Any, Any]) -> None:
        self.gateway, self.metering, self.client = gateway, metering, client

    async def ask(self, method: str, tail: str, body: Any = None, status: int = 200) -> Any:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        reply = await self.client.request(method, f"/api/admin/meters{tail}", json=body, headers=headers)
        told = await reply.json()
        assert reply.status == status, told
        return told


@pytest.fixture
async def silent(tmp_path: Path) -> AsyncIterator[Silent]:
    gateway = Gateway(SqliteStore(tmp_path / "node.db"))
    await gateway.open()
    reached = Solana(ClusterClient(NOBODY), None, FileSigner(Keypair()), is_test=True)
    metering = Metering(Settings(), gateway.store, lambda: NOW_MS, reached, relay=None, primary=True)
    node: Any = SimpleNamespace(metering=metering, store=gateway.store)
    edge = Edge(HttpMetrics(), Lifecycle(Phase.READY), None, {Access.ADMIN: admin_only(TOKEN)}, verbose=False)
    app = web.Application()
    for route in MintingHandler(node, Bodies(2**20, 2**24, 5)).routes():
        app.router.add_route(route.method, route.path, edge.guard(route))
    await metering.start()
    async with TestClient(TestServer(app)) as client:
        yield Silent(gateway, metering, client)
    await metering.stop()
    await gateway.store.close()


async def test_the_switch_works_before_the_cluster_has_answered(silent: Silent) -> None:
    """Who fears for the minting key switches minting off first, and starts the node then."""
    await silent.ask("PUT", "/auto-mint-config", {"auto_mint_enabled": False})
    assert (await silent.ask("GET", "/auto-mint-config"))["auto_mint_enabled"] is False
    assert not silent.metering.is_connected


async def test_what_waits_is_told_and_asked_for(silent: Silent) -> None:
    meter = SimpleMeter()
    await silent.gateway.register(meter, verified=True)
    key = (await silent.gateway.take(meter)).document["_id"]
    reading = reading_id(key)
    assert [one["id"] for one in (await silent.ask("GET", "/unminted"))["readings"]] == [reading]
    assert (await silent.ask("GET", f"/minting-status/{reading}"))["state"] == "accepted"
    await silent.gateway.store.commit([Patch(READINGS, key, {"state": ReadingState.DEAD.value, "due_ms": None})])
    assert (await silent.ask("POST", f"/retry-queue/{reading}/requeue"))["state"] != "dead"
    span = {"from": "2026-06-01T00:00:00Z", "to": "2026-06-02T00:00:00Z"}
    job = (await silent.ask("POST", "/backfill-mint", span, 202))["job_id"]
    assert (await silent.ask("GET", f"/backfill-status/{job}"))["state"] == "running"


async def test_what_needs_the_cluster_says_so_at_once(silent: Silent) -> None:
    for tail, body in (("/auto-mint-trigger", None), ("/initialize-token-account", {"wallet": "1" * 32})):
        told = await silent.ask("POST", tail, body, 503)
        assert told["code"] == "ERR_SOLANA_UNAVAILABLE"
