"""Where a transaction's raw bytes are kept, and that they are found wherever they are."""

from __future__ import annotations

import pytest

from overlay.invariants import check_invariants
from overlay.records import MOST_CARRIED_BYTES, RAWS, TRANSACTIONS, load_raws, load_stored, raws_of
from overlay.transaction import Transaction
from store.port import Patch, Put
from tests.overlay.kit import Chain, Node

SMALL, LARGE = [1000], [1000] * 10


async def admitted(node: Node, chain: Chain, quantities: list[int]) -> Transaction:
    transaction, _ = await chain.issue(quantities)
    await node.submit(transaction)
    return transaction


@pytest.mark.parametrize("quantities", [SMALL, LARGE], ids=["small", "large"])
async def test_a_small_transaction_carries_its_raw_bytes(node: Node, chain: Chain, quantities: list[int]) -> None:
    transaction = await admitted(node, chain, quantities)
    document = await node.store.get(TRANSACTIONS, transaction.txid)
    row = await node.store.get(RAWS, transaction.txid)
    assert document is not None
    assert (len(transaction.raw) <= MOST_CARRIED_BYTES) == (quantities is SMALL)
    found = [each and each.get("raw") for each in (document, row)]
    assert found == ([transaction.raw, None] if quantities is SMALL else [None, transaction.raw])


@pytest.mark.parametrize("quantities", [SMALL, LARGE], ids=["small", "large"])
async def test_they_are_read_wherever_they_are(node: Node, chain: Chain, quantities: list[int]) -> None:
    """Earlier releases kept all of them apart."""
    transaction = await admitted(node, chain, quantities)
    document = await node.store.get(TRANSACTIONS, transaction.txid)
    assert document is not None
    apart = {name: value for name, value in document.items() if name != "raw"}
    await node.store.commit(
        [Put(TRANSACTIONS, apart), Put(RAWS, {"_id": transaction.txid, "raw": transaction.raw})]
    )
    assert await load_raws(node.store, [transaction.txid, bytes(32)]) == {transaction.txid: transaction.raw}
    for each in (document, apart):
        assert await raws_of(node.store, [each]) == {transaction.txid: transaction.raw}
    assert (await load_stored(node.store, [transaction.txid]))[transaction.txid] == (apart, transaction.raw)
    assert await check_invariants(node.store) == []
    await node.engine.evictor.evict(transaction.txid, "the network refused it")
    assert await node.store.get(RAWS, transaction.txid) is None


@pytest.mark.parametrize("quantities", [SMALL, LARGE], ids=["small", "large"])
async def test_they_go_with_the_transaction(node: Node, chain: Chain, quantities: list[int]) -> None:
    transaction = await admitted(node, chain, quantities)
    await node.engine.evictor.evict(transaction.txid, "the network refused it")
    assert await load_raws(node.store, [transaction.txid]) == {}
    assert await node.store.get(RAWS, transaction.txid) is None
    assert await check_invariants(node.store) == []


@pytest.mark.parametrize("raw", [None, b"", b"\x01"])
async def test_other_bytes_in_the_document_are_a_fault(node: Node, chain: Chain, raw: bytes | None) -> None:
    transaction = await admitted(node, chain, SMALL)
    await node.store.commit([Patch(TRANSACTIONS, transaction.txid, {"raw": raw})])
    fault = f"I4: transaction {transaction.txid_hex} does not have the raw bytes that hash to its txid"
    assert fault in await check_invariants(node.store)
