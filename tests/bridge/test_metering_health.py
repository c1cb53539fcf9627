"""What `/health` says of metering: when the cluster goes away, and when the operator wants nothing minted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from solders.keypair import Keypair

from api.health import Checked, run_check
from api.metering import MeteringHealth
from api.solana.server import SolanaServer
from bridge.cluster.cluster import Cluster
from bridge.metering import Metering, Solana
from bridge.programs.keys import FileSigner
from bridge.records import BRIDGE_COLLECTIONS
from bridge.solana.client import ClusterClient
from bridge.watching.follower import Role
from config.settings import Settings, SolanaSettings
from overlay.clock import system_now_ms
from store.sqlite import SqliteStore
from tests.bridge.minting_kit import Mint

HALF_AN_HOUR_MS = 1_800_000


@pytest.fixture
def custody() -> str:
    return str(Keypair().pubkey())


@pytest.fixture
async def metering(solana: SolanaServer, tmp_path: Path, custody: str) -> AsyncIterator[Metering]:
    store = SqliteStore(tmp_path / "node.db")
    await store.open(BRIDGE_COLLECTIONS)
    reached = Solana(ClusterClient(solana.rpc_url), None, FileSigner(Keypair()), is_test=True)
    settings = Settings(solana=SolanaSettings(custody_account=custody))
    metering = Metering(settings, store, system_now_ms, reached, relay=None, primary=True)
    await metering.start()
    yield metering
    await metering.stop()
    await store.close()


async def connected(metering: Metering) -> None:
    async with asyncio.timeout(20):
        while not metering.is_connected:
            await asyncio.sleep(0.05)


async def checked(metering: Metering) -> dict[str, Checked]:
    found = [await run_check(check) for check in MeteringHealth(metering, is_embedded=False).checks]
    return {one.check.name: one for one in found}


async def test_a_cluster_that_goes_away_is_told_in_words(metering: Metering, solana: SolanaServer) -> None:
    await connected(metering)
    assert {one.finding.status for one in (await checked(metering)).values()} == {"ok"}
    await solana.stop()
    finding = (await checked(metering))["solana"].finding
    assert finding.status == "degraded"
    assert finding.message == "readings are taken, and wait: the cluster cannot be reached; the log says why"


async def test_readings_may_wait_while_nothing_is_to_be_minted(
    cluster: Cluster, solana: SolanaServer, tmp_path: Path
) -> None:
    """The first stage of going live: it may last for days."""
    mint = await Mint.open(cluster, solana.rpc_url, SqliteStore(tmp_path / "node.db"))
    await mint.accept(3)
    minter = mint.minter(auto_mint_enabled=False)
    mint.clock.now_ms += HALF_AN_HOUR_MS
    assert (await minter.health.check_work()).status == "ok"
    await minter.set_config(auto_mint_enabled=True)
    assert (await minter.health.check_work()).status == "degraded"
    await minter.set_config(polling_interval_secs=3600)
    assert (await minter.health.check_work()).status == "ok"
    mint.clock.now_ms += 4 * HALF_AN_HOUR_MS
    assert (await minter.health.check_work()).status == "degraded"
    await mint.close()


async def test_the_custody_account_is_watched_beside_the_mint(metering: Metering, custody: str) -> None:
    await connected(metering)
    standings = [one.watched for one in await metering.watching.standings()]
    assert [(one.name, one.role) for one in standings] == [("mint", Role.MINT), ("custody", Role.CUSTODY)]
    assert str(standings[1].address) == custody
