"""Token instructions are decoded as the real programs run them, and held against balances."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from solders.hash import Hash
from solders.instruction import AccountMeta, CompiledInstruction, Instruction
from solders.keypair import Keypair
from solders.message import Message
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.transaction import VersionedTransaction
from spl.token.constants import TOKEN_2022_PROGRAM_ID, TOKEN_PROGRAM_ID

from bridge.programs.instructions import Kind, Path, decoded, token_instructions
from bridge.programs.movements import Movements, movements, supply_change
from bridge.programs.tokens import mint_to_checked
from bridge.solana.rpc import InnerInstruction, SeenTransaction
from tests.bridge.programs_kit import BOTH_PROGRAMS, DECIMALS, Chain


class Tokens:
    """A mint with two accounts, and instructions to it."""

    def __init__(self, program: Pubkey) -> None:
        self.chain, self.program = Chain(), program
        self.authority = self.chain.payer.pubkey()
        self.mint = self.chain.new_mint(program)
        self.first = self.chain.new_account(self.authority, self.mint, program)
        self.second = self.chain.new_account(Keypair().pubkey(), self.mint, program)

    def instruction(self, number: int, units: int, *accounts: Pubkey, tail: bytes = b"") -> Instruction:
        metas = [AccountMeta(key, is_signer=key == self.authority, is_writable=True) for key in accounts]
        return Instruction(self.program, struct.pack("<BQ", number, units) + tail, metas)

    def mint_to(self, units: int) -> Instruction:
        return self.instruction(7, units, self.mint, self.first, self.authority)

    def burn(self, units: int) -> Instruction:
        return self.instruction(8, units, self.first, self.mint, self.authority)

    def transfer(self, units: int) -> Instruction:
        return self.instruction(3, units, self.first, self.second, self.authority)

    def batch(self, *parts: Instruction) -> Instruction:
        data = b"\xff" + b"".join(bytes([len(part.accounts), len(part.data)]) + part.data for part in parts)
        return Instruction(self.program, data, [meta for part in parts for meta in part.accounts])


@pytest.fixture(params=BOTH_PROGRAMS, ids=["spl-token", "token-2022"])
def tokens(request: pytest.FixtureRequest) -> Tokens:
    return Tokens(request.param)


@pytest.fixture
def spl() -> Tokens:
    return Tokens(TOKEN_PROGRAM_ID)


def told(seen: SeenTransaction) -> list[tuple[Kind, tuple[int, int, int], int]]:
    assert seen.error is None, seen.logs
    return [(one.kind, tuple(one.path), one.units) for one in token_instructions(seen)]


def test_mints_burns_and_transfers_in_both_spellings(tokens: Tokens) -> None:
    checked = bytes([DECIMALS])
    seen = tokens.chain.run(
        [
            tokens.mint_to(1000),
            mint_to_checked(tokens.program, tokens.mint, tokens.first, tokens.authority, 500, DECIMALS),
            tokens.transfer(30),
            tokens.instruction(12, 40, tokens.first, tokens.mint, tokens.second, tokens.authority, tail=checked),
            tokens.burn(5),
            tokens.instruction(15, 6, tokens.first, tokens.mint, tokens.authority, tail=checked),
        ]
    )
    assert told(seen) == [
        (Kind.MINT, (0, 0, 0), 1000),
        (Kind.MINT, (1, 0, 0), 500),
        (Kind.TRANSFER, (2, 0, 0), 30),
        (Kind.TRANSFER, (3, 0, 0), 40),
        (Kind.BURN, (4, 0, 0), 5),
        (Kind.BURN, (5, 0, 0), 6),
    ]
    found = movements(seen, tokens.mint)
    assert (found.supply_change, found.problems, len(found.instructions)) == (1489, (), 6)
    assert {one.mint for one in found.instructions} == {tokens.mint}
    assert {one.authority for one in found.instructions} == {tokens.authority}
    ends = [(one.source, one.destination) for one in found.instructions]
    assert ends[0] == (None, tokens.first)
    assert ends[2] == ends[3] == (tokens.first, tokens.second)
    assert ends[4] == (tokens.first, None)
    assert supply_change(seen, tokens.mint) == tokens.chain.supply(tokens.mint)


def test_the_parts_of_a_batch_are_found(spl: Tokens) -> None:
    seen = spl.chain.run([spl.mint_to(1), spl.batch(spl.mint_to(9000), spl.burn(2500), spl.transfer(100))])
    assert seen.inner == {}
    assert told(seen) == [
        (Kind.MINT, (0, 0, 0), 1),
        (Kind.MINT, (1, 0, 1), 9000),
        (Kind.BURN, (1, 0, 2), 2500),
        (Kind.TRANSFER, (1, 0, 3), 100),
    ]
    found = movements(seen, spl.mint)
    assert (found.supply_change, found.problems) == (6501, ())


def test_a_failed_transaction_did_nothing(spl: Tokens) -> None:
    seen = spl.chain.run([spl.mint_to(5), spl.burn(6)])
    assert seen.error is not None
    assert token_instructions(seen) == []
    assert movements(seen, spl.mint) == Movements((), 0, ())


def test_another_mint_is_another_matter(spl: Tokens) -> None:
    other = Tokens(TOKEN_PROGRAM_ID)
    seen = spl.chain.run([spl.mint_to(5)])
    assert movements(seen, other.mint).instructions == ()
    assert supply_change(seen, other.mint) == 0


def test_an_account_that_is_opened_and_closed_is_counted(tokens: Tokens) -> None:
    chain, wallet = tokens.chain, Keypair()
    chain.fund(wallet.pubkey())
    chain.run([tokens.mint_to(50)])
    close = Instruction(
        tokens.program,
        bytes([9]),
        [
            AccountMeta(key, key == tokens.authority, True)
            for key in (tokens.first, tokens.authority, tokens.authority)
        ],
    )
    seen = chain.run([tokens.transfer(20), tokens.burn(30), close])
    assert seen.error is None, seen.logs
    found = movements(seen, tokens.mint)
    assert (found.supply_change, found.problems) == (-30, ())


def test_instructions_that_move_nothing_are_passed_over(spl: Tokens) -> None:
    approve = spl.instruction(4, 10, spl.first, spl.second, spl.authority)
    assert told(spl.chain.run([approve])) == []


# What follows never ran: transactions as a cluster may tell of them, however wrong.


KEYS = tuple(Pubkey.from_bytes(bytes([number]) * 32) for number in range(1, 8))
PAYER, SOURCE, DESTINATION, MINT, AUTHORITY, STRANGER, _ = KEYS


def seen_of(
    data: bytes,
    accounts: tuple[int, ...],
    program: Pubkey = TOKEN_PROGRAM_ID,
    inner: tuple[InnerInstruction, ...] = (),
) -> SeenTransaction:
    keys = (*KEYS, program)
    message = Message.new_with_compiled_instructions(
        1, 0, 1, list(keys), Hash.default(), [CompiledInstruction(len(KEYS), data, bytes(accounts))]
    )
    transaction = VersionedTransaction.populate(message, [Signature.default()])
    return SeenTransaction(
        Signature.default(), 1, None, None, transaction, keys, (), {0: inner} if inner else {}, (), (), 5000
    )


def test_inner_instructions_are_found_in_their_place() -> None:
    mint = struct.pack("<BQ", 7, 100)
    inner = (
        InnerInstruction(7, (3, 2, 4), mint, 2),
        InnerInstruction(7, (3, 2, 4, 3, 2, 4), b"\xff" + (b"\3\x09" + mint) * 2, 3),
    )
    seen = replace(seen_of(b"", ()), inner={0: inner})
    paths = [one.path for one in token_instructions(seen)]
    assert paths == [Path(0, 1), Path(0, 2, 1), Path(0, 2, 2)] == sorted(paths)
    assert [path.packed() for path in paths] == sorted(path.packed() for path in paths)
    assert paths[1].packed() == b"\0\0\0\2\0\1"


def test_a_transfer_with_a_fee_is_read_with_it() -> None:
    data = struct.pack("<BBQBQ", 26, 1, 1000, 9, 10)
    [one] = token_instructions(seen_of(data, (1, 3, 2, 4), TOKEN_2022_PROGRAM_ID))
    assert (one.kind, one.units, one.fee, one.mint) == (Kind.TRANSFER, 1000, 10, MINT)
    assert (one.source, one.destination, one.authority) == (SOURCE, DESTINATION, AUTHORITY)


def test_only_the_token_programs_are_believed() -> None:
    assert token_instructions(seen_of(struct.pack("<BQ", 7, 1), (3, 2, 4), STRANGER)) == []


def test_a_mint_that_no_balance_shows_is_a_problem() -> None:
    found = movements(seen_of(struct.pack("<BQ", 7, 1), (3, 2, 4)), MINT)
    assert len(found.instructions) == 1
    assert "instructions move +1 base units, balances +0" in found.problems[0]


@pytest.mark.parametrize(
    ("data", "accounts", "says"),
    [
        (b"\x07\1\2", (3, 2, 4), "cut short"),
        (struct.pack("<BQ", 7, 1), (3, 2), "2 accounts"),
        (struct.pack("<BQ", 7, 1), (3, 2, 99), "not of the transaction"),
        (struct.pack("<BBQB", 26, 1, 1, 9), (1, 3, 2, 4), "cut short"),
        (b"\xff\3\x09\x07", (3, 2, 4), "batch is cut short"),
        (b"\xff\3", (3, 2, 4), "batch is cut short"),
        (b"\xff\4\1\x07", (3, 2, 4), "batch is cut short"),
        (b"\xff\0\1\xff", (), "batch within a batch"),
    ],
)
def test_what_cannot_be_read_is_told_and_passed_over(data: bytes, accounts: tuple[int, ...], says: str) -> None:
    found = decoded(seen_of(data, accounts))
    assert found.instructions == ()
    assert says in found.malformed[0].reason
    assert movements(seen_of(data, accounts), MINT).problems


@settings(deadline=None)
@given(
    st.binary(max_size=80) | st.binary(max_size=80).map(lambda data: b"\xff" + data),
    st.lists(st.integers(0, 12), max_size=12),
    st.sampled_from([TOKEN_PROGRAM_ID, TOKEN_2022_PROGRAM_ID]),
)
def test_hostile_instructions_raise_nothing(data: bytes, accounts: list[int], program: Pubkey) -> None:
    inner = (InnerInstruction(len(KEYS), tuple(accounts), data, None), InnerInstruction(-1, (), data, 9))
    seen = seen_of(data, tuple(accounts), program, inner)
    for one in decoded(seen).instructions:
        assert 0 <= one.units < 1 << 64
    movements(seen, MINT)
