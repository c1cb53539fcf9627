"""The node's own mint on an embedded cluster: made once, found again, and refused when it is another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.system_program import CreateAccountParams, create_account
from spl.token.constants import TOKEN_2022_PROGRAM_ID, TOKEN_PROGRAM_ID
from spl.token.instructions import initialize_multisig2
from spl.token.models import InitializeMultisig2Params

from api.solana.server import SolanaServer
from bridge.programs.keys import FileSigner
from bridge.programs.mint import MintUnusable, checked_mint, multisig_signers
from bridge.programs.packing import Packed
from bridge.programs.setup import create_mint, fund, mint_address
from bridge.programs.signing import signed
from bridge.solana.client import ClusterClient
from config.errors import ErrorCode, Unavailable
from tests.bridge.programs_kit import BOTH_PROGRAMS

SOL = 10**9


@pytest.fixture
async def rpc(solana: SolanaServer) -> AsyncIterator[ClusterClient]:
    client = ClusterClient(solana.rpc_url, 10)
    yield client
    await client.close()


@pytest.fixture
async def signer(rpc: ClusterClient) -> FileSigner:
    signer = FileSigner(Keypair())
    await fund(rpc, signer.public, 10 * SOL)
    return signer


@pytest.mark.parametrize("program", BOTH_PROGRAMS, ids=["spl-token", "token-2022"])
async def test_a_mint_is_made_once_and_found_again(rpc: ClusterClient, signer: FileSigner, program: Pubkey) -> None:
    mint = await create_mint(rpc, signer, token_program=program, decimals=9)
    assert mint == mint_address(signer.public, program)
    before = await rpc.balance(signer.public)
    assert await create_mint(rpc, signer, token_program=program, decimals=9) == mint
    assert await rpc.balance(signer.public) == before
    found = await checked_mint(rpc, mint, token_program=program, decimals=9, authority=signer.public)
    assert (found.supply, found.freeze_authority) == (0, None)


async def test_two_that_start_at_once_make_one_mint(rpc: ClusterClient, signer: FileSigner) -> None:
    made = await asyncio.gather(
        *(create_mint(rpc, signer, token_program=TOKEN_PROGRAM_ID, decimals=6) for _ in range(3))
    )
    assert len(set(made)) == 1


async def test_lamports_at_the_mints_address_do_not_hinder(rpc: ClusterClient, signer: FileSigner) -> None:
    for lamports, program in ((SOL // 1000, TOKEN_PROGRAM_ID), (SOL, TOKEN_2022_PROGRAM_ID)):
        await fund(rpc, mint_address(signer.public, program), lamports)
        await create_mint(rpc, signer, token_program=program, decimals=9)


async def test_a_mint_that_is_not_what_was_said_is_refused(rpc: ClusterClient, signer: FileSigner) -> None:
    mint = await create_mint(rpc, signer, token_program=TOKEN_PROGRAM_ID, decimals=9)
    with pytest.raises(MintUnusable, match="has 9 decimals, not 6") as refused:
        await create_mint(rpc, signer, token_program=TOKEN_PROGRAM_ID, decimals=6)
    assert refused.value.code is ErrorCode.SETTINGS_INVALID

    stranger = Keypair().pubkey()
    with pytest.raises(MintUnusable, match=f"{signer.public}, not {stranger}"):
        await checked_mint(rpc, mint, token_program=TOKEN_PROGRAM_ID, decimals=9, authority=stranger)
    with pytest.raises(MintUnusable, match="belongs to SPL Token, not to Token-2022"):
        await checked_mint(rpc, mint, token_program=TOKEN_2022_PROGRAM_ID, decimals=9, authority=signer.public)
    with pytest.raises(MintUnusable, match="There is no mint"):
        await checked_mint(rpc, stranger, token_program=TOKEN_PROGRAM_ID, decimals=9, authority=stranger)


async def test_without_lamports_it_says_so(rpc: ClusterClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.programs.setup._LOOKS", 1)
    with pytest.raises(Unavailable, match="could not be made"):
        await create_mint(rpc, FileSigner(Keypair()), token_program=TOKEN_PROGRAM_ID, decimals=9)


async def test_a_plain_authority_needs_no_other_signers(rpc: ClusterClient, signer: FileSigner) -> None:
    assert await multisig_signers(rpc, signer.public, [signer.public], TOKEN_PROGRAM_ID) == ()


async def test_a_multisigs_members_are_found_and_it_is_no_mint(rpc: ClusterClient, signer: FileSigner) -> None:
    multisig, members = Keypair(), [Keypair().pubkey() for _ in range(3)]
    account = CreateAccountParams(
        from_pubkey=signer.public,
        to_pubkey=multisig.pubkey(),
        lamports=await rpc.rent_lamports(355),
        space=355,
        owner=TOKEN_PROGRAM_ID,
    )
    start = InitializeMultisig2Params(program_id=TOKEN_PROGRAM_ID, multisig=multisig.pubkey(), m=2, signers=members)
    packed = Packed((), (create_account(account), initialize_multisig2(start)), signer.public)
    blockhash = (await rpc.latest_blockhash()).value
    await rpc.send(bytes(await signed(packed, blockhash, [signer, FileSigner(multisig)])))
    while not await rpc.balance(multisig.pubkey()):
        await asyncio.sleep(0.01)

    ours = [signer.public, members[2], members[0], members[1]]
    assert await multisig_signers(rpc, multisig.pubkey(), ours, TOKEN_PROGRAM_ID) == (members[2], members[0])
    with pytest.raises(MintUnusable, match="asks for 2 signers; 1 are here"):
        await multisig_signers(rpc, multisig.pubkey(), ours[:2], TOKEN_PROGRAM_ID)
    with pytest.raises(MintUnusable, match="is no mint"):
        await checked_mint(
            rpc, multisig.pubkey(), token_program=TOKEN_PROGRAM_ID, decimals=9, authority=signer.public
        )
