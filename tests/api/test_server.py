"""Listening before anything slow, and leaving when all is answered."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest

from api.node import Node
from api.serve import serve
from api.server import Server


async def test_a_starting_node_answers_what_it_can(launch: Any) -> None:
    running = await launch(ready=False)
    assert (await running.get("/health/live")).status == 200
    ready = await running.get("/health/ready")
    assert (ready.status, ready.json()["ready"], ready.json()["status"]) == (503, False, "error")
    for method, path in (("POST", "/submit"), ("POST", "/lookup"), ("GET", "/listTopicManagers")):
        reply = await running.ask(method, path)
        assert (reply.status, reply.json()["code"]) == (503, "ERR_STARTING")
        assert int(reply.headers["Retry-After"]) > 0
    for path in ("/", "/docs", "/openapi.json", "/metrics", "/version"):
        assert (await running.get(path)).status == 200
    paths = (await running.get("/openapi.json")).json()["paths"]
    for path in [path for path, verbs in paths.items() if "get" in verbs]:
        assert (await running.get(path)).status in (200, 400, 401, 404, 405, 503), path
    await running.server.start_node()
    assert (await running.get("/health/ready")).status == 200


async def test_requests_under_way_are_finished(running: Any, held: Any) -> None:
    running.node.engine.topic_managers[held.name] = held
    certificate = await running.certificate()
    submitting = asyncio.create_task(running.submit(certificate.beef, topics=held.name))
    while not held.judging:
        await asyncio.sleep(0.01)
    stopping = asyncio.create_task(running.server.stop())
    await asyncio.sleep(0.05)
    late = await running.get("/listTopicManagers")
    assert (late.status, late.json()["code"]) == (503, "ERR_SHUTTING_DOWN")
    assert not stopping.done()
    held.release.set()
    assert (await submitting).status == 200
    await stopping
    with pytest.raises(aiohttp.ClientConnectionError):
        await running.get("/version")


async def test_what_takes_too_long_is_cut_off(launch: Any, held: Any) -> None:
    running = await launch(node={"shutdown_secs": 0.2})
    running.node.engine.topic_managers[held.name] = held
    certificate = await running.certificate()
    submitting = asyncio.create_task(running.submit(certificate.beef, topics=held.name))
    while not held.judging:
        await asyncio.sleep(0.01)
    await asyncio.wait_for(running.server.stop(), 15)
    with pytest.raises(aiohttp.ClientConnectionError):
        await submitting


async def test_serve_until_told_to_stop(settings_of: Any) -> None:
    stop = asyncio.Event()
    serving = asyncio.create_task(serve(Node(settings_of()), stop))
    await asyncio.sleep(0.05)
    stop.set()
    await asyncio.wait_for(serving, 20)


async def test_a_port_that_is_taken_is_told(launch: Any, settings_of: Any) -> None:
    running = await launch(ready=False)
    settings = settings_of(node={"port": running.server.port})
    with pytest.raises(OSError):
        await serve(Node(settings), asyncio.Event())


async def test_stop_without_start(settings_of: Any) -> None:
    server = Server(Node(settings_of()))
    await server.stop()
    await server.stop()
