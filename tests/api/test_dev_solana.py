"""The embedded cluster inside a node: at a path of its own, behind the edge that every route has."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from api.edge import Edge
from api.lifecycle import Lifecycle, Phase
from api.limits import Bodies
from api.metrics import HttpMetrics
from api.solana.routes import PATH, DevSolanaHandler
from bridge.cluster.cluster import Cluster
from bridge.cluster.rpc.service import Service
from overlay.clock import system_now_ms
from store.sqlite import SqliteStore


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    cluster = Cluster(SqliteStore(tmp_path / "solana.db"), network="dev", slot_ms=0, now_ms=system_now_ms)
    await cluster.open()
    service = Service(cluster)
    service.start()
    yield service
    service.stop()
    await cluster.close()


@pytest.fixture
def lifecycle() -> Lifecycle:
    return Lifecycle(Phase.READY)


@pytest.fixture
async def url(service: Service, lifecycle: Lifecycle) -> AsyncIterator[str]:
    edge = Edge(HttpMetrics(), lifecycle, None, {}, False)
    app = web.Application()
    for route in DevSolanaHandler(service, Bodies(100_000, 10_000_000, 5.0)).routes():
        app.router.add_route(route.method, route.path, edge.guard(route))
    async with TestServer(app) as server:
        yield str(server.make_url(PATH))


async def test_calls(url: str) -> None:
    body = {"jsonrpc": "2.0", "id": "a", "method": "getHealth"}
    async with aiohttp.ClientSession() as client, client.post(url, json=body) as reply:
        assert reply.status == 200
        assert reply.headers["Access-Control-Allow-Origin"] == "*"
        assert "X-Request-Id" in reply.headers
        assert await reply.json() == {"jsonrpc": "2.0", "result": "ok", "id": "a"}


async def test_notices_go_through_the_edge_and_nobody_waits_for_them(
    url: str, service: Service, lifecycle: Lifecycle
) -> None:
    async with aiohttp.ClientSession() as client, client.ws_connect(url) as socket:
        await socket.send_json({"jsonrpc": "2.0", "id": 1, "method": "slotSubscribe"})
        assert (await socket.receive_json(timeout=5))["result"] == 1
        assert lifecycle.in_flight == 0
        slot = await service.cluster.advance()
        assert (await socket.receive_json(timeout=5))["params"]["result"]["slot"] == slot


async def test_without_an_upgrade_there_is_nothing_to_get(url: str) -> None:
    async with aiohttp.ClientSession() as client, client.get(url) as reply:
        assert reply.status == 405
        assert (await reply.json())["code"] == "ERR_METHOD_NOT_ALLOWED"
