"""The operator's routes of the event processor, through the edge, and `metawatt solana-replay` before them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from pydantic import BaseModel
from rich.console import Console
from solders.signature import Signature

from api.access import admin_only
from api.bridge.watching import WatchingHandler
from api.edge import Edge
from api.lifecycle import Lifecycle, Phase
from api.limits import Bodies
from api.metrics import HttpMetrics
from api.route import Access, Route
from bridge.records import CURSORS
from bridge.watching.cursor import ENOUGH_MISSES
from bridge.watching.processor import EventProcessor
from cli import bridge_replay
from config.errors import ErrorCode, MetawattError
from config.settings import NodeSettings, Settings
from store.port import Patch
from tests.bridge.cluster_kit import TokenBench, keypair
from tests.bridge.watching_kit import Post, posted, watched_mint

TOKEN = "an admin's token"
BASE = "/api/admin/event-processor"
ALICE = keypair("alice").pubkey()


@dataclass
class Desk:
    """An operator's desk; the mint has minted 1, 2 and 3 units to Alice."""

    post: Post
    token: TokenBench
    processor: EventProcessor
    client: aiohttp.ClientSession
    routes: dict[str, Route]
    port: int
    minted: list[Signature]

    async def ask(self, method: str, tail: str, body: Any = None, status: int = 200) -> Any:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with self.client.request(method, BASE + tail, json=body, headers=headers) as reply:
            told = await reply.json()
            assert reply.status == status, told
        operation = tail.partition("?")[0]
        if status < 300:
            shape: Any = self.routes[f"{method} {operation}"].replies[status].media["application/json"]
            assert issubclass(shape, BaseModel)
            shape.model_validate(told)
        return told

    async def over(self, job_id: str) -> dict[str, Any]:
        async with asyncio.timeout(10):
            while True:
                jobs = (await self.ask("GET", "/replay"))["replays"]
                (job,) = [each for each in jobs if each["job_id"] == job_id] or [{"state": "running"}]
                if job["state"] != "running":
                    return dict(job)
                await asyncio.sleep(0.01)


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with posted(tmp_path) as post:
        token = await TokenBench.made(post.bench)
        await post.bench.must([token.create(ALICE)])
        minted = []
        for units in (1, 2, 3):
            minted.append((await post.bench.must([token.mint_to(ALICE, units)])).signature)
            await post.cluster.advance()
        await post.finalize()
        processor = post.processor(watched_mint(token))
        node: Any = SimpleNamespace(metering=SimpleNamespace(watching=processor))
        edge = Edge(HttpMetrics(), Lifecycle(Phase.READY), None, {Access.ADMIN: admin_only(TOKEN)}, verbose=False)
        app = web.Application()
        routes = WatchingHandler(node, Bodies(2**20, 2**24, 5)).routes()
        for route in routes:
            app.router.add_route(route.method, route.path, edge.guard(route))
        runner = web.AppRunner(app, shutdown_timeout=2)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        port = runner.addresses[0][1]
        named = {f"{route.method} {route.path.removeprefix(BASE)}": route for route in routes}
        try:
            async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client:
                yield Desk(post, token, processor, client, named, port, minted)
        finally:
            await processor.stop()
            await runner.cleanup()


async def test_only_the_operator_is_let_in(desk: Desk) -> None:
    assert len(desk.routes) == 5
    for route in desk.routes.values():
        assert route.access is Access.ADMIN
        async with desk.client.request(route.method, route.path) as reply:
            assert reply.status == 401


async def test_the_status_tells_where_it_is(desk: Desk) -> None:
    before = await desk.ask("GET", "/status")
    assert before["addresses"][0]["lag_slots"] is None
    await desk.processor.catch_up()

    status = await desk.ask("GET", "/status")

    (address,) = status["addresses"]
    assert (address["name"], address["address"]) == ("mint", str(desk.token.mint.pubkey()))
    assert (address["signature"], address["lag_slots"], address["gap"]) == (str(desk.minted[-1]), 0, None)
    assert (status["unexplained"], status["is_listening"]) == (0, False)
    await desk.post.cluster.advance(5)
    assert (await desk.ask("GET", "/status"))["addresses"][0]["lag_slots"] == 5


async def test_movements_are_listed_in_pages(desk: Desk) -> None:
    await desk.processor.catch_up()

    page = await desk.ask("GET", "/movements?kind=mint&limit=2")
    rest = await desk.ask("GET", f"/movements?kind=mint&limit=2&cursor={page['cursor']}")

    assert [row["units"] for row in page["movements"] + rest["movements"]] == [3, 2, 1]
    assert page["movements"][0]["signature"] == str(desk.minted[-1])
    assert page["movements"][0]["readings"] == []
    assert (await desk.ask("GET", "/movements?kind=theft", status=400))["code"] == "ERR_BAD_REQUEST"
    assert (await desk.ask("GET", "/movements?cursor=x", status=400))["code"] == "ERR_BAD_CURSOR"
    await desk.ask("GET", "/movements?limit=0", status=422)


async def test_a_replay_from_a_transaction(desk: Desk) -> None:
    job = await desk.ask("POST", "/replay", {"from_signature": str(desk.minted[1])}, 202)
    assert job["state"] == "running"

    done = await desk.over(job["job_id"])

    assert (done["state"], done["transactions"], done["error"]) == ("done", 2, None)
    listed = await desk.ask("GET", "/movements")
    assert [row["units"] for row in listed["movements"]] == [3, 2]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 422),
        ({"from_slot": 1, "from_signature": "1" * 64}, 422),
        ({"from_slot": -1}, 422),
        ({"from_slot": "1"}, 422),
        ({"from_slot": True}, 422),
        ({"from_slot": 2**63}, 422),
        ({"from_signature": "0" * 80}, 400),
        ({"from_signature": str(Signature.new_unique())}, 404),
    ],
)
async def test_what_is_no_beginning_is_refused(desk: Desk, body: Any, status: int) -> None:
    await desk.ask("POST", "/replay", body, status)
    assert await desk.processor.replays() == []


async def test_a_gap_is_told_and_skipped(desk: Desk) -> None:
    await desk.processor.catch_up()
    mint = str(desk.token.mint.pubkey())
    await desk.post.store.commit([Patch(CURSORS, mint, {"signature": bytes(Signature.new_unique())})])
    restarted = desk.post.processor(watched_mint(desk.token))
    for _ in range(ENOUGH_MISSES):
        with pytest.raises(MetawattError):
            await restarted.catch_up()

    (told,) = (await desk.ask("GET", "/status"))["addresses"]
    assert "is not to be had" in told["gap"]
    assert (await desk.ask("POST", "/skip-gap", {"address": "custody"}, 404))["code"] == "ERR_NOT_FOUND"
    (skipped,) = (await desk.ask("POST", "/skip-gap", {"address": "mint"}))["addresses"]

    assert skipped["gap"] is None
    assert len(skipped["skipped"]) == 1
    await desk.ask("POST", "/skip-gap", {"address": "mint"}, 404)
    await restarted.catch_up()
    assert restarted.problem is None


async def test_without_metering_there_is_nothing_here(desk: Desk) -> None:
    node: Any = SimpleNamespace(metering=None)
    for route in WatchingHandler(node, Bodies(2**20, 2**24, 5)).routes():
        if route.method == "GET":
            with pytest.raises(MetawattError, match="Route not found"):
                request: Any = SimpleNamespace(query={})
                await route.handler(request)


# The command


def settings_for(desk: Desk, tmp_path: Path, token: str = TOKEN) -> Settings:
    node = NodeSettings(port=desk.port, data_dir=tmp_path, admin_token=token)  # type: ignore[arg-type]
    return Settings(node=node)


async def test_the_command_replays_and_tells(desk: Desk, tmp_path: Path) -> None:
    told = StringIO()
    await bridge_replay.replay(settings_for(desk, tmp_path), 0, Console(file=told))

    assert told.getvalue() == "replayed from slot 0: 5 transactions\n"
    assert [job["state"] for job in await desk.processor.replays()] == ["done"]


async def test_the_command_says_why_it_cannot(desk: Desk, tmp_path: Path) -> None:
    with pytest.raises(MetawattError, match="Invalid credentials"):
        await bridge_replay.replay(settings_for(desk, tmp_path, "another token"), 0, Console(file=StringIO()))
    await desk.post.cluster.advance(300)
    await desk.post.cluster.prune(20)
    with pytest.raises(MetawattError, match="history begins at slot 20") as failure:
        await bridge_replay.replay(settings_for(desk, tmp_path), 0, Console(file=StringIO()))
    assert failure.value.code is ErrorCode.HISTORY_GAP
    nobody = Settings(node=NodeSettings(port=1, data_dir=tmp_path, admin_token=TOKEN))  # type: ignore[arg-type]
    with pytest.raises(MetawattError, match="does not answer"):
        await bridge_replay.replay(nobody, 0, Console(file=StringIO()))
