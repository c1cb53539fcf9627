"""A node with a registry, in a thread and loop of its own, and a blocking client of it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import requests
import uvloop

from api.node import Node
from api.server import Server
from config.settings import Settings
from tests.conformance.world import World

_START_SECS = 60


@dataclass
class Live:
    """A node that listens."""

    node: Node
    url: str


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    settings = Settings(
        node={"port": 0, "data_dir": tmp_path_factory.mktemp("node"), "shutdown_secs": 5},
        dev={"initial_blocks": 101},
        log={"level": "warning"},
    )
    node, started, box = Node(settings), threading.Event(), {}

    async def serve() -> None:
        box["loop"], box["stop"] = asyncio.get_running_loop(), asyncio.Event()
        server = Server(node)
        try:
            await server.start()
            box["url"] = f"http://127.0.0.1:{server.port}"
            started.set()
            await box["stop"].wait()
        finally:
            started.set()
            await server.stop()

    thread = threading.Thread(target=uvloop.run, args=(serve(),))
    thread.start()
    assert started.wait(_START_SECS)
    yield Live(node, box["url"])
    box["loop"].call_soon_threadsafe(box["stop"].set)
    thread.join(_START_SECS)


@pytest.fixture(scope="session")
def session(live: Live) -> Iterator[requests.Session]:
    with requests.Session() as client:
        client.headers["Authorization"] = f"Bearer {live.node.admin_token}"
        yield client


@pytest.fixture(scope="session")
def world(live: Live, session: requests.Session) -> World:
    """An organisation with what the calls need."""
    return World(lambda method, path, body: call(session, live.url, method, path, body))


def call(session: requests.Session, url: str, method: str, path: str, body: Any) -> requests.Response:
    return session.request(method, url + path, json=body, timeout=30)
