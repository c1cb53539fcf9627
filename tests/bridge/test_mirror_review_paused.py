"""A direction that is paused, perhaps for days: what is in the books waits, and is not asked about without end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from solders.keypair import Keypair

from api.solana.server import SolanaServer
from bridge.cluster.cluster import Cluster
from bridge.mirror.pauses import pause, resume
from bridge.mirror.states import Direction, State
from store.sqlite import SqliteStore
from tests.bridge.mirror_kit import UNITS_A_WH, MirrorNode, memo_to
from tests.overlay.kit import Chain, Clock


@pytest.fixture
def slot_ms() -> int:
    return 0


@pytest.fixture
async def node(tmp_path: Path, cluster: Cluster, solana: SolanaServer) -> AsyncIterator[MirrorNode]:
    clock = Clock()
    chain = Chain(tmp_path, clock)
    await chain.open()
    store = SqliteStore(tmp_path / "node.db", cache_mib=4)
    made = MirrorNode(chain, cluster, solana.rpc_url, store, clock)
    await made.open()
    yield made
    await made.close()
    await chain.close()


async def test_what_is_in_the_books_is_put_off_while_its_direction_is_paused(node: MirrorNode) -> None:
    """A round that has dealt with something is followed by the next at once: while nothing can be done, it must not
    say that it has."""
    holder, parts = Keypair(), node.parts
    await node.mint_readings(holder, [5])
    await node.deposit(holder, 5 * UNITS_A_WH, memo_to())
    await node.watching.catch_up()
    lane = parts.lanes[0]
    await _accounted(node)
    for _ in range(3):
        await lane.round()
        assert await lane.round() == 0
        (message,) = await node.messages()
        assert message.state is State.ACCOUNTED
        node.clock.now_ms += 60_000
    async with parts.ground.book.page() as page:
        resume(Direction.IN, "test", page)
    await node.until(State.RECEIPTED)


async def _accounted(node: MirrorNode) -> None:
    """The message in the books, and its direction paused before anything was made for it."""
    lane, ground = node.parts.lanes[0], node.parts.ground

    async def refuse(messages: object) -> None:
        async with ground.book.page() as page:
            pause(Direction.IN, "a test", "test", page)

    delivers, lane._destination.deliver = lane._destination.deliver, refuse  # type: ignore[method-assign, assignment]
    await lane.round()
    lane._destination.deliver = delivers  # type: ignore[method-assign]
    (message,) = await node.messages()
    assert message.state is State.ACCOUNTED
