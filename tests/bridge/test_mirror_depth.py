"""What rows and header chain say of a lock: a table, and random walks on the embedded chain."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from api.solana.server import SolanaServer
from bridge.mirror.from_bsv.depth import Deep, Disputed, Gone, Place, Verdict, Waits, verdict_on
from bridge.mirror.states import State
from overlay.merkle import MerkleTree
from overlay.records import TRANSACTIONS
from overlay.transaction import Transaction
from store.sqlite import SqliteStore
from tests.bridge.exits_kit import Exits, coin_of
from tests.overlay.kit import GC, Chain, Clock

TXID, OTHER = b"\x01" * 32, b"\x02" * 32
TREE = MerkleTree([b"\x00" * 32, TXID, OTHER])
HEIGHT = 100
CONFIRMATIONS = 3


@dataclass(frozen=True)
class Headers:
    """A header chain of which one block is known."""

    tip_height: int
    roots: dict[int, bytes] = field(default_factory=lambda: {HEIGHT: TREE.root})
    unsettled_fork: int | None = None

    def root_at(self, height: int) -> bytes | None:
        return self.roots.get(height)


MINED: dict[str, Any] = {"height": HEIGHT, "size": 300, "bump": TREE.bump(1, HEIGHT)}
PLACE = Place(TXID, MINED, {"topics": [GC]}, None)
DEEP = Headers(HEIGHT + CONFIRMATIONS - 1)

TABLE: dict[str, tuple[Place, Headers, Verdict | type[Verdict]]] = {
    "deep enough": (PLACE, DEEP, Deep()),
    "much deeper": (PLACE, Headers(10**6), Deep()),
    "one block short": (PLACE, Headers(DEEP.tip_height - 1), Waits(DEEP.tip_height)),
    "in the tip": (PLACE, Headers(HEIGHT), Waits(DEEP.tip_height)),
    "above the tip, which fell back": (PLACE, Headers(HEIGHT - 5), Waits(DEEP.tip_height)),
    "not mined": (replace(PLACE, transaction=MINED | {"height": None}), DEEP, Waits(DEEP.tip_height + 1)),
    "evicted": (replace(PLACE, transaction=None), DEEP, Gone),
    "not admitted": (replace(PLACE, output=None), DEEP, Gone),
    "in another topic alone": (replace(PLACE, output={"topics": ["tm_other"]}), DEEP, Gone),
    "spent": (replace(PLACE, spend={"txid": OTHER}), DEEP, Gone),
    "without a path": (replace(PLACE, transaction=MINED | {"bump": None}), DEEP, Disputed),
    "a path of another": (replace(PLACE, transaction=MINED | {"bump": TREE.bump(2, HEIGHT)}), DEEP, Disputed),
    "a path of no shape": (replace(PLACE, transaction=MINED | {"bump": b"\xff"}), DEEP, Disputed),
    "a path of another block": (
        replace(PLACE, transaction=MINED | {"bump": TREE.bump(1, HEIGHT - 1)}),
        Headers(DEEP.tip_height, {HEIGHT: TREE.root, HEIGHT - 1: TREE.root}),
        Disputed,
    ),
    "a transaction like a node of the tree": (replace(PLACE, transaction=MINED | {"size": 64}), DEEP, Disputed),
    "a block that is not known": (PLACE, Headers(DEEP.tip_height, {}), Disputed),
    "a block that was replaced": (PLACE, Headers(DEEP.tip_height, {HEIGHT: OTHER}), Disputed),
    "while a reorganisation is dealt with": (
        PLACE,
        Headers(DEEP.tip_height, {HEIGHT: OTHER}, HEIGHT - 1),
        Waits(DEEP.tip_height + 1),
    ),
}


@pytest.mark.parametrize("case", TABLE)
def test_the_verdict_on_a_lock(case: str) -> None:
    place, headers, expected = TABLE[case]
    verdict = verdict_on(place, CONFIRMATIONS, headers)
    assert isinstance(verdict, expected) if isinstance(expected, type) else verdict == expected


@pytest.fixture
def slot_ms() -> int:
    return 0


@pytest.fixture
async def exits(tmp_path: Path, solana: SolanaServer) -> AsyncIterator[Exits]:
    clock = Clock()
    chain = Chain(tmp_path, clock)
    await chain.open()
    made = Exits(chain, SqliteStore(tmp_path / "node.db", cache_mib=4), clock, solana.rpc_url)
    await made.open()
    yield made
    await made.close()
    await chain.close()


class Walk:
    """Things happen to one lock, in an order that a seed gives."""

    def __init__(self, exits: Exits, locked: Transaction, seed: int) -> None:
        self.exits, self.locked, self.random = exits, locked, Random(seed)

    async def step(self) -> None:
        match self.random.choice(("mine", "mine", "mine", "reorg", "evict", "submit", "restart", "time", "round")):
            case "mine":
                await self.exits.mine()
            case "reorg":
                await self.exits.reorg(self.random.randint(1, CONFIRMATIONS + 1))
            case "evict" if await self.height() is None and await self.is_held():
                await self.exits.evict(self.locked)
            case "submit":
                await self.exits.submit(self.locked)
            case "restart":
                self.exits.restart()
            case "time":
                self.exits.clock.now_ms += self.random.choice((250, 60_000))
            case "round":
                await self.exits.round()

    async def is_held(self) -> bool:
        return await self.exits.store.get(TRANSACTIONS, self.locked.txid) is not None

    async def height(self) -> int | None:
        """Of the lock's block, by the chain itself."""
        report = await self.exits.chain.dev.status(self.locked.txid)
        return None if report is None else report.block_height

    async def depth(self) -> int:
        height = await self.height()
        return 0 if height is None else self.exits.chain.dev.tip.height - height + 1


@pytest.mark.parametrize("seed", range(8))
async def test_nothing_is_final_before_its_depth_whatever_happens(exits: Exits, seed: int) -> None:
    issued, token = await exits.issue(500, exits.origin())
    await exits.mine(CONFIRMATIONS + 2)
    locked = await exits.chain.succeed([coin_of(issued)], [exits.locked(token)])
    await exits.submit(locked)
    await exits.round()
    walk = Walk(exits, locked, seed)
    for _ in range(60):
        await walk.step()
        await exits.round()
        states = [each.state for each in await exits.messages()]
        assert len(states) == 1
        if states == [State.VALIDATED]:
            assert await walk.depth() >= CONFIRMATIONS
            return
    await exits.submit(locked)
    for _ in range(CONFIRMATIONS + 1):
        await exits.mine()
        exits.clock.now_ms += 60_000
        await exits.round()
    assert [each.state for each in await exits.messages()] == [State.VALIDATED]
