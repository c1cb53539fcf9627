"""What a database belongs to: the first connection writes it down, every later one is held against it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from spl.token.constants import TOKEN_2022_PROGRAM_ID, TOKEN_PROGRAM_ID
from spl.token.instructions import set_authority
from spl.token.models import AuthorityType, SetAuthorityParams

from api.solana.server import SolanaServer
from bridge.cluster.cluster import Cluster
from bridge.connecting import MAINNET, AnotherCluster, Connecting, Way
from bridge.programs import pda
from bridge.programs.energy_token import MintGeneration, MintToWallet
from bridge.programs.keys import FileSigner
from bridge.programs.mint import MintUnusable
from bridge.programs.own import OwnMint
from bridge.programs.packing import Packed
from bridge.programs.setup import create_mint, fund
from bridge.programs.signing import signed
from bridge.records import BRIDGE_COLLECTIONS
from bridge.solana.client import ClusterClient
from config.errors import MetawattError
from config.settings import SolanaSettings
from store.sqlite import SqliteStore

SOL = 10**9


class Bench:
    """A store, a cluster, and keys with SOL."""

    def __init__(self, rpc: ClusterClient, store: SqliteStore, cluster: Cluster) -> None:
        self.rpc, self.store, self.cluster = rpc, store, cluster

    async def key(self) -> FileSigner:
        signer = FileSigner(Keypair())
        await fund(self.rpc, signer.public, 10 * SOL)
        return signer

    def connecting(self, signer: FileSigner, *, decimals: int = 9, **settings: Any) -> Connecting:
        return Connecting(self.store, self.rpc, signer, (), SolanaSettings(**settings), decimals, False)

    async def hand_over(self, mint: Pubkey, program: Pubkey, signer: FileSigner, authority: Pubkey) -> None:
        """Give the mint another authority."""
        change = set_authority(
            SetAuthorityParams(
                program_id=program,
                account=mint,
                authority=AuthorityType.MINT_TOKENS,
                current_authority=signer.public,
                new_authority=authority,
            )
        )
        blockhash = await self.rpc.latest_blockhash()
        made = await signed(Packed((), (change,), signer.public), blockhash.value, [signer])
        await self.rpc.send(bytes(made))
        await self.cluster.advance(2)


@pytest.fixture
async def bench(cluster: Cluster, solana: SolanaServer, tmp_path: Path) -> AsyncIterator[Bench]:
    store = SqliteStore(tmp_path / "node.db")
    await store.open(BRIDGE_COLLECTIONS)
    rpc = ClusterClient(solana.rpc_url)
    yield Bench(rpc, store, cluster)
    await rpc.close()
    await store.close()


async def test_another_minting_key_is_refused(bench: Bench) -> None:
    """Its markers are others: what was minted before could be minted again."""
    first, second = await bench.key(), await bench.key()
    mint = await create_mint(bench.rpc, first, token_program=TOKEN_PROGRAM_ID, decimals=9)
    assert isinstance(await bench.connecting(first, mint=str(mint)).mode(), OwnMint)
    await bench.hand_over(mint, TOKEN_PROGRAM_ID, first, second.public)
    with pytest.raises(AnotherCluster, match="minting key"):
        await bench.connecting(second, mint=str(mint)).mode()


async def test_another_mint_is_refused(bench: Bench) -> None:
    signer = await bench.key()
    for seed, refusal in (("one", None), ("two", AnotherCluster), ("one", None)):
        mint = await create_mint(bench.rpc, signer, token_program=TOKEN_PROGRAM_ID, decimals=9, seed=seed)
        if refusal is None:
            assert (await bench.connecting(signer, mint=str(mint)).mode()).mint == mint
        else:
            with pytest.raises(refusal, match="Solana mint"):
                await bench.connecting(signer, mint=str(mint)).mode()


async def test_another_way_to_mint_is_refused_when_its_guards_are_others(bench: Bench) -> None:
    signer = await bench.key()
    mint = await _grid(bench, signer)
    assert isinstance(await bench.connecting(signer, mint=mint, mint_mode="generation").mode(), MintGeneration)
    with pytest.raises(AnotherCluster, match="mint_mode"):
        await bench.connecting(signer, mint=mint, mint_mode="wallet").mode()
    assert isinstance(await bench.connecting(signer, mint=mint, mint_mode="generation").mode(), MintGeneration)


@pytest.mark.parametrize("mint_mode", ["generation", "direct", "wallet"])
async def test_energy_tokens_mint_is_held_against_the_settings(bench: Bench, mint_mode: str) -> None:
    signer = await bench.key()
    mint = await _grid(bench, signer)
    with pytest.raises(MintUnusable, match="9 decimals"):
        await bench.connecting(signer, mint=mint, mint_mode=mint_mode, decimals=6).mode()
    with pytest.raises(MintUnusable, match="no mint"):
        await bench.connecting(signer, mint_mode=mint_mode).mode()


async def test_ways_to_mint_with_one_kind_of_guard_share_a_database(bench: Bench) -> None:
    signer = await bench.key()
    mint = await _grid(bench, signer)
    await bench.connecting(signer, mint=mint, mint_mode="direct").mode()
    assert isinstance(await bench.connecting(signer, mint=mint, mint_mode="wallet").mode(), MintToWallet)


async def _grid(bench: Bench, signer: FileSigner) -> str:
    """A mint that energy_token would be the authority of."""
    mint = await create_mint(bench.rpc, signer, token_program=TOKEN_2022_PROGRAM_ID, decimals=9)
    authority = pda.token_info(Pubkey.from_string(SolanaSettings().energy_token_program_id))
    await bench.hand_over(mint, TOKEN_2022_PROGRAM_ID, signer, authority)
    return str(mint)


async def test_no_mint_is_made_on_mainnet(bench: Bench) -> None:
    """A dev node that was pointed at it by mistake asks no faucet and spends nothing."""
    signer = FileSigner(Keypair())
    way = Way(bench.rpc, signer, (), SolanaSettings(), 9, makes_mint=True)
    with pytest.raises(MetawattError, match="mainnet-beta"):
        await way.mode(MAINNET)
    assert await bench.rpc.balance(signer.public) == 0
