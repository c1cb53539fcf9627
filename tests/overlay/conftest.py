"""Fixtures of the engine's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from store.sqlite import SqliteStore
from tests.overlay.kit import Chain, Clock, Node


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def chain(tmp_path: Path, clock: Clock) -> AsyncIterator[Chain]:
    made = Chain(tmp_path, clock)
    await made.open()
    yield made
    await made.close()


@pytest.fixture
async def node(tmp_path: Path, chain: Chain, clock: Clock) -> AsyncIterator[Node]:
    made = Node(chain, SqliteStore(tmp_path / "node.db", cache_mib=4), clock)
    await made.open()
    yield made
    await made.close()
