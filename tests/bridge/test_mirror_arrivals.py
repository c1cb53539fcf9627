"""What transactions bring to the bridge, on the real token programs: one row each, of just what arrived."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path as File
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from spl.token import models
from spl.token.constants import TOKEN_2022_PROGRAM_ID, TOKEN_PROGRAM_ID
from spl.token.instructions import mint_to

from bridge.mirror.from_solana.arrivals import Arrival, Arrivals, arrivals
from bridge.mirror.ground import Asset
from bridge.mirror.records import INBOX, MIRROR_COLLECTIONS
from bridge.mirror.states import Kind
from bridge.programs.instructions import Path
from bridge.programs.movements import balance_changes
from bridge.programs.own import OwnMint
from bridge.records import ATTEMPTS, BRIDGE_COLLECTIONS, READINGS
from bridge.solana.rpc import InnerInstruction, SeenTransaction
from bridge.watching.rows import rows_of
from store.pages import every
from store.port import Document, Find, Insert, Patch
from store.sqlite import SqliteStore
from tests.bridge.deposits_kit import Vault, batched, noted
from tests.bridge.programs_kit import DECIMALS, order

ACCOUNT = "11111111-2222-4333-8444-555555555555"
MEMO = f"gwx1:{ACCOUNT}"
NOW_MS = 1_780_315_200_000


@pytest.fixture(scope="module")
def vault() -> Vault:
    return Vault()


@pytest.fixture
async def store(tmp_path: File) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(tmp_path / "node.db", cache_mib=4)
    await store.open([*BRIDGE_COLLECTIONS, *MIRROR_COLLECTIONS])
    yield store
    await store.close()


def told(found: list[Arrival]) -> list[tuple[Kind, tuple[int, ...], int, tuple[str, ...]]]:
    """Kind, path, units and memos of each."""
    return [(each.kind, path_of(each.event), each.units, each.memos) for each in found]


def path_of(event: bytes) -> tuple[int, ...]:
    return tuple(int.from_bytes(event[at : at + 2], "big") for at in (64, 66, 68))


def ran(vault: Vault, *instructions: Instruction, signers: tuple[Keypair, ...] = ()) -> SeenTransaction:
    seen = vault.chain.run(list(instructions), signers or (vault.alice,))
    assert seen.error is None, seen.logs
    return seen


# Deposits


@pytest.mark.parametrize("program", [TOKEN_PROGRAM_ID, TOKEN_2022_PROGRAM_ID], ids=["spl-token", "token-2022"])
def test_transfers_checked_and_unchecked(program: Pubkey) -> None:
    vault = Vault(program=program)
    for moved in (vault.moved, vault.moved_unchecked):
        seen = ran(vault, moved(vault.alice, vault.bridge, 5_000_000), noted(MEMO))
        (arrival,) = arrivals(seen, vault.asset)
        assert told([arrival]) == [(Kind.DEPOSIT, (0, 0, 0), 5_000_000, (MEMO,))]
        assert arrival.source == vault.account(vault.alice)
        assert arrival.authority == vault.alice.pubkey()
        assert arrival.event[:64] == bytes(seen.signature)


def test_several_in_one_transaction_are_several(vault: Vault) -> None:
    seen = ran(
        vault,
        vault.moved(vault.alice, vault.bridge, 1),
        noted(MEMO),
        vault.moved(vault.bob, vault.bridge, 2),
        vault.moved(vault.alice, vault.bob, 3),
        vault.moved(vault.alice, vault.bridge, 1),
        signers=(vault.alice, vault.bob),
    )
    assert told(arrivals(seen, vault.asset)) == [
        (Kind.DEPOSIT, (0, 0, 0), 1, (MEMO,)),
        (Kind.DEPOSIT, (2, 0, 0), 2, (MEMO,)),
        (Kind.DEPOSIT, (4, 0, 0), 1, (MEMO,)),
    ]


def test_a_batch_has_a_path_for_each_part(vault: Vault) -> None:
    parts = [vault.moved(vault.alice, vault.bridge, units) for units in (7, 8)]
    seen = ran(vault, noted(MEMO), batched(parts[0], vault.moved_unchecked(vault.alice, vault.bob, 1), parts[1]))
    assert [each[1:3] for each in told(arrivals(seen, vault.asset))] == [((1, 0, 1), 7), ((1, 0, 3), 8)]


def test_tokens_without_a_memo_arrive_all_the_same(vault: Vault) -> None:
    seen = ran(vault, vault.moved(vault.alice, vault.bridge, 9), noted("hello"))
    assert told(arrivals(seen, vault.asset)) == [(Kind.DEPOSIT, (0, 0, 0), 9, ())]


def test_a_mint_of_others_into_custody_is_a_deposit_from_nowhere(vault: Vault) -> None:
    seen = ran(vault, vault.minted(vault.bridge.pubkey(), 4), noted(MEMO))
    (arrival,) = arrivals(seen, vault.asset)
    assert (arrival.kind, arrival.units, arrival.source, arrival.memos) == (Kind.DEPOSIT, 4, None, (MEMO,))


def test_what_leaves_custody_is_no_arrival(vault: Vault) -> None:
    ran(vault, vault.moved(vault.alice, vault.bridge, 100))
    seen = ran(
        vault,
        vault.moved(vault.bridge, vault.alice, 60),
        vault.moved(vault.bridge, vault.bridge, 10),
        noted("gwx1:release:abc"),
        signers=(vault.bridge,),
    )
    assert arrivals(seen, vault.asset) == []


def test_nothing_at_all_is_no_arrival(vault: Vault) -> None:
    assert arrivals(ran(vault, vault.moved(vault.alice, vault.bridge, 0), noted(MEMO)), vault.asset) == []


def test_what_failed_brought_nothing(vault: Vault) -> None:
    moved = [vault.moved(vault.alice, vault.bridge, 5), vault.moved(vault.alice, vault.bridge, 10**15)]
    seen = vault.chain.run([*moved, noted(MEMO)], [vault.alice])
    assert seen.error is not None
    assert arrivals(seen, vault.asset) == []


def test_inner_instructions_bring_tokens_too(vault: Vault) -> None:
    """As a program does that keeps tokens for others: it moves them, and writes the memo."""
    moved = vault.moved(vault.alice, vault.bridge, 6)
    seen, bare = ran(vault, moved, noted("x")), ran(vault, noted("x"), noted("y"))
    made = replace(
        seen,
        transaction=bare.transaction,
        account_keys=(*bare.account_keys, *(key for key in seen.account_keys if key not in bare.account_keys)),
    )
    memo, transfer = called(made, noted(MEMO)), called(made, moved)

    by_the_same = replace(made, inner={1: (memo, transfer)})
    assert told(arrivals(by_the_same, vault.asset)) == [(Kind.DEPOSIT, (1, 2, 0), 6, (MEMO,))]
    by_another = replace(made, inner={0: (memo,), 1: (transfer,)})
    assert told(arrivals(by_another, vault.asset)) == [(Kind.DEPOSIT, (1, 1, 0), 6, ())]


def called(seen: SeenTransaction, one: Instruction) -> InnerInstruction:
    """An instruction as another one calls it."""
    at = seen.account_keys.index
    return InnerInstruction(at(one.program_id), tuple(at(each.pubkey) for each in one.accounts), bytes(one.data), 2)


# With a fee


def test_of_a_transfer_with_a_fee_what_arrives() -> None:
    vault = Vault(program=TOKEN_2022_PROGRAM_ID, fee_basis_points=100)
    seen = ran(vault, vault.moved_with_fee(vault.alice, vault.bridge, 1_000_000), noted(MEMO))
    assert [each.units for each in arrivals(seen, vault.asset)] == [990_000]
    assert balance_changes(seen, vault.mint)[vault.asset.custody] == 990_000


def test_a_fee_that_no_instruction_names_leaves_it_unexplained() -> None:
    vault = Vault(program=TOKEN_2022_PROGRAM_ID, fee_basis_points=100)
    seen = ran(vault, vault.moved(vault.alice, vault.bridge, 1_000_000), noted(MEMO))
    assert arrivals(seen, vault.asset) == []
    (row,) = rows_of(seen, [vault.mint], {vault.asset.custody})
    assert row["kind"] == "unexplained"


# What is no arrival


def test_a_look_alike_mint_brings_nothing(vault: Vault) -> None:
    other = Vault(chain=vault.chain, bridge=vault.bridge, alice=vault.alice, bob=vault.bob)
    assert other.mint != vault.mint
    seen = ran(vault, other.moved(vault.alice, vault.bridge, 5_000_000), noted(MEMO))
    assert arrivals(seen, vault.asset) == []
    assert len(arrivals(seen, other.asset)) == 1
    both = ran(
        vault, other.moved(vault.alice, vault.bridge, 7), vault.moved(vault.alice, vault.bridge, 8), noted(MEMO)
    )
    assert [each.units for each in arrivals(both, vault.asset)] == [8]


def test_a_look_alike_cannot_be_minted_into_our_custody(vault: Vault) -> None:
    other = vault.chain.new_mint(TOKEN_PROGRAM_ID)
    forged = mint_to(
        models.MintToParams(
            program_id=TOKEN_PROGRAM_ID,
            mint=other,
            dest=vault.asset.custody,
            mint_authority=vault.chain.payer.pubkey(),
            amount=5_000,
        )
    )
    naming_ours = Instruction(
        forged.program_id, bytes(forged.data), [*forged.accounts, AccountMeta(vault.mint, False, False)]
    )
    seen = vault.chain.run([naming_ours, noted(MEMO)])
    assert seen.error is not None
    assert arrivals(seen, vault.asset) == []


def test_what_logs_claim_brings_nothing(vault: Vault) -> None:
    forged = f"Program data: AAAA\nProgram {TOKEN_PROGRAM_ID} success\ngwx1:{ACCOUNT}"
    assert arrivals(ran(vault, noted(forged), noted(MEMO)), vault.asset) == []


def test_what_cannot_be_explained_brings_nothing(vault: Vault) -> None:
    seen = ran(vault, vault.moved(vault.alice, vault.bridge, 5), noted(MEMO))
    more = replace(
        seen,
        post_tokens=tuple(
            replace(each, units=each.units + 1) if each.account == vault.asset.custody else each
            for each in seen.post_tokens
        ),
    )
    assert arrivals(more, vault.asset) == []


# Burns


def test_burns_are_messages_where_tokens_are_burned(vault: Vault) -> None:
    burned = ran(vault, vault.burned(vault.alice, 3_000_000), noted(MEMO))
    bare = ran(vault, vault.burned(vault.alice, 3_000_000), noted("bye"))
    deposit = ran(vault, vault.moved(vault.alice, vault.bridge, 3_000_000), noted(MEMO))
    burning = vault.as_mode("burn")
    (arrival,) = arrivals(burned, burning)
    assert told([arrival]) == [(Kind.BURN, (0, 0, 0), 3_000_000, (MEMO,))]
    assert arrival.source == vault.account(vault.alice)
    assert arrivals(bare, burning) == arrivals(deposit, burning) == arrivals(burned, vault.asset) == []


# Any transaction at all

UNITS = st.integers(0, 50)
WHO = st.sampled_from(["alice", "bob", "bridge"])
ONE = st.one_of(
    st.tuples(st.sampled_from(["moved", "moved_unchecked"]), WHO, WHO, UNITS),
    st.tuples(st.just("burned"), WHO, UNITS),
    st.tuples(st.just("minted"), WHO, UNITS),
    st.tuples(st.just("noted"), st.sampled_from([MEMO, "gwx1:x", "hello"])),
)
STEP = st.one_of(ONE, st.tuples(st.just("batch"), st.lists(ONE, min_size=1, max_size=4)))


def instruction(vault: Vault, step: tuple[Any, ...]) -> list[Instruction]:
    match step:
        case ("batch", parts):
            found = [each for part in parts if part[0] != "noted" for each in instruction(vault, part)]
            return [batched(*found)] if found else []
        case ("noted", text):
            return [noted(text)]
        case ("minted", who, units):
            return [vault.minted(getattr(vault, who).pubkey(), units)]
        case ("burned", who, units):
            return [vault.burned(getattr(vault, who), units)]
        case (name, source, target, units):
            return [getattr(vault, name)(getattr(vault, source), getattr(vault, target), units)]
    raise AssertionError(step)


def left_custody(steps: list[tuple[Any, ...]]) -> int:
    """What the bridge itself sent away, or burned."""
    total = 0
    for step in steps:
        match step:
            case ("batch", parts):
                total += left_custody(parts)
            case ("burned", "bridge", units):
                total += units
            case ("moved" | "moved_unchecked", "bridge", target, units) if target != "bridge":
                total += units
    return total


@given(steps=st.lists(STEP, min_size=1, max_size=6))
@settings(max_examples=150, deadline=None)
def test_arrivals_are_the_change_of_custody(steps: list[tuple[Any, ...]]) -> None:
    vault = any_vault()
    instructions = [each for step in steps for each in instruction(vault, step)]
    if not instructions:
        return
    named = {str(meta.pubkey) for each in instructions for meta in each.accounts if meta.is_signer}
    signers = [each for each in (vault.alice, vault.bob, vault.bridge) if str(each.pubkey()) in named]
    seen = vault.chain.run(instructions, signers)
    found = arrivals(seen, vault.asset)
    change = balance_changes(seen, vault.mint)[vault.asset.custody]
    if seen.error is not None:
        assert found == []
        assert change == 0
    else:
        assert sum(each.units for each in found) - left_custody(steps) == change
    assert len({each.event for each in found}) == len(found)
    assert all(each.units > 0 and each.kind is Kind.DEPOSIT for each in found)


_VAULTS: list[Vault] = []


def any_vault() -> Vault:
    """One for all examples, rich enough for each of them."""
    if not _VAULTS:
        vault = Vault()
        assert vault.chain.run([vault.minted(vault.bridge.pubkey(), 10**12)]).error is None
        _VAULTS.append(vault)
    return _VAULTS[0]


# In the store


async def rows(store: SqliteStore) -> list[Document]:
    return await every(store, INBOX, Find())


async def apply(store: SqliteStore, asset: Asset, seen: SeenTransaction) -> None:
    await store.commit(list(await Arrivals(asset, store, lambda: NOW_MS).on_final(seen)))


async def run(vault: Vault, *instructions: Instruction) -> SeenTransaction:
    return await asyncio.to_thread(ran, vault, *instructions)


async def test_a_row_is_written_once_and_stays_as_it_became(store: SqliteStore) -> None:
    vault = await asyncio.to_thread(Vault)
    seen = await run(vault, vault.moved(vault.alice, vault.bridge, 5_000_000), noted(MEMO))
    await apply(store, vault.asset, seen)
    (row,) = await rows(store)
    assert row == {
        "_id": bytes(seen.signature) + Path(0).packed(),
        "lane": "in",
        "at_ms": NOW_MS,
        "kind": "deposit",
        "units": 5_000_000,
        "slot": seen.slot,
        "block_time": None,
        "memos": [MEMO],
        "recipient": ACCOUNT,
        "source": str(vault.account(vault.alice)),
        "authority": str(vault.alice.pubkey()),
        "readings": [],
    }
    await store.commit([Patch(INBOX, row["_id"], {"lane": None})])
    await apply(store, vault.asset, seen)
    assert await rows(store) == [row | {"lane": None}]


async def own_mint(store: SqliteStore, vault: Vault, *mirrored: bool) -> SeenTransaction:
    """Our own transaction, which mints a reading each: into custody where it is mirrored."""
    mode = OwnMint(vault.asset.genesis, vault.mint, vault.program, vault.chain.payer.pubkey(), DECIMALS)
    orders = []
    for number, each in enumerate(mirrored):
        wallet = vault.bridge.pubkey() if each else vault.alice.pubkey()
        orders.append(order(f"METER-{number}", wallet=wallet, units=(number + 1) * 10**6))
        await store.commit([Insert(READINGS, reading(orders[-1], vault, is_mirrored=each))])
    (seen,) = await asyncio.to_thread(vault.chain.mint, mode, *orders)
    assert seen.error is None, seen.logs
    keys = [each.key for each in orders]
    await store.commit([Insert(ATTEMPTS, {"_id": bytes(seen.signature), "readings": keys, "open_ms": None})])
    return seen


def reading(one: Any, vault: Vault, *, is_mirrored: bool) -> Document:
    return {
        "_id": one.key,
        "meter": one.meter,
        "wallet": str(one.wallet if not is_mirrored else vault.alice.pubkey()),
        "mint_to": str(vault.asset.owner) if is_mirrored else None,
        "interval_start_ms": one.interval_start_ms,
        "interval_secs": 900,
        "units": one.units,
        "submitted_ms": NOW_MS,
        "open_ms": None,
        "due_ms": None,
        "retry_ms": None,
        "minted_ms": NOW_MS,
        "state": "minted",
        "attempts": 0,
        "account_id": ACCOUNT,
        "device_id": "device",
    }


async def test_our_own_mints_into_custody_are_automatic(store: SqliteStore) -> None:
    vault = await asyncio.to_thread(Vault)
    seen = await own_mint(store, vault, True, False, True)
    await apply(store, vault.asset, seen)
    found = await rows(store)
    keys = [order(f"METER-{number}").key for number in range(3)]
    assert [(row["kind"], row["recipient"], row["units"], row["readings"]) for row in found] == [
        ("automatic", ACCOUNT, 1_000_000, [keys[0]]),
        ("automatic", ACCOUNT, 3_000_000, [keys[2]]),
    ]


async def test_a_wallet_that_is_the_bridges_makes_no_reading_mirrored(store: SqliteStore) -> None:
    """Somebody registers a meter with the bridge's wallet as its own: tokens without a memo."""
    vault = await asyncio.to_thread(Vault)
    seen = await own_mint(store, vault, True)
    (key,) = [row["_id"] for row in await every(store, READINGS, Find())]
    await store.commit([Patch(READINGS, key, {"mint_to": None, "wallet": str(vault.asset.owner)})])
    await apply(store, vault.asset, seen)
    (row,) = await rows(store)
    assert (row["kind"], row["readings"], row["source"]) == ("deposit", [], None)


async def test_a_mint_that_only_says_it_is_ours_is_a_deposit(store: SqliteStore) -> None:
    vault = await asyncio.to_thread(Vault)
    memo = noted("gwx1:reading:abc")
    await apply(store, vault.asset, await run(vault, memo, vault.minted(vault.bridge.pubkey(), 10**6)))
    (row,) = await rows(store)
    assert (row["kind"], row["recipient"]) == ("deposit", "reading:abc")
