"""The node's own mint on the real programs: once for each reading, whatever is tried."""

from __future__ import annotations

from dataclasses import replace

import base58
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.system_program import (
    AllocateWithSeedParams,
    CreateAccountParams,
    TransferParams,
    allocate_with_seed,
    create_account,
    transfer,
)
from spl.memo.constants import MEMO_PROGRAM_ID
from spl.token.constants import TOKEN_PROGRAM_ID
from spl.token.instructions import initialize_multisig2, set_authority
from spl.token.models import AuthorityType, InitializeMultisig2Params, SetAuthorityParams

from bridge.programs.mode import Facts, is_guard
from bridge.programs.own import OwnMint
from bridge.programs.signing import SignerMissing
from bridge.programs.tokens import mint_to_checked
from bridge.solana.rpc import AccountState
from config.errors import MetawattError
from tests.bridge.programs_kit import BOTH_PROGRAMS, DECIMALS, GENESIS, Chain, order


@pytest.fixture(params=BOTH_PROGRAMS, ids=["spl-token", "token-2022"])
def program(request: pytest.FixtureRequest) -> Pubkey:
    return request.param


@pytest.fixture
def chain() -> Chain:
    return Chain()


@pytest.fixture
def mode(chain: Chain, program: Pubkey) -> OwnMint:
    return own(chain, program)


def own(chain: Chain, program: Pubkey) -> OwnMint:
    return OwnMint(GENESIS, chain.new_mint(program), program, chain.payer.pubkey(), DECIMALS)


def test_a_reading_is_minted_into_an_account_that_is_made_for_it(chain: Chain, mode: OwnMint) -> None:
    wanted = order()
    [seen] = chain.mint(mode, wanted)
    assert seen.error is None, seen.logs
    assert chain.units(mode.destination(wanted)) == wanted.units == chain.supply(mode.mint)
    assert mode.minted([wanted], seen) == {wanted.key: wanted.units}


@pytest.mark.parametrize("units", [1, 1_500_000_000, 2**63])
def test_a_second_mint_of_an_interval_fails_whatever_its_amount(chain: Chain, mode: OwnMint, units: int) -> None:
    wanted = order()
    [first] = chain.mint(mode, wanted)
    [again] = chain.mint(mode, replace(wanted, units=units))
    assert first.error is None
    assert again.error is not None
    assert chain.supply(mode.mint) == wanted.units
    assert mode.minted([wanted], again) == {}


def test_the_marker_holds_for_another_wallet_and_key_too(chain: Chain, mode: OwnMint) -> None:
    wanted = order()
    chain.mint(mode, wanted)
    [again] = chain.mint(mode, replace(wanted, wallet=Keypair().pubkey(), key=bytes(16)))
    assert again.error is not None


def test_lamports_sent_to_a_markers_address_do_not_hinder_it(chain: Chain, mode: OwnMint) -> None:
    for number, lamports in enumerate((890_880, 5_000_000)):
        wanted = order(interval=number)
        chain.run(
            [
                transfer(
                    TransferParams(
                        from_pubkey=chain.payer.pubkey(), to_pubkey=mode.guard(wanted), lamports=lamports
                    )
                )
            ]
        )
        assert chain.facts(mode, wanted) == Facts(has_destination=number > 0, guard_lamports=lamports)
        [seen] = chain.mint(mode, wanted)
        assert mode.minted([wanted], seen) == {wanted.key: wanted.units}
        [again] = chain.mint(mode, wanted)
        assert again.error is not None


def test_lamports_that_come_after_the_facts_were_read_do_not_hinder_it_either(chain: Chain, mode: OwnMint) -> None:
    wanted = order()
    chain.fund(mode.guard(wanted), 2_000_000)
    seen = chain.run(
        [*mode.instructions(wanted, Facts(has_destination=False, guard_lamports=0)), mode.memo([wanted])]
    )
    assert mode.minted([wanted], seen) == {wanted.key: wanted.units}


def test_a_destination_that_is_there_by_now_does_not_hinder(chain: Chain, mode: OwnMint) -> None:
    wanted = order()
    chain.new_account(wanted.wallet, mode.mint, mode.token_program)
    seen = chain.run(mode.instructions(wanted, Facts(has_destination=False, guard_lamports=0)))
    assert mode.minted([wanted], seen) == {wanted.key: wanted.units}


def test_one_mint_that_fails_takes_its_whole_transaction_with_it(chain: Chain, mode: OwnMint) -> None:
    orders = [order(f"M{number}") for number in range(3)]
    chain.mint(mode, orders[1])
    [together] = chain.mint(mode, *orders)
    assert together.error is not None
    assert chain.supply(mode.mint) == orders[1].units
    assert mode.minted(orders, together) == {}


def test_many_orders_land_with_their_units_each(chain: Chain, mode: OwnMint) -> None:
    orders = [order(f"M{number % 7}", number, units=10**9 + number) for number in range(50)]
    seen = chain.mint(mode, *orders)
    assert [one.error for one in seen] == [None] * len(seen)
    found = {}
    for one in seen:
        found |= mode.minted(orders, one)
    assert found == {one.key: one.units for one in orders}
    assert chain.supply(mode.mint) == sum(one.units for one in orders)


def test_what_was_minted_is_told_for_any_subset_and_superset(chain: Chain, mode: OwnMint) -> None:
    orders = [order(f"M{number}", units=7 + number) for number in range(3)]
    [seen] = chain.mint(mode, *orders)
    stranger = order("another")
    assert mode.minted([orders[1], stranger], seen) == {orders[1].key: 8}
    assert mode.minted([], seen) == {}
    asked_otherwise = replace(orders[1], units=999)
    assert mode.minted([asked_otherwise], seen) == {orders[1].key: 8}
    elsewhere = replace(orders[1], wallet=Keypair().pubkey())
    assert mode.minted([elsewhere], seen) == {}


def test_a_marker_without_a_mint_or_with_two_mints_nothing_that_can_be_told(chain: Chain, mode: OwnMint) -> None:
    first, second = order(), order(interval=1)
    made = mode.instructions(first, Facts(has_destination=False, guard_lamports=0))
    assert mode.minted([first], chain.run(made[:-1])) == {}
    twice = mode.instructions(second, Facts(has_destination=True, guard_lamports=0))
    seen = chain.run([*twice, twice[-1]])
    assert seen.error is None
    assert mode.minted([second], seen) == {}


def test_a_memo_alone_mints_nothing(chain: Chain, mode: OwnMint) -> None:
    wanted = order()
    destination = chain.new_account(wanted.wallet, mode.mint, mode.token_program)
    authority = chain.payer.pubkey()
    mint = mint_to_checked(mode.token_program, mode.mint, destination, authority, wanted.units, DECIMALS)
    seen = chain.run([mint, mode.memo([wanted])])
    assert seen.error is None
    assert mode.minted([wanted], seen) == {}


def test_a_look_alike_mint_is_not_taken_for_the_mint(chain: Chain, mode: OwnMint) -> None:
    other = own(chain, mode.token_program)
    wanted = order()
    instructions = [
        *mode.instructions(wanted, Facts(has_destination=False, guard_lamports=0))[:-1],
        *other.instructions(wanted, Facts(has_destination=False, guard_lamports=0))[-2:],
    ]
    seen = chain.run(instructions)
    assert seen.error is None
    assert mode.minted([wanted], seen) == {}


def test_balances_that_disagree_are_not_explained_away(chain: Chain, mode: OwnMint) -> None:
    wanted = order()
    [seen] = chain.mint(mode, wanted)
    lying = replace(seen, post_tokens=(replace(seen.post_tokens[0], units=1),))
    assert mode.minted([wanted], lying) == {}
    assert mode.minted([wanted], replace(seen, post_tokens=())) == {}


def test_the_memo_names_the_readings_in_the_order_of_their_mints(mode: OwnMint) -> None:
    orders = [order(), order(interval=1)]
    memo = mode.memo(orders)
    assert memo.program_id == MEMO_PROGRAM_ID
    assert memo.data == b"gwx1:reading:" + b",".join(base58.b58encode(one.key) for one in orders)


@pytest.mark.parametrize(
    ("state", "proves"),
    [
        (None, False),
        (AccountState(890_880, Pubkey.default(), b""), False),
        (AccountState(890_880, MEMO_PROGRAM_ID, b""), True),
    ],
)
def test_only_an_account_that_was_made_is_a_guard(state: AccountState | None, proves: bool) -> None:
    assert is_guard(state) is proves


def test_a_marker_is_an_account_of_the_memo_program(chain: Chain, mode: OwnMint) -> None:
    wanted = order()
    chain.mint(mode, wanted)
    made = chain.svm.get_account(mode.guard(wanted))
    assert is_guard(AccountState(made.lamports, made.owner, bytes(made.data)))
    assert (made.owner, made.lamports, bytes(made.data)) == (MEMO_PROGRAM_ID, 890_880, b"")


def test_nobody_else_can_use_up_a_marker(chain: Chain, mode: OwnMint) -> None:
    """The base must sign; a stranger's marker of the same seed is another address."""
    wanted, stranger = order(), Keypair()
    chain.fund(stranger.pubkey())
    theirs = OwnMint(GENESIS, mode.mint, mode.token_program, stranger.pubkey(), DECIMALS)
    assert theirs.guard(wanted) != mode.guard(wanted)
    forged = allocate_with_seed(
        AllocateWithSeedParams(
            address=mode.guard(wanted), base=stranger.pubkey(), seed="x", space=0, owner=MEMO_PROGRAM_ID
        )
    )
    assert chain.run([forged], [stranger]).error is not None


@settings(deadline=None)
@given(
    st.tuples(st.text(max_size=64), st.integers(0, 2**63)), st.tuples(st.text(max_size=64), st.integers(0, 2**63))
)
def test_markers_differ_exactly_where_meter_or_interval_do(first: tuple[str, int], second: tuple[str, int]) -> None:
    mode = OwnMint(GENESIS, Pubkey.default(), TOKEN_PROGRAM_ID, Pubkey.default(), DECIMALS)
    guards = [
        mode.guard(replace(order(), meter=meter, interval_start_ms=start)) for meter, start in (first, second)
    ]
    assert (guards[0] == guards[1]) == (first == second)


def test_markers_differ_by_cluster_and_mint(mode: OwnMint) -> None:
    wanted, authority = order(), Keypair().pubkey()
    args = (mode.token_program, authority, DECIMALS)
    here = OwnMint(GENESIS, mode.mint, *args).guard(wanted)
    assert OwnMint(GENESIS.new_unique(), mode.mint, *args).guard(wanted) != here
    assert OwnMint(GENESIS, Keypair().pubkey(), *args).guard(wanted) != here
    assert OwnMint(GENESIS, mode.mint, *args).guard(replace(wanted, units=1)) == here


def test_a_markers_address_is_the_agreed_one() -> None:
    """Pinned: were it to change, every reading could be minted again."""
    key = Pubkey.from_bytes(bytes(range(32)))
    mode = OwnMint(GENESIS, key, TOKEN_PROGRAM_ID, key, DECIMALS)
    assert str(mode.guard(order())) == "GGhDYxydqvEu8vLEAB4XmGvBCnTeu74eirQMFZqjxNdB"


def test_a_multisig_mints_with_enough_of_its_members(chain: Chain, program: Pubkey) -> None:
    multisig, mint = Keypair(), chain.new_mint(program)
    members = [Keypair() for _ in range(3)]
    public = [member.pubkey() for member in members]
    rent = chain.svm.minimum_balance_for_rent_exemption(355)
    payer = chain.payer.pubkey()
    seen = chain.run(
        [
            create_account(
                CreateAccountParams(
                    from_pubkey=payer, to_pubkey=multisig.pubkey(), lamports=rent, space=355, owner=program
                )
            ),
            initialize_multisig2(
                InitializeMultisig2Params(program_id=program, multisig=multisig.pubkey(), m=2, signers=public)
            ),
            set_authority(
                SetAuthorityParams(
                    program_id=program,
                    account=mint,
                    authority=AuthorityType.MINT_TOKENS,
                    current_authority=payer,
                    new_authority=multisig.pubkey(),
                )
            ),
        ],
        [multisig],
    )
    assert seen.error is None, seen.logs
    wanted = order()

    def mode_of(signers: list[Pubkey]) -> OwnMint:
        return OwnMint(
            GENESIS, mint, program, multisig.pubkey(), DECIMALS, signers=signers, base=payer, payer=payer
        )

    [one] = chain.mint(mode_of(public[:1]), wanted, signers=members)
    assert one.error is not None
    two = mode_of([public[0], public[2]])
    with pytest.raises(SignerMissing):
        chain.mint(two, wanted, signers=members[:1])
    [seen] = chain.mint(two, wanted, signers=members)
    assert two.minted([wanted], seen) == {wanted.key: wanted.units}
    with pytest.raises(MetawattError, match="base"):
        OwnMint(GENESIS, mint, program, multisig.pubkey(), DECIMALS, signers=public)
