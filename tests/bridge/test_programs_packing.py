"""Transactions are filled to the byte, oldest first, and signed the same way every time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace

import base58
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from solders.hash import Hash
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.message import MessageV0
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction
from spl.token.constants import TOKEN_2022_PROGRAM_ID, TOKEN_PROGRAM_ID

from bridge.programs.budget import MAX_COMPUTE_UNITS
from bridge.programs.keys import FileSigner
from bridge.programs.mode import Facts, Order
from bridge.programs.own import OwnMint
from bridge.programs.packing import LOOKAHEAD, PACKET_BYTES, OrderTooLarge, Packed, packed, transaction_bytes
from bridge.programs.short58 import short58
from bridge.programs.signing import signed
from tests.bridge.programs_kit import BOTH_PROGRAMS, DECIMALS, GENESIS, Chain, order

KEY = Keypair.from_seed(bytes(32))
PAYER = KEY.pubkey()
MODE = OwnMint(GENESIS, Pubkey.from_bytes(bytes(range(32))), TOKEN_PROGRAM_ID, PAYER, DECIMALS)
READY = Facts(has_destination=True, guard_lamports=0)
NEW = Facts(has_destination=False, guard_lamports=0)


def wallet(number: int) -> Pubkey:
    return Keypair.from_seed(number.to_bytes(32, "big")).pubkey()


def serialised(instructions: tuple[Instruction, ...], payer: Pubkey = PAYER) -> bytes:
    """Of a transaction whose other signers are left out, for its size."""
    signers = [FileSigner(KEY)]
    return bytes(asyncio.run(signed(Packed((), instructions, payer), Hash.default(), signers)))


@pytest.mark.parametrize(
    ("wallets", "facts", "priority", "each"),
    [
        (range(12), READY, 0, 4),
        (range(12), READY, 5_000, 3),
        (range(12), NEW, 0, 3),
        ([1] * 12, NEW, 0, 4),
        ([1] * 12, NEW, 5_000, 4),
        ([number // 2 for number in range(12)], READY, 5_000, 4),
        (range(12), Facts(has_destination=True, guard_lamports=890_880), 0, 4),
    ],
    ids=["known wallets", "priority", "new wallets", "one new wallet", "and priority", "pairs", "funded markers"],
)
def test_how_many_readings_one_transaction_takes(
    wallets: list[int], facts: Facts, priority: int, each: int
) -> None:
    orders = [(order(f"M{number}", wallet=wallet(owner)), facts) for number, owner in enumerate(wallets)]
    found = packed(MODE, orders, PAYER, priority_micro_lamports=priority)
    assert [len(one.orders) for one in found] == [each] * (12 // each)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.booleans(), st.sampled_from([0, 1, 890_880])), min_size=1, max_size=40
    ),
    st.sampled_from([0, 1, 10**6]),
    st.integers(1, 6),
)
def test_all_are_packed_once_within_a_packet_and_none_waits_too_long(
    wanted: list[tuple[int, bool, int]], priority: int, max_orders: int
) -> None:
    orders = [
        (order(f"M{number}", wallet=wallet(owner)), Facts(has_destination=known, guard_lamports=lamports))
        for number, (owner, known, lamports) in enumerate(wanted)
    ]
    found = packed(MODE, orders, PAYER, priority_micro_lamports=priority, max_orders=max_orders)
    places = [[one for one, _ in orders].index(one) for taken in found for one in taken.orders]
    assert sorted(places) == list(range(len(orders)))
    waiting = list(range(len(orders)))
    for taken in found:
        mine = [places.pop(0) for _ in taken.orders]
        assert mine[0] == waiting[0]
        assert mine == sorted(mine)
        waiting = [place for place in waiting if place not in mine]
        assert len([place for place in waiting if place < mine[-1]]) < LOOKAHEAD
        size = len(serialised(taken.instructions))
        assert size == transaction_bytes(taken.instructions, PAYER) <= PACKET_BYTES
        assert len(taken.orders) <= max_orders


def test_the_next_order_would_not_have_fitted() -> None:
    orders = [(order(f"M{number}", wallet=wallet(number)), READY) for number in range(5)]
    first, _ = packed(MODE, orders, PAYER)
    more = [instruction for one, facts in orders for instruction in MODE.instructions(one, facts)]
    whole = (*more, MODE.memo([one for one, _ in orders]))
    assert transaction_bytes(whole, PAYER) > PACKET_BYTES >= transaction_bytes(first.instructions, PAYER)


def test_the_legacy_encoding_is_the_shorter_one() -> None:
    [one] = packed(MODE, [(order(), READY)], PAYER)
    other = VersionedTransaction(MessageV0.try_compile(PAYER, list(one.instructions), [], Hash.default()), [KEY])
    assert len(serialised(one.instructions)) == len(bytes(other)) - 2


@settings(deadline=None)
@given(st.integers(0, 300), st.integers(0, 200), st.integers(0, 40))
def test_sizes_are_right_where_lengths_need_a_second_byte(data: int, accounts: int, instructions: int) -> None:
    key = Pubkey.from_bytes(bytes(range(32)))
    one = Instruction(key, bytes(data), [AccountMeta(key, is_signer=False, is_writable=False)] * accounts)
    many = (one,) * instructions
    assert transaction_bytes(many, PAYER) == len(serialised(many))


def test_an_order_that_fits_nowhere_is_an_error() -> None:
    members = [wallet(number) for number in range(11)]
    mode = OwnMint(
        GENESIS, MODE.mint, TOKEN_PROGRAM_ID, wallet(99), DECIMALS, signers=members, base=PAYER, payer=PAYER
    )
    with pytest.raises(OrderTooLarge, match="METER-001"):
        packed(mode, [(order(), READY)], PAYER)


def test_nothing_is_packed_of_nothing() -> None:
    assert packed(MODE, [], PAYER) == []


async def test_signing_gives_the_same_bytes_and_valid_signatures() -> None:
    [one] = packed(MODE, [(order(), READY)], PAYER)
    first = await signed(one, Hash.default(), [FileSigner(KEY), FileSigner(Keypair())])
    assert bytes(first) == bytes(await signed(one, Hash.default(), [FileSigner(KEY)]))
    assert first.verify_with_results() == [True]
    assert bytes(first) != bytes(await signed(one, Hash.hash(b"another"), [FileSigner(KEY)]))


@pytest.mark.parametrize("program", BOTH_PROGRAMS, ids=["spl-token", "token-2022"])
def test_the_limit_of_compute_units_is_enough_and_not_lavish(program: Pubkey) -> None:
    chain = Chain(KEY)
    mode = OwnMint(GENESIS, chain.new_mint(program), program, PAYER, DECIMALS)
    for known in (False, True):
        orders: list[tuple[Order, Facts]] = [
            (order(f"M{number}", interval=known), replace(NEW, has_destination=known)) for number in range(3)
        ]
        [one] = packed(mode, orders, PAYER, priority_micro_lamports=1)
        seen = chain.run_packed(one)
        assert seen.error is None, seen.logs
        used, limit = _consumed(seen.logs or ()), int.from_bytes(one.instructions[0].data[1:5], "little")
        assert 1.2 * used < limit < MAX_COMPUTE_UNITS / 4


def _consumed(logs: tuple[str, ...]) -> int:
    """By the outer programs that log it, with 150 for each of the system program."""
    lines = [line.split(" ") for line in logs]
    consumed = sum(int(line[3]) for line in lines if line[2] == "consumed" and line[5] != "200000")
    return consumed + sum(150 for line in lines if line[-2:] == ["invoke", "[1]"])


def test_without_a_priority_fee_no_compute_budget_is_asked_for() -> None:
    [one] = packed(MODE, [(order(), READY)], PAYER)
    [paid] = packed(MODE, [(order(), READY)], PAYER, priority_micro_lamports=7)
    assert paid.instructions[2:] == one.instructions
    assert transaction_bytes(paid.instructions, PAYER) - transaction_bytes(one.instructions, PAYER) == 52
    assert TOKEN_2022_PROGRAM_ID not in {instruction.program_id for instruction in one.instructions}


def test_no_more_is_packed_than_a_batch_of_transactions_holds() -> None:
    looked_at = []

    def counted(orders: list[tuple[Order, Facts]]) -> Iterator[tuple[Order, Facts]]:
        for each in orders:
            looked_at.append(each)
            yield each

    orders = [(order(f"M{number}", wallet=wallet(number)), READY) for number in range(60)]
    every = packed(MODE, orders, PAYER)
    assert packed(MODE, counted(orders), PAYER, max_transactions=2) == every[:2]
    assert len(looked_at) <= sum(len(each.orders) for each in every[:2]) + 2 * LOOKAHEAD
    assert packed(MODE, orders, PAYER, max_transactions=0) == []


@given(st.binary(min_size=16, max_size=16), st.integers(0, 16))
def test_base58_of_sixteen_bytes_is_anybodys(data: bytes, zeros: int) -> None:
    padded = bytes(zeros) + data[zeros:]
    assert short58(padded) == base58.b58encode(padded).decode()


def test_base58_of_sixteen_bytes_takes_no_others() -> None:
    with pytest.raises(ValueError, match="15 bytes, not 16"):
        short58(bytes(15))
