"""Timestamp proofs are checked as a stranger would: with the SDK, offline, from what the query tells."""

from __future__ import annotations

from base64 import b64decode
from hashlib import sha256
from typing import Any

from energytag.models.certificates import GranularCertificateQuery
from energytag.proofs import proofs_of
from energytag.queries import bundle_at, query
from overlay.sdk import load_sdk
from tests.energytag.kit import ACCOUNT, RegistryNode
from tests.energytag.proving import prove
from tests.overlay.kit import Chain

USER = "11111111-2222-4333-8444-555555555555"


async def bundles(registry: RegistryNode, **asked: Any) -> list[dict[str, Any]]:
    body = {"source_account_id": ACCOUNT, "source_user_id": USER} | asked
    return (await query(registry.registry.ground, GranularCertificateQuery.model_validate(body))).bundles


def hash256(data: bytes) -> bytes:
    return sha256(sha256(data).digest()).digest()


def verify_offline(bundle: dict[str, Any]) -> None:
    """The bundle's transaction is in a block with proof of work: nothing of the node is asked."""
    proof = bundle["timestamp_proof"]
    header = bytes.fromhex(proof["block_header"])
    path = load_sdk("bsv").MerklePath.from_hex(proof["merkle_path"])
    assert path.compute_root(bundle["tx_id"]) == proof["merkle_root"]
    assert path.block_height == proof["block_height"]
    assert header[36:68][::-1].hex() == proof["merkle_root"]
    assert hash256(header)[::-1].hex() == proof["block_hash"]


async def test_a_bundle_is_unproven_until_it_is_mined(registry: RegistryNode) -> None:
    await registry.issue()
    (bundle,) = await bundles(registry)
    assert bundle["timestamp_proof"] == {"status": "unproven"}


async def test_the_sdk_verifies_a_proof_offline(registry: RegistryNode, chain: Chain) -> None:
    await registry.issue(count=3)
    await prove(registry)
    found = await bundles(registry)
    assert len(found) == 3
    for bundle in found:
        assert bundle["timestamp_proof"]["status"] == "proven"
        assert bundle["timestamp_proof"]["block_time"].endswith("Z")
        verify_offline(bundle)


async def test_the_beef_of_a_bundle_proves_its_transaction(registry: RegistryNode) -> None:
    await registry.issue()
    await prove(registry)
    (bundle,) = await bundles(registry, include=["beef"])
    transaction = load_sdk("bsv").Transaction.from_beef(b64decode(bundle["beef"]))
    assert transaction.txid() == bundle["tx_id"]
    txid, index = bundle["outpoint"].split(".")
    again = await bundle_at(registry.registry.ground, bytes.fromhex(txid)[::-1] + int(index).to_bytes(4, "little"))
    assert again == bundle


async def test_a_replaced_block_takes_its_proofs_back(registry: RegistryNode, chain: Chain) -> None:
    await registry.issue()
    await prove(registry)
    await chain.dev.reorg(1)
    (bundle,) = await bundles(registry)
    before = bundle["timestamp_proof"]
    await registry.node.headers.sync()
    (bundle,) = await bundles(registry)
    assert before["status"] == "proven"
    assert bundle["timestamp_proof"] == {"status": "unproven"}


async def test_what_is_not_stored_has_no_proof(registry: RegistryNode) -> None:
    assert await proofs_of(registry.registry.ground, [bytes(32)]) == {}
