"""What is asked of custody when the bridge connects: who signs for it, and whether transfers arrive whole."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from solders.keypair import Keypair
from spl.token.constants import TOKEN_PROGRAM_ID

from api.solana.server import SolanaServer
from bridge.cluster.cluster import Cluster
from bridge.mirror.custody import open_custody
from bridge.mirror.ground import Asset
from bridge.mirror.to_solana.vault import CustodyUnusable
from bridge.programs.keys import FileSigner
from bridge.programs.mint import MintUnusable
from bridge.programs.own import OwnMint
from config.errors import MetawattError
from config.settings import BridgeSettings, Settings
from store.sqlite import SqliteStore
from tests.bridge.releases_kit import ReleaseBench


@pytest.fixture
def slot_ms() -> int:
    return 0


@pytest.fixture
async def bench(cluster: Cluster, solana: SolanaServer, tmp_path: Path) -> AsyncIterator[ReleaseBench]:
    store = SqliteStore(tmp_path / "node.db", cache_mib=4)
    made = await ReleaseBench.open(cluster, solana.rpc_url, store, members=2)
    yield made
    await made.close()


async def opened(bench: ReleaseBench, signers: list[FileSigner], **bridge: object) -> Asset:
    settings = Settings(bridge=BridgeSettings(**bridge))  # type: ignore[arg-type]
    mode = OwnMint(bench.asset.genesis, bench.asset.mint, TOKEN_PROGRAM_ID, bench.key.public, 9)
    genesis = bench.asset.genesis
    return await open_custody(bench.store, bench.rpc, genesis, mode, signers, settings, has_faucet=False)


async def test_a_multisig_has_custody(bench: ReleaseBench) -> None:
    asset = await opened(bench, bench.signers, custody_owner=str(bench.asset.owner))
    assert (asset.owner, asset.custody) == (bench.asset.owner, bench.asset.custody)


async def test_a_multisig_with_too_few_members_here(bench: ReleaseBench) -> None:
    with pytest.raises(MintUnusable, match="2 signers; 1 are here"):
        await opened(bench, bench.signers[:2], custody_owner=str(bench.asset.owner))


async def test_custody_of_a_key_that_is_not_here(bench: ReleaseBench) -> None:
    with pytest.raises(MetawattError, match="There is no key"):
        await opened(bench, bench.signers, custody_owner=str(Keypair().pubkey()))


async def test_burning_needs_a_key_of_the_mint(bench: ReleaseBench) -> None:
    with pytest.raises(MetawattError, match="who has the mint"):
        await opened(bench, [FileSigner(Keypair())], mode="burn")


async def test_custody_stays_where_it_was(bench: ReleaseBench) -> None:
    await opened(bench, bench.signers, custody_owner=str(bench.asset.owner))
    other = FileSigner(Keypair())
    with pytest.raises(CustodyUnusable, match=r"bridge\.mode back"):
        await opened(bench, [other, *bench.signers[1:]], custody_owner=str(bench.asset.owner))
    with pytest.raises(CustodyUnusable, match="in mode lock"):
        await opened(bench, bench.signers, custody_owner=str(bench.asset.owner), mode="burn")
