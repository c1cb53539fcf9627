"""A mint whose authority is a multisig, of which the minting key is a member: the minter finds out, and mints."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.system_program import CreateAccountParams, create_account
from spl.token.constants import TOKEN_2022_PROGRAM_ID, TOKEN_PROGRAM_ID
from spl.token.instructions import initialize_multisig2, set_authority
from spl.token.models import AuthorityType, InitializeMultisig2Params, SetAuthorityParams

from api.solana.server import SolanaServer
from bridge.cluster.cluster import Cluster
from bridge.connecting import Connecting
from bridge.minting.minting import Minting
from bridge.programs.keys import FileSigner
from bridge.programs.mint import MintUnusable
from bridge.programs.own import OwnMint
from bridge.programs.packing import Packed
from bridge.programs.setup import create_mint
from bridge.programs.signing import signed
from bridge.records import BRIDGE_COLLECTIONS
from bridge.solana.client import ClusterClient
from config.settings import SolanaSettings, TokenizationSettings
from store.sqlite import SqliteStore
from tests.bridge.minting_kit import FINAL_SLOTS, SOL, Mint, slots_passing

NAMES = {TOKEN_PROGRAM_ID: "spl-token", TOKEN_2022_PROGRAM_ID: "token-2022"}


@pytest.fixture
def slot_ms() -> int:
    return 0


class Board:
    """A multisig of three keys that asks for two of them, and has a mint that the first of them made."""

    def __init__(self, cluster: Cluster, rpc: ClusterClient, store: SqliteStore) -> None:
        self.cluster, self.rpc, self.store = cluster, rpc, store
        self.keys = [FileSigner(Keypair()) for _ in range(3)]

    async def found(self, program: Pubkey) -> Pubkey:
        first, account = self.keys[0], Keypair()
        await self.rpc.airdrop(first.public, 500 * SOL)
        await self.cluster.advance(2)
        async with slots_passing(self.cluster):
            mint = await create_mint(self.rpc, first, token_program=program, decimals=9)
        made = CreateAccountParams(
            from_pubkey=first.public,
            to_pubkey=account.pubkey(),
            lamports=await self.rpc.rent_lamports(355),
            space=355,
            owner=program,
        )
        start = InitializeMultisig2Params(
            program_id=program, multisig=account.pubkey(), m=2, signers=[each.public for each in self.keys]
        )
        change = SetAuthorityParams(
            program_id=program,
            account=mint,
            authority=AuthorityType.MINT_TOKENS,
            current_authority=first.public,
            new_authority=account.pubkey(),
        )
        instructions = (create_account(made), initialize_multisig2(start), set_authority(change))
        blockhash = await self.rpc.latest_blockhash()
        raw = await signed(Packed((), instructions, first.public), blockhash.value, [first, FileSigner(account)])
        await self.rpc.send(bytes(raw))
        await self.cluster.advance(FINAL_SLOTS)
        return mint

    def connecting(self, mint: Pubkey, program: Pubkey, members: Sequence[FileSigner]) -> Connecting:
        settings = SolanaSettings(mint=str(mint), token_program=NAMES[program])  # type: ignore[arg-type]
        return Connecting(self.store, self.rpc, self.keys[0], members, settings, 9, False)


@pytest.fixture
async def board(cluster: Cluster, solana: SolanaServer, tmp_path: Path) -> AsyncIterator[Board]:
    store = SqliteStore(tmp_path / "node.db", cache_mib=4)
    await store.open(BRIDGE_COLLECTIONS)
    rpc = ClusterClient(solana.rpc_url)
    yield Board(cluster, rpc, store)
    await rpc.close()
    await store.close()


@pytest.mark.parametrize("program", list(NAMES), ids=list(NAMES.values()))
async def test_readings_are_minted_with_two_signatures_of_three(board: Board, program: Pubkey) -> None:
    address = await board.found(program)
    mode = await board.connecting(address, program, board.keys[2:]).mode()
    assert isinstance(mode, OwnMint)
    mint = Mint(board.cluster, board.rpc, board.store, board.keys[0], mode)
    await mint.accept(5)
    minter = Minting(
        board.store,
        board.rpc,
        mode,
        board.keys[0],
        TokenizationSettings(),
        SolanaSettings(),
        mint.clock,
        co_signers=board.keys[1:],
    )
    await mint.until_minted(minter)
    await mint.check()


async def test_too_few_members_are_told(board: Board) -> None:
    address = await board.found(TOKEN_PROGRAM_ID)
    with pytest.raises(MintUnusable, match="2 signers; 1 are here"):
        await board.connecting(address, TOKEN_PROGRAM_ID, ()).mode()


async def test_a_multisig_of_strangers_is_told(board: Board) -> None:
    address = await board.found(TOKEN_PROGRAM_ID)
    board.keys = [FileSigner(Keypair()) for _ in range(3)]
    with pytest.raises(MintUnusable, match="2 signers; 0 are here"):
        await board.connecting(address, TOKEN_PROGRAM_ID, board.keys[1:]).mode()


async def test_guards_stay_the_same_when_the_mint_goes_to_a_multisig(board: Board) -> None:
    """They follow from the minting key, which stays: what was minted before is known under the multisig, too."""
    first = board.keys[0]
    await board.rpc.airdrop(first.public, 500 * SOL)
    await board.cluster.advance(2)
    async with slots_passing(board.cluster):
        mint = await create_mint(board.rpc, first, token_program=TOKEN_PROGRAM_ID, decimals=9)
    before = await board.connecting(mint, TOKEN_PROGRAM_ID, ()).mode()
    assert await board.found(TOKEN_PROGRAM_ID) == mint
    after = await board.connecting(mint, TOKEN_PROGRAM_ID, board.keys[1:]).mode()
    assert isinstance(before, OwnMint) and isinstance(after, OwnMint)
