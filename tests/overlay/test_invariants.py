"""The check of stored invariants finds what is broken."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from certificates import successor
from overlay.builder import coins_of
from overlay.invariants import check_invariants
from overlay.records import OUTPUTS, RAWS, SPENDS, TRANSACTIONS
from overlay.transaction import Transaction, outpoint, show_outpoint
from store.port import Delete, Patch, Put, Write
from tests.overlay.kit import Chain, Node

Break = Callable[[Transaction], Write]
STRANGE = bytes(range(32))

BREAKS: dict[str, tuple[Break, str]] = {
    "no raw bytes": (
        lambda made: Delete(RAWS, made.txid),
        "I4: transaction {txid} does not have the raw bytes that hash to its txid",
    ),
    "other raw bytes": (
        lambda made: Put(RAWS, {"_id": made.txid, "raw": made.raw[:-1] + b"\x01"}),
        "I4: transaction {txid} does not have the raw bytes that hash to its txid",
    ),
    "another size": (
        lambda made: Patch(TRANSACTIONS, made.txid, {"size": 64}),
        "I4: transaction {txid} does not have the raw bytes that hash to its txid",
    ),
    "raw bytes of nothing": (
        lambda made: Put(RAWS, {"_id": STRANGE, "raw": made.raw}),
        f"I4: raw bytes of {STRANGE[::-1].hex()} are held without the transaction",
    ),
    "another script in a row": (
        lambda made: Patch(OUTPUTS, outpoint(made.txid, 1), {"script": b"\x51"}),
        "I4: output {txid}.1 is not in its row as it is in the raw bytes",
    ),
    "no script in a row": (
        lambda made: Put(OUTPUTS, {"_id": outpoint(made.txid, 1), "seq": 1, "topics": ["tm_metawatt_gc"]}),
        "I4: output {txid}.1 is not in its row as it is in the raw bytes",
    ),
    "a row that is gone": (
        lambda made: Delete(OUTPUTS, outpoint(made.txid, 1)),
        "I2: output {txid}.1 was admitted by tm_metawatt_gc and is not there",
    ),
    "a spend that is gone": (
        lambda made: Delete(SPENDS, made.inputs[0].outpoint),
        "I3: {txid} is applied, and {spent} is not recorded as spent by it",
    ),
    "a spend by another input": (
        lambda made: Patch(SPENDS, made.inputs[0].outpoint, {"input": 1}),
        "I3: {spent} is not what input 1 of its spender spends",
    ),
}


@pytest.fixture
async def made(node: Node, chain: Chain) -> Transaction:
    """A large transaction with two inputs: it splits a certificate."""
    issued, tokens = await chain.issue([1000])
    await node.submit(issued)
    parts = successor.split(tokens[0], [25] * 40, [chain.owner.public] * 40)
    split = await chain.succeed(coins_of(issued)[:1], parts)
    await node.submit(split)
    assert await check_invariants(node.store) == []
    return split


@pytest.mark.parametrize(("spoil", "fault"), BREAKS.values(), ids=BREAKS.keys())
async def test_what_is_broken_is_found(node: Node, made: Transaction, spoil: Break, fault: str) -> None:
    await node.store.commit([spoil(made)])
    expected = fault.format(txid=made.txid_hex, spent=show_outpoint(made.inputs[0].outpoint))
    assert expected in await check_invariants(node.store)


async def test_progress_covers_every_document(node: Node, made: Transaction) -> None:
    seen: list[tuple[int, int]] = []
    await check_invariants(node.store, lambda done, total: seen.append((done, total)))
    counts = [await node.store.count(each) for each in (TRANSACTIONS, RAWS, OUTPUTS, SPENDS)]
    assert 0 not in counts
    assert seen[-1] == (sum(counts), sum(counts))
