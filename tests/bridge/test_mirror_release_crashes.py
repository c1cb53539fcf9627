"""A destination dies at every step, and several work at once: each release is still paid exactly once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from api.solana.server import SolanaServer
from bridge.cluster.cluster import Cluster
from bridge.minting.lease import StoredLease
from bridge.mirror.records import MIRROR_COLLECTIONS
from bridge.mirror.to_solana.destination import SolanaDestination
from bridge.programs.tokens import associated_account, create_associated_account
from bridge.records import BRIDGE_COLLECTIONS
from config.errors import Unavailable
from store.sqlite import SqliteStore
from tests.bridge.minting_kit import Crash, Steps, wallet
from tests.bridge.releases_kit import ReleaseBench


@pytest.fixture
def slot_ms() -> int:
    return 0


@pytest.fixture
async def bench(cluster: Cluster, solana: SolanaServer, tmp_path: Path) -> AsyncIterator[ReleaseBench]:
    made = await ReleaseBench.open(cluster, solana.rpc_url, SqliteStore(tmp_path / "node.db", cache_mib=4))
    yield made
    await made.close()


async def live(bench: ReleaseBench, destination: SolanaDestination, slots: int) -> bool:
    """Rounds until all is done; False when it died on the way."""
    try:
        await bench.until_done(destination, slots=slots)
    except Crash:
        return False
    return True


@pytest.mark.parametrize("fault", ["none", "drop", "lose", "fork"])
async def test_a_death_at_every_step(bench: ReleaseBench, fault: str) -> None:
    """The points are all awaits on the store and the cluster, before and after each."""
    asset = bench.asset
    await bench.run(create_associated_account(bench.key.public, wallet(7), asset.mint, asset.token_program))
    await bench.pass_slots()
    source = associated_account(wallet(7), asset.mint, asset.token_program)
    crash_at = 0
    survived = False
    while not survived:
        crash_at += 2 if fault == "none" else 5
        await bench.exits(4)
        await bench.deposit(source)
        if fault in ("drop", "lose"):
            bench.cluster.faults.set(**{f"{fault}_next": 1})  # type: ignore[arg-type]
        survived = await live(bench, bench.destination(steps=Steps(crash_at)), slots=12)
        if fault == "fork":
            await bench.cluster.fork(6, True)
        await bench.until_done(bench.destination(), slots=12)
        bench.cluster.faults.set(drop_next=0, lose_next=0)
    assert crash_at > 25
    await bench.check()


async def test_death_after_death(bench: ReleaseBench) -> None:
    """Each successor dies, too, a little later than the one before; the last one finishes."""
    await bench.exits(7)
    for crash_at in range(1, 30, 2):
        if await live(bench, bench.destination(steps=Steps(crash_at)), slots=3):
            break
        await bench.pass_slots(2)
    await bench.until_done(bench.destination())
    await bench.check()


async def test_two_destinations_without_a_lease(bench: ReleaseBench) -> None:
    """What keeps them apart is the versions of messages, the head of the log, and markers."""
    await bench.exits(60)
    workers = [bench.destination() for _ in range(2)]

    async def work(worker: SolanaDestination) -> None:
        for _ in range(3):
            await bench.round(worker, most=13)

    for _ in range(12):
        await asyncio.gather(*map(work, workers))
        await bench.pass_slots(11)
    await bench.until_done(*workers)
    await bench.check()


async def test_stores_that_know_nothing_of_each_other(
    bench: ReleaseBench, solana: SolanaServer, tmp_path: Path
) -> None:
    """A restored backup beside the original: only the markers on the chain are common to both."""
    messages = await bench.exits(12)
    store = SqliteStore(tmp_path / "copy.db", cache_mib=4)
    await store.open([*BRIDGE_COLLECTIONS, *MIRROR_COLLECTIONS])
    other = ReleaseBench(bench.cluster, bench.rpc, store, bench.clock)
    other.key, other.signers, other.asset = bench.key, bench.signers, bench.asset
    assert [each.id for each in await other.exits(12)] == [each.id for each in messages]
    both = [(bench, bench.destination()), (other, other.destination())]
    for _ in range(14):
        await asyncio.gather(*(each.round(destination) for each, destination in both))
        await bench.pass_slots(12)
    await bench.check()
    await other.check()
    paid = [[each.destination_tx for each in await one.messages()] for one in (bench, other)]
    assert paid[0] == paid[1]
    await store.close()


async def test_the_lease_goes_over_while_releases_are_on_their_way(bench: ReleaseBench) -> None:
    await bench.exits(6)
    first = StoredLease(bench.store, bench.clock, name="mirror")
    second = StoredLease(bench.store, bench.clock, name="mirror")
    assert await first.hold()
    await bench.round(bench.destination(lease=first))
    await bench.pass_slots(1, secs=60)
    assert await second.hold()
    await bench.until_done(bench.destination(lease=second))
    await bench.check()


async def test_all_faults_at_once(bench: ReleaseBench) -> None:
    rates = {"drop_rate": 0.1, "late_rate": 0.15, "lose_rate": 0.1, "deny_rate": 0.05}
    bench.cluster.faults.set(seed=5, late_min_slots=1, late_max_slots=120, **rates)  # type: ignore[arg-type]
    workers = [bench.destination() for _ in range(2)]
    for number in range(30):
        await bench.exits(3, wallets=4)
        for worker in workers:
            try:
                await bench.round(worker)
            except Unavailable:
                continue
        if number % 7 == 6:
            await bench.cluster.fork(4, number % 2 == 0)
        await bench.pass_slots(9)
    bench.cluster.faults.clear()
    await bench.until_done(*workers)
    await bench.check()
