"""The operator's routes of the minter, through the edge, with the minter at work on an embedded cluster."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from pydantic import BaseModel

from api.access import admin_only
from api.bridge.minting import MintingHandler
from api.edge import Edge
from api.lifecycle import Lifecycle, Phase
from api.limits import Bodies
from api.metrics import HttpMetrics
from api.route import Access, Route
from api.solana.server import SolanaServer
from bridge.cluster.cluster import Cluster
from bridge.minting.retry import NEVER_MS
from bridge.records import ReadingState, reading_id
from store.sqlite import SqliteStore
from tests.bridge.minting_kit import Mint, slots_passing, wallet

TOKEN = "an admin's token"
BASE = "/api/admin/meters"


@dataclass
class Desk:
    """An operator's desk."""

    mint: Mint
    client: aiohttp.ClientSession
    routes: dict[tuple[str, str], Route]

    async def ask(self, method: str, tail: str, body: Any = None, status: int = 200) -> Any:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with self.client.request(method, BASE + tail, json=body, headers=headers) as reply:
            told = await reply.json()
            assert reply.status == status, told
        return told


@pytest.fixture
def slot_ms() -> int:
    return 0


@pytest.fixture
async def desk(cluster: Cluster, solana: SolanaServer, tmp_path: Path) -> AsyncIterator[Desk]:
    mint = await Mint.open(cluster, solana.rpc_url, SqliteStore(tmp_path / "node.db", cache_mib=4))
    minting = mint.minter(auto_mint_enabled=False)
    node: Any = SimpleNamespace(metering=SimpleNamespace(minting=minting, desk=minting), store=mint.store)
    edge = Edge(HttpMetrics(), Lifecycle(Phase.READY), None, {Access.ADMIN: admin_only(TOKEN)}, verbose=False)
    app = web.Application()
    routes = MintingHandler(node, Bodies(2**20, 2**24, 5)).routes()
    for route in routes:
        app.router.add_route(route.method, route.path, edge.guard(route))
    runner = web.AppRunner(app, shutdown_timeout=2)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    await minting.start()
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{runner.addresses[0][1]}") as client:
            yield Desk(mint, client, {(route.method, route.path): route for route in routes})
    finally:
        await minting.stop()
        await runner.cleanup()
        await mint.close()


async def test_only_the_operator_is_let_in(desk: Desk) -> None:
    assert len(desk.routes) == 11
    for (method, path), route in desk.routes.items():
        assert route.access is Access.ADMIN
        async with desk.client.request(method, path.replace("{", "").replace("}", "")) as reply:
            assert reply.status == 401


async def test_a_reading_is_minted_at_a_word(desk: Desk) -> None:
    keys = await desk.mint.accept(3)
    reading = reading_id(keys[1])
    async with slots_passing(desk.mint.cluster):
        status = await desk.ask("POST", "/mint-from-reading", {"reading_id": reading})
    assert (status["reading_id"], status["state"], status["minted"]) == (reading, "minted", True)
    assert status == await desk.ask("GET", f"/minting-status/{reading}")
    left = await desk.ask("GET", "/unminted?limit=1")
    assert [each["id"] for each in left["readings"]] == [reading_id(keys[0])]
    rest = await desk.ask("GET", f"/unminted?limit=5&cursor={left['cursor']}")
    assert [each["state"] for each in rest["readings"]] == ["accepted"]
    assert rest["readings"][0]["next_attempt_at"] == rest["readings"][0]["submitted_at"]
    unknown = await desk.ask("POST", "/mint-from-reading", {"reading_id": reading_id(b"\0" * 16)}, 404)
    assert unknown["code"] == "ERR_READING_UNKNOWN"
    await desk.mint.change(keys[0], state=ReadingState.HELD, held_for="conflict", due_ms=None)
    held = await desk.ask("POST", "/mint-from-reading", {"reading_id": reading_id(keys[0])}, 409)
    assert held["code"] == "ERR_MINTING_FORBIDS"


async def test_a_poll_at_a_word(desk: Desk) -> None:
    await desk.mint.accept(5)
    async with slots_passing(desk.mint.cluster):
        told = await desk.ask("POST", "/auto-mint-trigger")
    assert (told["readings"], told["waiting"], told["is_finished"]) == (5, 0, True)
    assert told["transactions"] >= 1


async def test_the_configuration(desk: Desk) -> None:
    told = await desk.ask("GET", "/auto-mint-config")
    assert told == {"auto_mint_enabled": False, "polling_interval_secs": 60.0, "batch_size": 50}
    changed = await desk.ask("PUT", "/auto-mint-config", {"auto_mint_enabled": True, "batch_size": 9})
    assert changed == told | {"auto_mint_enabled": True, "batch_size": 9}
    for wrong in ({"batch_size": 0}, {"polling_interval_secs": 0}, {"auto_mint_enabled": "yes"}, {"other": 1}):
        assert (await desk.ask("PUT", "/auto-mint-config", wrong, 422))["code"] == "ERR_INVALID_FIELD"
    assert await desk.ask("GET", "/auto-mint-config") == changed


async def test_the_retry_queue(desk: Desk) -> None:
    first, second = await desk.mint.accept(2)
    later_ms = desk.mint.clock.now_ms + 1000
    await desk.mint.change(
        first, state=ReadingState.DEAD, due_ms=None, retry_ms=NEVER_MS, attempts=10, error="no funds"
    )
    await desk.mint.change(second, state=ReadingState.RETRY, due_ms=later_ms, retry_ms=later_ms, attempts=1)
    queue = (await desk.ask("GET", "/retry-queue"))["readings"]
    assert [each["id"] for each in queue] == [reading_id(second), reading_id(first)]
    assert [each["next_attempt_at"] is None for each in queue] == [False, True]
    requeued = await desk.ask("POST", f"/retry-queue/{reading_id(first)}/requeue")
    assert requeued["attempts"] == 0
    async with slots_passing(desk.mint.cluster):
        status = await desk.ask("POST", "/mint-from-reading", {"reading_id": reading_id(first)})
    assert status["minted"]
    told = await desk.ask("POST", f"/retry-queue/{reading_id(first)}/requeue", status=409)
    assert told["code"] == "ERR_MINTING_FORBIDS"
    await desk.ask("POST", "/retry-queue/nonsense/requeue", status=404)


async def test_a_backfill(desk: Desk) -> None:
    keys = await desk.mint.accept(4)
    for key in keys:
        await desk.mint.change(key, due_ms=None)
    asked = {"from": "1970-01-01T00:00:00Z", "to": "2026-01-01T00:00:00Z"}
    job = (await desk.ask("POST", "/backfill-mint", asked, 202))["job_id"]
    async with asyncio.timeout(10):
        while (told := await desk.ask("GET", f"/backfill-status/{job}"))["state"] != "done":
            await asyncio.sleep(0.05)
    assert (told["examined"], told["made_due"]) == (4, 4)
    backwards = {"from": asked["to"], "to": asked["from"]}
    assert (await desk.ask("POST", "/backfill-mint", backwards, 422))["code"] == "ERR_RANGE_INVALID"
    await desk.ask("GET", "/backfill-status/none", status=404)


async def test_a_token_account(desk: Desk) -> None:
    asked = {"wallet": str(wallet(3))}
    async with slots_passing(desk.mint.cluster):
        made = await desk.ask("POST", "/initialize-token-account", asked)
    assert made["transaction_signature"]
    again = await desk.ask("POST", "/initialize-token-account", asked)
    assert again == made | {"transaction_signature": None}


async def test_every_body_is_documented(desk: Desk) -> None:
    for route in desk.routes.values():
        for content in (*route.replies.values(), *((route.body,) if route.body else ())):
            (shape,) = content.media.values()
            assert isinstance(shape, type)
            assert issubclass(shape, BaseModel)
