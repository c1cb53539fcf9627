"""The real token programs on the cluster, and what the records say of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.system_program import CreateAccountParams, create_account
from spl.token import models
from spl.token.constants import TOKEN_2022_PROGRAM_ID, TOKEN_PROGRAM_ID
from spl.token.instructions import (
    initialize_multisig2,
    mint_to_checked,
    set_authority,
)

from bridge.cluster.runtime import MEMO, MEMO_NEWEST, MEMO_V1
from tests.bridge.cluster_kit import DECIMALS, PROGRAMS, SOL, Bench, TokenBench, keypair, marker, memo, opened

_MULTISIG_BYTES = 355


@pytest.mark.parametrize("program", PROGRAMS, ids=["spl", "token-2022"])
async def test_a_token_lives_and_its_records_add_up(tmp_path: Path, program: Pubkey) -> None:
    alice, bob = keypair("alice"), keypair("bob")
    async with opened(tmp_path) as cluster:
        bench = Bench(cluster)
        await bench.fund()
        await bench.fund(alice)
        token = await TokenBench.made(bench, program)
        made = await bench.must([token.create(alice.pubkey()), token.create(bob.pubkey())])
        assert [index for index, _ in made.inner] == [0, 1]
        assert all(call.stack_height == 2 for _, calls in made.inner for call in calls)
        minted = await bench.must([memo("minted"), token.mint_to(alice.pubkey(), 10_500)])
        moved = token.transfer(alice.pubkey(), bob.pubkey(), 1_500)
        burned = token.burn(alice.pubkey(), 4_000)
        last = await bench.must([moved, burned], alice)
        assert (token.supply(), token.held(alice.pubkey()), token.held(bob.pubkey())) == (6_500, 5_000, 1_500)
        assert [each.units for each in minted.pre_tokens] == [0]
        (held,) = minted.post_tokens
        assert (held.units, held.decimals, held.program, held.owner) == (10_500, DECIMALS, program, alice.pubkey())
        assert minted.keys[held.account] == token.address(alice.pubkey())
        before, after = (sum(each.units for each in side) for side in (last.pre_tokens, last.post_tokens))
        assert after - before == -4_000
        assert [address for address, _ in cluster.token_accounts_for(token.mint.pubkey(), "processed")] == [
            token.address(alice.pubkey()),
            token.address(bob.pubkey()),
        ]
        assert [address for address, _ in cluster.token_accounts_of(bob.pubkey(), "processed")] == [
            token.address(bob.pubkey())
        ]
        assert cluster.token_accounts_of(bob.pubkey(), "finalized") == []
        sized = len(cluster.account(token.address(bob.pubkey()), "processed").data)
        found = cluster.program_accounts(
            program,
            "processed",
            data_size=sized,
            memcmp=[(32, bytes(bob.pubkey())), (0, bytes(token.mint.pubkey()))],
        )
        assert [address for address, _ in found] == [token.address(bob.pubkey())]
        assert cluster.program_accounts(program, "finalized") == []


async def test_more_than_is_held_cannot_be_burned(tmp_path: Path) -> None:
    alice = keypair("alice")
    async with opened(tmp_path) as cluster:
        bench = Bench(cluster)
        await bench.fund()
        token = await TokenBench.made(bench)
        await bench.must([token.create(bench.payer.pubkey()), token.mint_to(bench.payer.pubkey(), 5)])
        burned = token.burn(bench.payer.pubkey(), 6)
        failed = await bench.done([memo("too much"), burned])
        assert failed.error == {"InstructionError": [1, {"Custom": 1}]}
        assert failed.pre_lamports[0] - failed.post_lamports[0] == failed.fee == 5_000
        assert failed.pre_tokens == failed.post_tokens
        assert token.supply() == 5
        assert cluster.account(alice.pubkey(), "processed") is None


@pytest.mark.parametrize("program", [MEMO_V1, MEMO, MEMO_NEWEST], ids=["v1", "v2", "newest"])
async def test_a_memo_is_told_under_each_of_its_programs(tmp_path: Path, program: Pubkey) -> None:
    async with opened(tmp_path) as cluster:
        bench = Bench(cluster)
        await bench.fund()
        done = await bench.must([memo("gwx1:é", program=program), memo("two", program=program)])
        assert done.memo == "[7] gwx1:é; [3] two"
        (entry, *_) = await cluster.signatures_for(program, commitment="processed")
        assert (entry.memo, entry.signature) == (done.memo, done.signature)


async def test_a_memo_that_is_no_text_fails_and_is_told(tmp_path: Path) -> None:
    async with opened(tmp_path) as cluster:
        bench = Bench(cluster)
        await bench.fund()
        done = await bench.done([memo(b"\xff\xfe")])
        assert done.error is not None
        assert done.memo == "[2] (unparseable)"


async def test_a_marker_can_be_taken_once(tmp_path: Path) -> None:
    """The guard of a mint: AllocateWithSeed at an address that the message gives. A gift does not block it."""
    async with opened(tmp_path) as cluster:
        bench = Bench(cluster)
        await bench.fund()
        token = await TokenBench.made(bench)
        await bench.must([token.create(bench.payer.pubkey())])
        address, taken = marker(bench.payer, "reading 1")
        await bench.must([*taken, memo("reading 1"), token.mint_to(bench.payer.pubkey(), 7)])
        again = await bench.done([*taken, memo("reading 1"), token.mint_to(bench.payer.pubkey(), 9)])
        assert again.error == {"InstructionError": [1, {"Custom": 0}]}
        assert token.supply() == 7
        assert cluster.account(address, "processed").owner == MEMO
        history = await cluster.signatures_for(address, commitment="processed")
        assert [each.error is None for each in history] == [False, True]


async def _given_to_a_multisig(token: TokenBench, multisig: Keypair, keys: list[Keypair]) -> None:
    """From now on two of `keys` mint."""
    bench, payer = token.bench, token.bench.payer.pubkey()
    created = create_account(
        CreateAccountParams(
            from_pubkey=payer,
            to_pubkey=multisig.pubkey(),
            lamports=bench.cluster.rent_exempt_lamports(_MULTISIG_BYTES),
            space=_MULTISIG_BYTES,
            owner=TOKEN_PROGRAM_ID,
        )
    )
    signers = [key.pubkey() for key in keys]
    parameters = models.InitializeMultisig2Params(
        program_id=TOKEN_PROGRAM_ID, multisig=multisig.pubkey(), m=2, signers=signers
    )
    given = models.SetAuthorityParams(
        program_id=TOKEN_PROGRAM_ID,
        account=token.mint.pubkey(),
        authority=models.AuthorityType.MINT_TOKENS,
        current_authority=payer,
        new_authority=multisig.pubkey(),
    )
    await bench.must([created, initialize_multisig2(parameters), set_authority(given)], multisig)


@pytest.mark.parametrize(
    ("count", "error"), [(1, {"InstructionError": [0, "MissingRequiredSignature"]}), (2, None)]
)
async def test_a_multisig_mints_with_enough_signatures(tmp_path: Path, count: int, error: object) -> None:
    multisig, keys = keypair("multisig"), [keypair(f"key {number}") for number in range(3)]
    async with opened(tmp_path) as cluster:
        bench = Bench(cluster)
        await bench.fund()
        token, payer = await TokenBench.made(bench), bench.payer.pubkey()
        await bench.must([token.create(payer)])
        await _given_to_a_multisig(token, multisig, keys)
        signers = [keys[0], keys[2]][:count]
        minted = models.MintToCheckedParams(
            program_id=TOKEN_PROGRAM_ID,
            mint=token.mint.pubkey(),
            dest=token.address(payer),
            mint_authority=multisig.pubkey(),
            amount=77,
            decimals=DECIMALS,
            signers=[key.pubkey() for key in signers],
        )
        done = await bench.done([mint_to_checked(minted)], *signers)
        assert done.error == error
        assert token.supply() == (0 if error else 77)


async def test_a_batch_of_the_token_program_is_executed(tmp_path: Path) -> None:
    """p-token's batch (SIMD-0266): neither logs nor inner instructions tell it, but the balances do."""
    async with opened(tmp_path) as cluster:
        bench = Bench(cluster)
        await bench.fund()
        token, payer = await TokenBench.made(bench), bench.payer.pubkey()
        await bench.must([token.create(payer)])
        account, mint = token.address(payer), token.mint.pubkey()
        minted, burned = b"\x07" + (9_000).to_bytes(8, "little"), b"\x08" + (2_500).to_bytes(8, "little")
        parts = [(3, minted), (3, burned)]
        data = b"\xff" + b"".join(bytes([count, len(part)]) + part for count, part in parts)
        writable = {"is_signer": False, "is_writable": True}
        accounts = [
            AccountMeta(mint, **writable),
            AccountMeta(account, **writable),
            AccountMeta(payer, is_signer=True, is_writable=True),
            AccountMeta(account, **writable),
            AccountMeta(mint, **writable),
            AccountMeta(payer, is_signer=True, is_writable=True),
        ]
        done = await bench.must([Instruction(TOKEN_PROGRAM_ID, data, accounts)])
        assert done.inner == ()
        assert [each.units for each in done.post_tokens] == [6_500]
        assert token.supply() == 6_500


async def test_a_program_can_be_loaded_at_an_id(tmp_path: Path) -> None:
    async with opened(tmp_path / "one") as cluster:
        elf = cluster.account(MEMO, "processed").data
    program = keypair("program").pubkey()
    async with opened(tmp_path / "two", programs={program: elf}) as cluster:
        bench = Bench(cluster)
        await bench.fund(lamports=SOL)
        done = await bench.must([memo("hello", bench.payer.pubkey(), program=program)])
        assert f"Program {program} success" in done.logs
        assert done.memo is None
        assert cluster.account(program, "processed").executable


def test_both_token_programs_are_covered() -> None:
    assert set(PROGRAMS) == {TOKEN_PROGRAM_ID, TOKEN_2022_PROGRAM_ID}
