"""Minting by mint_generation: a program that stands in for it calls the real Token-2022."""

from __future__ import annotations

from dataclasses import replace

import pytest
from solders.account import Account
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from spl.token.constants import TOKEN_2022_PROGRAM_ID

from bridge.programs import pda
from bridge.programs.borsh import encode
from bridge.programs.energy_token import Deployment, MintDirect, MintGeneration, MintToWallet
from bridge.programs.idl import discriminator, idl
from bridge.programs.mode import Facts, MintMode, Order
from bridge.programs.packing import PACKET_BYTES, packed, transaction_bytes
from bridge.solana.rpc import AccountState
from tests.bridge.elf import generation_minter
from tests.bridge.programs_kit import GENESIS, Chain, order

PROGRAM = idl("energy_token").address
VALIDATOR = Keypair.from_seed(b"validator".ljust(32, b"."))


@pytest.fixture
def chain() -> Chain:
    chain = Chain()
    _, bump = Pubkey.find_program_address([b"token_info_2022"], PROGRAM)
    chain.svm.add_program(PROGRAM, generation_minter(bump))
    return chain


@pytest.fixture
def mode(chain: Chain) -> MintGeneration:
    mint = chain.new_mint(TOKEN_2022_PROGRAM_ID, pda.token_info(PROGRAM))
    return MintGeneration(Deployment(PROGRAM, chain.payer.pubkey(), VALIDATOR.pubkey(), mint=mint))


def with_record(chain: Chain, mode: MintGeneration, wanted: Order) -> Order:
    """The stand-in does not make the record that it marks."""
    program = idl("energy_token")
    record = program.accounts[discriminator("account", "GenerationMintRecord")]
    fields = {"meter_id": bytes(16), "window_start_ms": 0, "amount": 0, "minted": False, "bump": 0}
    data = record.discriminator + encode(record.struct, program.types, fields)
    chain.svm.set_account(mode.guard(wanted), Account(10**9, data, PROGRAM))
    return wanted


def recorded(chain: Chain, mode: MintGeneration, wanted: Order) -> int | None:
    state = chain.svm.get_account(mode.guard(wanted))
    return mode.recorded(AccountState(state.lamports, state.owner, bytes(state.data)))


def test_a_window_is_minted_and_recorded(chain: Chain, mode: MintGeneration) -> None:
    wanted = with_record(chain, mode, order())
    assert recorded(chain, mode, wanted) is None
    [seen] = chain.mint(mode, wanted, signers=[VALIDATOR])
    assert seen.error is None, seen.logs
    assert mode.minted([wanted], seen) == {wanted.key: wanted.units}
    assert chain.supply(mode.mint) == chain.units(mode.destination(wanted)) == wanted.units
    assert recorded(chain, mode, wanted) == wanted.units


def test_a_replay_succeeds_and_mints_nothing(chain: Chain, mode: MintGeneration) -> None:
    wanted = with_record(chain, mode, order())
    chain.mint(mode, wanted, signers=[VALIDATOR])
    other = replace(wanted, units=7)
    [again] = chain.mint(mode, other, signers=[VALIDATOR])
    assert again.error is None
    assert mode.minted([other], again) == {}
    assert chain.supply(mode.mint) == wanted.units
    assert recorded(chain, mode, other) == wanted.units


def test_a_replay_among_others_is_told_apart(chain: Chain, mode: MintGeneration) -> None:
    orders = [with_record(chain, mode, order(f"M{number}", units=10 + number)) for number in range(3)]
    chain.mint(mode, orders[1], signers=[VALIDATOR])
    [seen] = chain.mint(mode, *orders, signers=[VALIDATOR])
    assert mode.minted(orders, seen) == {orders[0].key: 10, orders[2].key: 12}


def test_a_mint_for_another_wallet_is_not_taken_for_ours(chain: Chain, mode: MintGeneration) -> None:
    wanted = with_record(chain, mode, order())
    [seen] = chain.mint(mode, wanted, signers=[VALIDATOR])
    assert mode.minted([replace(wanted, wallet=Keypair().pubkey())], seen) == {}


def test_orders_that_are_not_of_a_window_are_not_in_the_transaction(chain: Chain, mode: MintGeneration) -> None:
    wanted = with_record(chain, mode, order())
    [seen] = chain.mint(mode, wanted, signers=[VALIDATOR])
    assert mode.minted([replace(wanted, interval_start_ms=1), wanted], seen) == {wanted.key: wanted.units}


AT = Deployment(PROGRAM, Keypair().pubkey(), VALIDATOR.pubkey())


@pytest.mark.parametrize(
    ("mode", "each"),
    [
        (MintGeneration(AT), 4),
        (MintToWallet(GENESIS, AT), 2),
        (MintDirect(GENESIS, AT, AT.authority), 3),
    ],
    ids=["generation", "wallet", "direct"],
)
def test_how_many_one_transaction_takes(mode: MintMode, each: int) -> None:
    ready = Facts(has_destination=True, guard_lamports=0)
    orders = [(order(f"M{number}"), ready) for number in range(each)]
    [one] = packed(mode, orders, AT.authority)
    assert transaction_bytes(one.instructions, AT.authority) <= PACKET_BYTES
    assert len(packed(mode, [*orders, (order("another"), ready)], AT.authority)) == 2


@pytest.mark.parametrize(
    "mode", [MintGeneration(AT), MintToWallet(GENESIS, AT), MintDirect(GENESIS, AT, AT.authority)]
)
def test_a_destination_that_is_missing_is_made_first(mode: MintMode) -> None:
    new, known = (
        mode.instructions(order(), Facts(has_destination=there, guard_lamports=0)) for there in (False, True)
    )
    assert len(new) == len(known) + 1
    assert new[-1] == known[-1]
    assert new[-2].accounts[1].pubkey == mode.destination(order())
