"""What strangers can do to a mint's history, on the real token programs: each leaves exactly the right rows."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.system_program import CreateAccountParams, create_account
from spl.token import models
from spl.token.constants import TOKEN_2022_PROGRAM_ID, TOKEN_PROGRAM_ID
from spl.token.instructions import (
    burn_checked,
    close_account,
    initialize_account3,
    initialize_mint2,
    initialize_transfer_fee_config,
    mint_to,
    transfer,
    transfer_checked,
)

from bridge.programs.idl import idl
from bridge.programs.memo import reading_memo
from bridge.programs.mode import Facts
from bridge.programs.own import OwnMint
from bridge.records import ATTEMPTS
from store.port import Insert
from tests.bridge.cluster_kit import DECIMALS, SOL, Bench, TokenBench, keypair, memo
from tests.bridge.elf import echo
from tests.bridge.programs_kit import order
from tests.bridge.watching_kit import Post, at, posted, watched_custody, watched_mint

PROGRAMS = [TOKEN_PROGRAM_ID, TOKEN_2022_PROGRAM_ID]
ENERGY_TOKEN = idl("energy_token").address
STRANGER = Pubkey.from_string("Stranger11111111111111111111111111111111111")
BATCH = 255
FEE_MINT_BYTES = 278  # the mint, padded to 165, the kind of account, and the extension of 108 with its header


@pytest.fixture
async def post(tmp_path: Path) -> AsyncIterator[Post]:
    async with posted(tmp_path, {ENERGY_TOKEN: echo(), STRANGER: echo()}) as post:
        yield post


@pytest.fixture(params=PROGRAMS, ids=["spl-token", "token-2022"])
def program(request: pytest.FixtureRequest) -> Pubkey:
    return request.param


async def applied(post: Post, token: TokenBench, *custody: Pubkey) -> list[tuple[str, str, int]]:
    """The rows once everything is final and applied."""
    await post.finalize()
    await post.processor(watched_mint(token), *map(watched_custody, custody)).catch_up()
    return await post.moved()


def burning(token: TokenBench, owner: Keypair, units: int) -> Instruction:
    return burn_checked(
        models.BurnCheckedParams(
            program_id=token.program,
            mint=token.mint.pubkey(),
            account=token.address(owner.pubkey()),
            owner=owner.pubkey(),
            amount=units,
            decimals=DECIMALS,
        )
    )


def transferring(token: TokenBench, owner: Keypair, to: Pubkey, units: int) -> Instruction:
    return transfer_checked(
        models.TransferCheckedParams(
            program_id=token.program,
            source=token.address(owner.pubkey()),
            mint=token.mint.pubkey(),
            dest=token.address(to),
            owner=owner.pubkey(),
            amount=units,
            decimals=DECIMALS,
        )
    )


def unchecked(token: TokenBench, owner: Keypair, source: Pubkey, to: Pubkey, units: int) -> Instruction:
    return transfer(
        models.TransferParams(program_id=token.program, source=source, dest=to, owner=owner.pubkey(), amount=units)
    )


async def test_mint_transfer_and_burn(post: Post, program: Pubkey) -> None:
    token, alice, bob = await TokenBench.made(post.bench, program), keypair("alice"), keypair("bob")
    payer = post.bench.payer.pubkey()
    await post.bench.must(
        [
            token.create(alice.pubkey()),
            token.create(bob.pubkey()),
            memo("hello", payer),
            token.mint_to(alice.pubkey(), 700),
        ]
    )
    await post.cluster.advance()
    await post.bench.must([transferring(token, alice, bob.pubkey(), 300)], alice)
    await post.cluster.advance()
    await post.bench.must([burning(token, bob, 100)], bob)

    moved = await applied(post, token)

    at_alice, at_bob = str(token.address(alice.pubkey())), str(token.address(bob.pubkey()))
    assert moved == [("mint", at_alice, 700), ("transfer", at_bob, 300), ("burn", at_bob, 100)]
    minted, transferred, _ = await post.rows()
    assert minted["memos"] == ["hello"]
    assert minted["owner"] == str(alice.pubkey())
    assert minted["authority"] == str(payer)
    assert minted["readings"] == []
    assert transferred["source"] == at_alice
    assert transferred["memos"] == []


async def test_our_own_mints_name_their_readings(post: Post) -> None:
    token, payer = await TokenBench.made(post.bench), post.bench.payer.pubkey()
    mode = OwnMint(post.cluster.genesis_hash, token.mint.pubkey(), token.program, payer, DECIMALS)
    orders = [order("METER-001", units=3), order("METER-002", units=4)]
    facts = Facts(has_destination=False, guard_lamports=0)
    instructions = [each for one in orders for each in mode.instructions(one, facts)]
    executed = await post.bench.must([mode.memo(orders), *instructions])
    readings = [one.key for one in orders]
    await post.store.commit(
        [Insert(ATTEMPTS, {"_id": bytes(executed.signature), "readings": readings, "open_ms": None})]
    )

    await applied(post, token)

    assert [(row["units"], row["readings"]) for row in await post.rows()] == [
        (3, [readings[0]]),
        (4, [readings[1]]),
    ]


async def test_a_memo_that_names_readings_makes_no_mint_ours(post: Post) -> None:
    token, alice = await TokenBench.made(post.bench), keypair("alice").pubkey()
    await post.bench.must([token.create(alice), reading_memo([order().key]), token.mint_to(alice, 1)])

    assert await applied(post, token) == [("mint", str(token.address(alice)), 1)]

    (row,) = await post.rows()
    assert row["readings"] == []
    assert row["memos"][0].startswith("gwx1:reading:")


async def test_mint_and_burn_in_one_batch(post: Post) -> None:
    """A batch leaves neither logs of its parts nor inner instructions."""
    token, payer = await TokenBench.made(post.bench), post.bench.payer
    await post.bench.must([token.create(payer.pubkey())])
    await post.bench.must([batch(token.mint_to(payer.pubkey(), 9000), burning(token, payer, 2500))])

    account = str(token.address(payer.pubkey()))
    assert await applied(post, token) == [("mint", account, 9000), ("burn", account, 2500)]
    assert [row["path"] for row in await post.rows()] == [[0, 0, 1], [0, 0, 2]]
    assert token.supply() == 6500


def batch(*parts: Instruction) -> Instruction:
    data = bytes([BATCH]) + b"".join(
        bytes([len(part.accounts), len(part.data)]) + bytes(part.data) for part in parts
    )
    return Instruction(TOKEN_PROGRAM_ID, data, [meta for part in parts for meta in part.accounts])


async def test_a_look_alike_mint_moves_nothing_of_ours(post: Post, program: Pubkey) -> None:
    ours, theirs = await TokenBench.made(post.bench, program), await TokenBench.made(post.bench, program, "alike")
    alice = keypair("alice").pubkey()
    await post.bench.must([ours.create(alice), theirs.create(alice)])
    minted = theirs.mint_to(alice, 5000)
    naming_ours = Instruction(
        minted.program_id, bytes(minted.data), [*minted.accounts, AccountMeta(ours.mint.pubkey(), False, False)]
    )
    await post.bench.must([naming_ours])
    to_our_account = mint_to(
        models.MintToParams(
            program_id=program,
            mint=theirs.mint.pubkey(),
            dest=ours.address(alice),
            mint_authority=post.bench.payer.pubkey(),
            amount=5000,
        )
    )
    assert (await post.bench.done([to_our_account])).error is not None

    assert await applied(post, ours, ours.address(alice)) == []
    assert post.told, "they are in the history, though"


async def test_what_failed_leaves_nothing_but_the_cursors_step(post: Post) -> None:
    token, alice = await TokenBench.made(post.bench), keypair("alice").pubkey()
    await post.bench.must([token.create(alice)])
    failed = await post.bench.done([token.mint_to(alice, 10), token.mint_to(keypair("nobody").pubkey(), 1)])
    assert failed.error is not None

    assert await applied(post, token) == []
    cursor = await post.cursor(token.mint.pubkey())
    assert cursor is not None
    assert cursor["signature"] == bytes(failed.signature)


async def test_an_account_closed_and_opened_again_in_one_transaction(post: Post, program: Pubkey) -> None:
    token, alice, bob = await TokenBench.made(post.bench, program), keypair("alice"), keypair("bob")
    await post.bench.must(
        [token.create(alice.pubkey()), token.create(bob.pubkey()), token.mint_to(alice.pubkey(), 900)]
    )
    closing = close_account(
        models.CloseAccountParams(
            program_id=program,
            account=token.address(alice.pubkey()),
            dest=post.bench.payer.pubkey(),
            owner=alice.pubkey(),
        )
    )
    await post.cluster.advance()
    await post.bench.must(
        [
            transferring(token, alice, bob.pubkey(), 900),
            closing,
            token.create(alice.pubkey()),
            token.mint_to(alice.pubkey(), 50),
        ],
        alice,
    )

    at_alice, at_bob = str(token.address(alice.pubkey())), str(token.address(bob.pubkey()))
    assert await applied(post, token) == [
        ("mint", at_alice, 900),
        ("transfer", at_bob, 900),
        ("mint", at_alice, 50),
    ]


async def test_an_account_that_lives_for_one_transaction(post: Post, program: Pubkey) -> None:
    """Neither its balance before nor that after is told, and transfers out of it name no mint."""
    token, alice, passing = await TokenBench.made(post.bench, program), keypair("alice"), keypair("passing")
    payer = post.bench.payer
    await post.bench.must([token.create(alice.pubkey())])
    opening = [
        create_account(
            CreateAccountParams(
                from_pubkey=payer.pubkey(), to_pubkey=passing.pubkey(), lamports=SOL, space=165, owner=program
            )
        ),
        initialize_account3(
            models.InitializeAccount3Params(
                program_id=program, account=passing.pubkey(), mint=token.mint.pubkey(), owner=payer.pubkey()
            )
        ),
    ]
    minting = mint_to(
        models.MintToParams(
            program_id=program,
            mint=token.mint.pubkey(),
            dest=passing.pubkey(),
            mint_authority=payer.pubkey(),
            amount=70,
        )
    )
    closing = close_account(
        models.CloseAccountParams(
            program_id=program, account=passing.pubkey(), dest=payer.pubkey(), owner=payer.pubkey()
        )
    )
    away = unchecked(token, payer, passing.pubkey(), token.address(alice.pubkey()), 70)
    await post.bench.must([*opening, minting, away, closing], passing)

    assert await applied(post, token) == [
        ("mint", str(passing.pubkey()), 70),
        ("transfer", str(token.address(alice.pubkey())), 70),
    ]


async def test_transfers_that_name_no_mint_reach_custody(post: Post, program: Pubkey) -> None:
    """They are in no history but their accounts'; the custody account is watched for that."""
    token, alice = await TokenBench.made(post.bench, program), keypair("alice")
    custody = token.address(post.bench.payer.pubkey())
    await post.bench.must(
        [token.create(alice.pubkey()), token.create(post.bench.payer.pubkey()), token.mint_to(alice.pubkey(), 10)]
    )
    await post.cluster.advance()
    deposit = unchecked(token, alice, token.address(alice.pubkey()), custody, 7)
    await post.bench.must([memo("gwx1:somebody"), deposit], alice)
    await post.cluster.advance()
    await post.bench.must([unchecked(token, post.bench.payer, custody, token.address(alice.pubkey()), 2)])

    assert await applied(post, token, custody) == [
        ("mint", str(token.address(alice.pubkey())), 10),
        ("transfer", str(custody), 7),
        ("transfer", str(custody), 2),
    ]
    _, came, went = await post.rows()
    assert (came["destination"], came["memos"]) == (str(custody), ["gwx1:somebody"])
    assert went["source"] == str(custody)


async def fee_token(bench: Bench) -> TokenBench:
    """A mint of Token-2022 that withholds one percent of each transfer."""
    mint, payer = keypair("fee"), bench.payer.pubkey()
    created = create_account(
        CreateAccountParams(
            from_pubkey=payer,
            to_pubkey=mint.pubkey(),
            lamports=bench.cluster.rent_exempt_lamports(FEE_MINT_BYTES),
            space=FEE_MINT_BYTES,
            owner=TOKEN_2022_PROGRAM_ID,
        )
    )
    config = initialize_transfer_fee_config(
        models.InitializeTransferFeeConfigParams(
            program_id=TOKEN_2022_PROGRAM_ID,
            mint=mint.pubkey(),
            transfer_fee_config_authority=payer,
            withdraw_withheld_authority=payer,
            transfer_fee_basis_points=100,
            maximum_fee=1_000_000,
        )
    )
    made = initialize_mint2(
        models.InitializeMint2Params(
            decimals=DECIMALS, program_id=TOKEN_2022_PROGRAM_ID, mint=mint.pubkey(), mint_authority=payer
        )
    )
    await bench.must([created, config, made], mint)
    return TokenBench(bench, TOKEN_2022_PROGRAM_ID, mint)


async def test_a_transfer_that_names_its_fee(post: Post) -> None:
    token, alice, bob = await fee_token(post.bench), keypair("alice"), keypair("bob")
    await post.bench.must(
        [token.create(alice.pubkey()), token.create(bob.pubkey()), token.mint_to(alice.pubkey(), 5000)]
    )
    await post.cluster.advance()
    plain = transferring(token, alice, bob.pubkey(), 1000)
    data = b"\x1a\x01" + (1000).to_bytes(8, "little") + bytes([DECIMALS]) + (10).to_bytes(8, "little")
    await post.bench.must([Instruction(plain.program_id, data, list(plain.accounts))], alice)

    assert await applied(post, token) == [
        ("mint", str(token.address(alice.pubkey())), 5000),
        ("transfer", str(token.address(bob.pubkey())), 1000),
    ]
    assert (await post.rows())[-1]["fee"] == 10


def forged(name: str = "GridTokensMinted") -> bytes:
    """An event that says that somebody was minted a lot."""
    (discriminator,) = [key for key, event in idl("energy_token").events.items() if event.name == name]
    return discriminator + bytes(keypair("alice").pubkey()) + (10**15).to_bytes(8, "little") + bytes(8)


async def hinted(post: Post, token: TokenBench) -> list[tuple[str, str, bool]]:
    program, idls = at(ENERGY_TOKEN, idl("energy_token"))
    await post.finalize()
    await post.processor(watched_mint(token), program, idls=idls).catch_up()
    return [(row["account"], row["name"], row["is_truncated"]) for row in await post.rows("event")]


async def test_an_event_is_a_hint_and_mints_nothing(post: Post) -> None:
    token = await TokenBench.made(post.bench)
    await post.bench.must([Instruction(ENERGY_TOKEN, forged(), [])])

    assert await hinted(post, token) == [(str(ENERGY_TOKEN), "GridTokensMinted", False)]
    assert await post.moved() == []


async def test_an_event_of_another_program_is_none(post: Post) -> None:
    token = await TokenBench.made(post.bench)
    naming = Instruction(ENERGY_TOKEN, b"no event", [])
    await post.bench.must([Instruction(STRANGER, forged(), []), naming])

    assert await hinted(post, token) == []
    assert len(post.told) == 2, "the mint's making, and the forgery"
    assert await post.moved() == []


async def test_a_memo_that_looks_like_a_log_is_none(post: Post) -> None:
    token = await TokenBench.made(post.bench)
    line = f"Program data: {base64.b64encode(forged()).decode()}"
    text = f"x\nProgram {ENERGY_TOKEN} invoke [1]\n{line}\nProgram {ENERGY_TOKEN} success"
    await post.bench.must([memo(text), Instruction(ENERGY_TOKEN, b"no event", [])])

    assert await hinted(post, token) == []


async def test_a_log_cut_short_hides_no_mint(post: Post) -> None:
    token, alice = await TokenBench.made(post.bench), keypair("alice").pubkey()
    await post.bench.must([token.create(alice)])
    noise = [Instruction(STRANGER, b"", [])] * 60
    executed = await post.bench.must([Instruction(ENERGY_TOKEN, forged(), []), *noise, token.mint_to(alice, 77)])
    assert "Log truncated" in executed.logs

    assert await hinted(post, token) == [(str(ENERGY_TOKEN), "GridTokensMinted", True)]
    assert await post.moved() == [("mint", str(token.address(alice)), 77)]


async def test_what_no_instruction_explains_is_recorded_as_that(post: Post) -> None:
    """A mint with fees moves what its plain transfers do not tell. Nothing of the transaction counts."""
    token, alice, bob = await fee_token(post.bench), keypair("alice"), keypair("bob")
    await post.bench.must(
        [token.create(alice.pubkey()), token.create(bob.pubkey()), token.mint_to(alice.pubkey(), 5000)]
    )
    await post.cluster.advance()
    await post.bench.must([transferring(token, alice, bob.pubkey(), 1000)], alice)
    await post.finalize()
    processor = post.processor(watched_mint(token))
    await processor.catch_up()

    assert await post.moved() == [
        ("mint", str(token.address(alice.pubkey())), 5000),
        ("unexplained", str(token.mint.pubkey()), -10),
    ]
    assert (await processor.unexplained(), processor.counts["unexplained"]) == (1, 1)
    assert "instructions move +1000 base units, balances +990" in (await post.rows())[-1]["problems"][0]
