"""Releases and refunds in the real token programs: what fits, what is paid, and what is told of it afterwards."""

from __future__ import annotations

from hashlib import sha256
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.system_program import CreateAccountParams, TransferParams, create_account, transfer
from spl.token.constants import TOKEN_2022_PROGRAM_ID, TOKEN_PROGRAM_ID
from spl.token.instructions import initialize_mint2, initialize_multisig2
from spl.token.models import InitializeMint2Params, InitializeMultisig2Params

from bridge.programs.mode import Facts
from bridge.programs.packing import PACKET_BYTES, packed, transaction_bytes
from bridge.programs.powers import hindrance
from bridge.programs.release import Crossing, Release, Vault, crossing_marker, memo_text
from bridge.programs.tokens import associated_account, create_associated_account, mint_to_checked
from bridge.solana.rpc import SeenTransaction
from tests.bridge.programs_kit import BOTH_PROGRAMS, DECIMALS, GENESIS, Chain

CUSTODY_UNITS: Final = 10**12
WITH: Final = Facts(has_destination=True, guard_lamports=0)
WITHOUT: Final = Facts(has_destination=False, guard_lamports=0)


@pytest.fixture(params=BOTH_PROGRAMS, ids=["spl-token", "token-2022"])
def program(request: pytest.FixtureRequest) -> Pubkey:
    found: Pubkey = request.param
    return found


class Till:
    """Custody in a LiteSVM, with who owns it."""

    def __init__(self, program: Pubkey, *, members: int = 0, is_held: bool = True) -> None:
        self.chain, self.program = Chain(), program
        self.keys = [Keypair() for _ in range(members)]
        self.payer = self.chain.payer.pubkey()
        owner = self._multisig() if members else self.payer
        self.mint = self.chain.new_mint(program)
        self.custody = self.chain.new_account(owner, self.mint, program)
        self.fill(self.custody)
        vault = Vault(
            self.mint,
            program,
            DECIMALS,
            owner,
            self.custody if is_held else None,
            tuple(each.pubkey() for each in self.keys[:2]),
        )
        self.release = Release(GENESIS, vault, self.payer)

    def fill(self, account: Pubkey) -> None:
        one = mint_to_checked(self.program, self.mint, account, self.payer, CUSTODY_UNITS, DECIMALS)
        assert self.chain.run([one]).error is None

    def _multisig(self) -> Pubkey:
        account = Keypair()
        rent = self.chain.svm.minimum_balance_for_rent_exemption(355)
        made = CreateAccountParams(
            from_pubkey=self.payer, to_pubkey=account.pubkey(), lamports=rent, space=355, owner=self.program
        )
        public = [each.pubkey() for each in self.keys]
        start = InitializeMultisig2Params(program_id=self.program, multisig=account.pubkey(), m=2, signers=public)
        assert self.chain.run([create_account(made), initialize_multisig2(start)], [account]).error is None
        return account.pubkey()

    def crossing(self, number: int, units: int = 10**9, *, wallet: Pubkey | None = None) -> Crossing:
        owner = wallet or Keypair.from_seed(number.to_bytes(32, "big")).pubkey()
        account = associated_account(owner, self.mint, self.program)
        return crossing(number, account, owner, units)

    def run(self, *crossings: Crossing, facts: Facts = WITHOUT) -> list[SeenTransaction]:
        found = packed(self.release, [(each, facts) for each in crossings], self.payer)
        return [self.chain.run_packed(one, self.keys[:2]) for one in found]


def crossing(number: int, account: Pubkey, owner: Pubkey | None, units: int = 10**9) -> Crossing:
    key = sha256(number.to_bytes(4, "big")).digest()
    return Crossing(key, key, account, owner, units, key + number.to_bytes(4, "little"))


# What fits


@pytest.mark.parametrize(
    ("members", "facts", "price", "most"),
    [(0, WITH, 0, 3), (0, WITH, 1000, 3), (0, WITHOUT, 0, 2), (2, WITH, 0, 2), (2, WITHOUT, 0, 1)],
)
def test_how_many_releases_one_transaction_takes(members: int, facts: Facts, price: int, most: int) -> None:
    keys = [Keypair().pubkey() for _ in range(6)]
    vault = Vault(
        keys[0], TOKEN_PROGRAM_ID, 9, keys[1] if members else keys[2], keys[3], tuple(keys[4 : 4 + members])
    )
    release = Release(GENESIS, vault, keys[2])
    crossings = [crossing(number, Keypair().pubkey(), Keypair().pubkey()) for number in range(12)]
    found = packed(release, [(each, facts) for each in crossings], keys[2], priority_micro_lamports=price)
    assert max(len(each.orders) for each in found) == most
    assert [each for one in found for each in one.orders] == crossings
    assert all(transaction_bytes(each.instructions, keys[2]) <= PACKET_BYTES for each in found)


def test_the_memo_names_outpoints_or_messages() -> None:
    account = Pubkey.default()
    first = Crossing(b"k" * 32, b"m" * 32, account, None, 1, bytes(range(32)) + (7).to_bytes(4, "little"))
    second = Crossing(b"k" * 32, b"m" * 32, account, None, 1, b"\xff" * 36)
    name = bytes(reversed(range(32))).hex()
    assert memo_text([first, second]) == f"gwx1:release:{name}.7,{'ff' * 32}.4294967295"
    refund = Crossing(b"k" * 32, b"m" * 32, account, None, 1, None)
    assert memo_text([refund, refund]) == "gwx1:refund:" + ",".join([str(Pubkey(b"m" * 32))] * 2)
    with pytest.raises(ValueError, match="releases and refunds"):
        memo_text([first, refund])


def test_the_marker_is_of_cluster_mint_base_and_crossing() -> None:
    """Pinned: were it to change, everything could be released again."""
    key = Pubkey.from_bytes(bytes(range(32)))
    seed, address = crossing_marker(GENESIS, key, key, bytes(range(32)))
    assert (seed, str(address)) == ("KjN96QVRKShqgu13LxbXbB", "GbZ9RW5TFCXmqkJRYXQYHGeAzfZzZLvYwPUUaEHZq2Rh")
    assert address == Release(GENESIS, Vault(key, key, 9, key, key), key).guard(
        Crossing(bytes(range(32)), b"", key, None, 5, None)
    )


# What is paid


@pytest.mark.parametrize(("members", "is_held"), [(0, True), (3, True), (0, False)])
def test_crossings_are_paid_once(program: Pubkey, members: int, is_held: bool) -> None:
    """A mint's multisig is in test_programs_own."""
    till = Till(program, members=members, is_held=is_held)
    crossings = [till.crossing(number, 10**6 + number) for number in range(4)]
    supply = till.chain.supply(till.mint)
    found: dict[bytes, int] = {}
    for seen in till.run(*crossings):
        assert seen.error is None, seen.logs
        found |= till.release.minted(crossings, seen)
    total = sum(each.units for each in crossings)
    assert found == {each.key: each.units for each in crossings}
    assert [till.chain.units(each.destination) for each in crossings] == [each.units for each in crossings]
    assert till.chain.supply(till.mint) - supply == (0 if is_held else total)
    assert CUSTODY_UNITS - till.chain.units(till.custody) == (total if is_held else 0)
    again = till.run(*crossings, facts=WITH)
    assert all(seen.error is not None for seen in again)
    assert all(till.release.minted(crossings, seen) == {} for seen in again)


def test_another_amount_under_the_same_marker_is_refused(program: Pubkey) -> None:
    till = Till(program)
    first, other = till.crossing(1, 5), till.crossing(1, 6)
    assert till.run(first)[0].error is None
    assert till.run(other, facts=WITH)[0].error is not None


def test_lamports_that_were_sent_to_a_marker_hinder_nothing(program: Pubkey) -> None:
    till = Till(program)
    one = till.crossing(1)
    gift = TransferParams(from_pubkey=till.payer, to_pubkey=till.release.guard(one), lamports=890_880)
    till.chain.run([transfer(gift)])
    (seen,) = till.run(one)
    assert seen.error is None and till.release.minted([one], seen) == {one.key: one.units}


def test_what_came_from_elsewhere_or_went_elsewhere_is_not_told(program: Pubkey) -> None:
    till = Till(program)
    one = till.crossing(1)
    elsewhere = till.chain.new_account(Keypair().pubkey(), till.mint, program)
    (seen,) = till.run(Crossing(one.key, one.message, elsewhere, None, one.units, one.outpoint))
    assert seen.error is None
    assert till.release.minted([one], seen) == {}, "its destination is another"
    other = Till(program)
    vault = Vault(till.mint, program, DECIMALS, till.payer, other.custody)
    assert Release(GENESIS, vault, till.payer).minted([one], seen) == {}


def test_a_second_payment_under_one_marker_tells_of_none(program: Pubkey) -> None:
    till = Till(program)
    one = till.crossing(1)
    instructions = till.release.instructions(one, WITHOUT)
    seen = till.chain.run([*instructions, instructions[-1]])
    assert seen.error is None and till.release.minted([one], seen) == {}


@settings(max_examples=12, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 10**9)), min_size=1, max_size=9))
def test_every_crossing_is_packed_and_paid_as_asked(asked: list[tuple[int, int]]) -> None:
    till = Till(TOKEN_PROGRAM_ID)
    wallets = [Keypair().pubkey() for _ in range(6)]
    crossings = [till.crossing(number, units, wallet=wallets[at]) for number, (at, units) in enumerate(asked)]
    found: dict[bytes, int] = {}
    for seen in till.run(*crossings):
        assert seen.error is None, seen.logs
        found |= till.release.minted(crossings, seen)
    assert found == {each.key: each.units for each in crossings}


# Fees on transfers


def test_a_fee_on_transfers_pays_less_and_is_no_mint_to_mirror() -> None:
    """Who is paid gets less than was sent: nothing is told of it, and such a mint is refused when one connects."""
    till = Till(TOKEN_2022_PROGRAM_ID)
    mint = Keypair()
    made = CreateAccountParams(
        from_pubkey=till.payer,
        to_pubkey=mint.pubkey(),
        lamports=till.chain.svm.minimum_balance_for_rent_exemption(278),
        space=278,
        owner=TOKEN_2022_PROGRAM_ID,
    )
    someone = bytes([1]) + bytes(till.payer)
    fee = Instruction(
        TOKEN_2022_PROGRAM_ID,
        bytes([26, 0]) + someone + someone + (100).to_bytes(2, "little") + (10**18).to_bytes(8, "little"),
        [AccountMeta(mint.pubkey(), is_signer=False, is_writable=True)],
    )
    start = InitializeMint2Params(
        decimals=DECIMALS, program_id=TOKEN_2022_PROGRAM_ID, mint=mint.pubkey(), mint_authority=till.payer
    )
    seen = till.chain.run([create_account(made), fee, initialize_mint2(start)], [mint])
    assert seen.error is None, seen.logs
    till.mint = mint.pubkey()
    custody = till.chain.new_account(till.payer, till.mint, TOKEN_2022_PROGRAM_ID)
    till.fill(custody)
    vault = Vault(till.mint, TOKEN_2022_PROGRAM_ID, DECIMALS, till.payer, custody)
    till.release = Release(GENESIS, vault, till.payer)
    one = till.crossing(1, 10**9)
    (seen,) = till.run(one)
    assert seen.error is None, seen.logs
    assert till.chain.units(one.destination) == 99 * 10**7
    assert till.release.minted([one], seen) == {}
    told = hindrance(till.chain.svm.get_account(till.mint).data)
    assert told is not None and "fee" in told


def test_an_account_that_is_made_for_two_is_made_once(program: Pubkey) -> None:
    till = Till(program)
    wallet = Keypair().pubkey()
    (seen,) = till.run(till.crossing(1, wallet=wallet), till.crossing(2, wallet=wallet))
    making = create_associated_account(till.payer, wallet, till.mint, program)
    message = seen.transaction.message
    data = [bytes(each.data) for each in message.instructions]
    assert data.count(bytes(making.data)) == 1
