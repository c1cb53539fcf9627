"""The TypeScript SDK verifies a bundle's timestamp proof, from the bundle alone."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from energytag.models.certificates import GranularCertificateQuery
from energytag.queries import query
from store.sqlite import SqliteStore
from tests.energytag.kit import ACCOUNT, RegistryNode
from tests.energytag.proving import prove
from tests.overlay.kit import Chain, Clock

USER = "11111111-2222-4333-8444-555555555555"


async def proven_bundle(folder: Path) -> dict[str, Any]:
    chain = Chain(folder, clock := Clock())
    await chain.open()
    registry = RegistryNode(chain, SqliteStore(folder / "node.db", cache_mib=4), clock)
    await registry.open()
    await registry.populate()
    await registry.issue()
    await prove(registry)
    asked = GranularCertificateQuery(source_account_id=ACCOUNT, source_user_id=USER, include=["beef"])
    page = await query(registry.registry.ground, asked)
    await registry.close()
    await chain.close()
    return page.bundles[0]


async def test_the_typescript_sdk_verifies_a_timestamp_proof(run_script: Any, tmp_path: Path) -> None:
    bundle = await proven_bundle(tmp_path)
    told = run_script("timestamp_proof", bundle=bundle)
    assert told["verified"] is True
    assert told["blockHash"] == bundle["timestamp_proof"]["block_hash"]
    assert told["beefId"] == bundle["tx_id"]
    assert datetime.fromisoformat(told["time"]) == datetime.fromisoformat(bundle["timestamp_proof"]["block_time"])
