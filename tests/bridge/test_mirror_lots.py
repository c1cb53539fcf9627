"""A lot for each reading that our own transactions minted, once, in the chain's order; and for nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from solders.hash import Hash
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.signature import Signature
from spl.token.constants import TOKEN_PROGRAM_ID

from api.solana.server import SolanaServer
from bridge.cluster.cluster import Cluster
from bridge.mirror.from_solana.arrivals import Arrivals
from bridge.mirror.ground import Asset
from bridge.mirror.provenance.lots import Lot, attributed_mints, key_of_reading, lots_of
from bridge.mirror.records import LOTS, MIRROR_COLLECTIONS
from bridge.programs.instructions import Kind, TokenInstruction
from bridge.programs.instructions import Path as Place
from bridge.programs.tokens import associated_account
from bridge.records import ATTEMPTS, BRIDGE_COLLECTIONS
from bridge.solana.rpc import SeenTransaction
from bridge.watching.rows import readings_by_mint
from store.pages import every
from store.port import Document, Find, Patch
from store.sqlite import SqliteStore
from tests.bridge.minting_kit import Mint, NoLease, wallet

ACCOUNT = "0b7cdd5c-2b0c-4d0e-9d1b-6f6f8a3d9d11"
DEVICE = "5d1f3f5e-93a2-4a6b-8f5d-0e6a9a1c7b42"
OWNER = Keypair.from_seed(b"o" * 32).pubkey()


@pytest.fixture
def slot_ms() -> int:
    return 0


@pytest.fixture
async def mint(cluster: Cluster, solana: SolanaServer, tmp_path: Path) -> AsyncIterator[Mint]:
    store = SqliteStore(tmp_path / "node.db", cache_mib=4)
    opened = await Mint.open(cluster, solana.rpc_url, store)
    await store.open([*BRIDGE_COLLECTIONS, *MIRROR_COLLECTIONS])
    yield opened
    await opened.close()


def asset(token: Pubkey, **fields: Any) -> Asset:
    custody = associated_account(OWNER, token, TOKEN_PROGRAM_ID)
    made = Asset(Hash.default(), token, TOKEN_PROGRAM_ID, 9, OWNER, custody, "lock", OWNER)
    return replace(made, **fields)


async def readings(mint: Mint, *whs: float, **fields: Any) -> list[bytes]:
    """Readings of a registered device, to be minted."""
    keys = await mint.accept(len(whs))
    for key, wh in zip(keys, whs, strict=True):
        units = {"units": round(wh * 10**6)}
        await mint.change(key, **({"device_id": DEVICE, "account_id": ACCOUNT} | units | fields))
    return keys


async def minted(mint: Mint) -> list[SeenTransaction]:
    """What the minter's transactions did, in the chain's order."""
    await mint.until_minted(mint.minter(lease=NoLease()))
    found = [await mint.rpc.transaction(Signature.from_bytes(row["_id"])) for row in await mint.attempts()]
    return sorted((seen for seen in found if seen is not None), key=lambda seen: seen.slot)


async def apply(mint: Mint, of: Asset, transactions: Sequence[SeenTransaction]) -> None:
    for seen in transactions:
        await mint.store.commit(await lots_of(seen, of, mint.store))


async def lots(mint: Mint) -> list[Lot]:
    return [Lot.read(row) for row in await every(mint.store, LOTS, Find())]


async def test_a_lot_tells_of_its_reading(mint: Mint) -> None:
    (key,) = await readings(mint, 2.5)
    (seen,) = await minted(mint)
    await apply(mint, asset(mint.mode.mint), [seen])
    (lot,) = await lots(mint)
    row = await mint.row(key)
    assert (lot.key, lot.reading, lot.slot) == (key_of_reading(key), key, seen.slot)
    assert (lot.units, lot.left, lot.wh, lot.place) == (2_500_000, 2_500_000, 2, seen.slot)
    assert (lot.device_id, lot.account_id, lot.meter) == (DEVICE, ACCOUNT, row["meter"])
    assert lot.interval_ms == (row["interval_start_ms"], row["interval_start_ms"] + 300_000)
    assert Lot.read(lot.document()) == lot


async def test_the_line_is_in_the_chains_order_however_it_was_read(mint: Mint) -> None:
    expected: list[bytes] = []
    transactions: list[SeenTransaction] = []
    for count in (3, 2, 4):
        keys = await readings(mint, *([1] * count))
        (seen,) = (await minted(mint))[len(transactions) :]
        transactions.append(seen)
        expected += sorted(keys)
    await apply(mint, asset(mint.mode.mint), transactions[1:])
    await apply(mint, asset(mint.mode.mint), transactions)
    line = [row["reading"] for row in await every(mint.store, LOTS, Find("free"))]
    assert line == expected


async def test_a_replay_makes_no_second_lot_and_gives_nothing_back(mint: Mint) -> None:
    (key,) = await readings(mint, 5)
    transactions = await minted(mint)
    await apply(mint, asset(mint.mode.mint), transactions)
    taken = (await lots(mint))[0].less(5)
    await mint.store.commit([taken.change()])
    await apply(mint, asset(mint.mode.mint), transactions)
    (after,) = await lots(mint)
    assert (after.key, after.left, after.place) == (key.hex(), 0, None)


@pytest.mark.parametrize("missing", ["device_id", "account_id"])
async def test_a_meter_that_is_no_device_of_an_account_gives_no_lot(mint: Mint, missing: str) -> None:
    await readings(mint, 5, **{missing: None})
    (kept,) = await readings(mint, 1)
    await apply(mint, asset(mint.mode.mint), await minted(mint))
    assert [lot.reading for lot in await lots(mint)] == [kept]


@pytest.mark.parametrize(("mode", "is_reserved"), [("lock", True), ("burn", False)])
async def test_what_is_minted_into_custody_is_its_own_messages(mint: Mint, mode: Any, is_reserved: bool) -> None:
    (own,) = await readings(mint, 5, mint_to=str(OWNER))
    (free,) = await readings(mint, 1)
    await apply(mint, asset(mint.mode.mint, mode=mode), await minted(mint))
    found = {lot.reading: lot for lot in await lots(mint)}
    assert found[own].is_reserved is is_reserved
    assert (found[own].place is None) is is_reserved
    assert found[free].place is not None


async def test_the_lot_and_the_message_come_in_one_commit(mint: Mint) -> None:
    (own,) = await readings(mint, 5, mint_to=str(OWNER))
    (seen,) = await minted(mint)
    writes = await Arrivals(asset(mint.mode.mint), mint.store, mint.clock).on_final(seen)
    written = {write.collection.name: write.document for write in writes}  # type: ignore[union-attr]
    assert {"bridge_inbox", "bridge_lots"} <= set(written)
    assert written["bridge_inbox"]["readings"] == [written["bridge_lots"]["reading"]] == [own]


async def test_tokens_that_no_transaction_of_ours_minted_have_no_lot(mint: Mint) -> None:
    await readings(mint, 5)
    (seen,) = await minted(mint)
    for row in await mint.attempts():
        await mint.store.commit([Patch(ATTEMPTS, row["_id"], {"readings": []})])
    await apply(mint, asset(mint.mode.mint), [seen, replace(seen, signature=Signature.default())])
    await apply(mint, asset(mint.mode.mint), [replace(seen, error={"InstructionError": [0, "Custom"]})])
    assert await lots(mint) == []


async def test_another_mint_is_no_business_of_the_bridges(mint: Mint) -> None:
    await readings(mint, 5)
    await apply(mint, asset(Keypair().pubkey()), await minted(mint))
    assert await lots(mint) == []


# Where a program left mints out, as energy_token does with what it minted before


def a_mint(number: int, to: Pubkey, units: int) -> TokenInstruction:
    return TokenInstruction(Kind.MINT, Place(number), TOKEN_PROGRAM_ID, None, None, to, OWNER, units)


def reading(number: int, owner: Pubkey, units: int) -> Document:
    return {"_id": bytes([number]) * 16, "wallet": str(owner), "units": units}


@pytest.mark.parametrize(
    ("minted_units", "wanted_units", "attributed"),
    [
        ([7, 5], [5, 6, 7], [2, 0]),
        ([5], [5, 6], [0]),
        ([5, 5], [5, 6, 5], [0, 2]),
        ([5], [5, 5], []),
        ([5, 7], [5, 5, 7], [2]),
        ([9], [5, 7], []),
        ([5, 6], [5, 6], [0, 1]),
        ([5, 7], [5, 6], [0]),
    ],
)
def test_mints_and_readings_that_do_not_tally(
    minted_units: list[int], wanted_units: list[int], attributed: list[int]
) -> None:
    token = wallet(9)
    account = associated_account(wallet(1), token, TOKEN_PROGRAM_ID)
    instructions = [a_mint(number, account, units) for number, units in enumerate(minted_units)]
    rows = [reading(number, wallet(1), units) for number, units in enumerate(wanted_units)]
    order = [row["_id"] for row in rows]
    found = list(attributed_mints(instructions, order, {row["_id"]: row for row in rows}, asset(token)))
    assert [row["_id"][0] for _, row in found] == attributed
    assert len(readings_by_mint(instructions, order)) == len(instructions)
    assert all(one.units == row["units"] for one, row in found)
