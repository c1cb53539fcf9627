"""Fixtures of the registry's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from store.sqlite import SqliteStore
from tests.energytag.kit import RegistryNode
from tests.overlay.kit import Chain, Clock


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
async def registry(tmp_path: Path, chain: Chain, clock: Clock) -> AsyncIterator[RegistryNode]:
    """A registry with two accounts and a device."""
    made = RegistryNode(chain, SqliteStore(tmp_path / "node.db", cache_mib=4), clock)
    await made.open()
    await made.populate()
    yield made
    await made.close()
