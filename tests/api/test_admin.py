"""What the operator may do."""

from __future__ import annotations

from typing import Any

import pytest

from overlay.conflicts import ConflictLog

GC = "tm_metawatt_gc"


async def test_config_is_public(running: Any) -> None:
    reply = await running.get("/admin/config")
    assert reply.json() == {"adminIdentityKey": running.node.identity.hex(), "nodeName": "metawatt"}


async def test_stats(running: Any) -> None:
    data = (await running.admin("GET", "/admin/stats")).json()["data"]
    assert data["nodeName"] == "metawatt"
    assert data["network"] == "dev"
    assert GC in data["topicManagers"]
    assert "ls_metawatt" in data["lookupServices"]
    assert data["uptime"] >= 0
    assert data["startedAt"].endswith("Z")


async def found(running: Any) -> int:
    return len((await running.lookup({})).json()["outputs"])


async def test_evict_takes_it_out_of_the_index_and_reindex_puts_it_back(running: Any) -> None:
    certificate = await running.certificate()
    await running.submit(certificate.beef)
    assert await found(running) == 1
    reply = await running.admin(
        "POST", "/admin/evictOutpoint", json={"txid": certificate.txid_hex, "outputIndex": 0}
    )
    assert reply.json() == {"status": "success", "message": "Outpoint evicted"}
    assert await found(running) == 0
    reply = await running.admin("POST", "/admin/reindex", json={"service": "ls_metawatt"})
    assert reply.status == 200
    assert reply.json()["data"]["outputs"] >= 1
    assert await found(running) == 1


async def test_remove_token(running: Any) -> None:
    certificate = await running.certificate()
    await running.submit(certificate.beef)
    reply = await running.admin(
        "POST", "/admin/remove-token", json={"txid": certificate.txid_hex, "outputIndex": 0}
    )
    assert reply.json()["message"] == f"Token {certificate.txid_hex}.0 removed."
    assert await found(running) == 0
    await running.admin("POST", "/admin/reindex", json={})
    assert await found(running) == 0


async def test_double_spends_and_evictions_are_shown(running: Any) -> None:
    certificate = await running.certificate()
    await running.submit(certificate.beef)
    txid = bytes.fromhex(certificate.txid_hex)[::-1]
    await ConflictLog(running.node.store, lambda: 1_780_000_000_000).record(
        b"\x01" * 32, {txid + bytes(4): b"\x02" * 32}
    )
    await running.node.engine.remove_output(txid, 0)
    conflicts = (await running.admin("GET", "/admin/conflicts")).json()["data"]["records"]
    assert conflicts == [
        {
            "txid": "01" * 32,
            "outpoint": f"{certificate.txid_hex}.0",
            "spentBy": "02" * 32,
            "seenAt": "2026-05-28T20:26:40.000Z",
        }
    ]
    (eviction,) = (await running.admin("GET", "/admin/evictions")).json()["data"]["records"]
    assert eviction["txid"] == certificate.txid_hex
    assert eviction["reason"] == "removed by an operator"


async def test_proofs_are_fetched_when_asked(running: Any) -> None:
    certificate = await running.certificate()
    await running.submit(certificate.beef)
    reply = await running.admin("POST", "/admin/refreshUnprovenProofs")
    assert reply.status == 200
    assert all(isinstance(number, int) for number in reply.json()["data"].values())


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        ("/admin/evictOutpoint", {}, "ERR_BAD_REQUEST"),
        ("/admin/evictOutpoint", {"txid": "zz" * 32, "outputIndex": 0}, "ERR_BAD_REQUEST"),
        ("/admin/evictOutpoint", {"txid": "00" * 31, "outputIndex": 0}, "ERR_BAD_REQUEST"),
        ("/admin/evictOutpoint", {"txid": "00" * 32, "outputIndex": -1}, "ERR_BAD_REQUEST"),
        ("/admin/evictOutpoint", {"txid": "00" * 32, "outputIndex": True}, "ERR_BAD_REQUEST"),
        ("/admin/evictOutpoint", {"txid": "00" * 32, "outputIndex": 2**32}, "ERR_BAD_REQUEST"),
        (
            "/admin/evictOutpoint",
            {"txid": "00" * 32, "outputIndex": 0, "service": "ls_x"},
            "ERR_LOOKUP_SERVICE_UNKNOWN",
        ),
        ("/admin/remove-token", {"txid": "00" * 32, "outputIndex": 0, "ban": True}, "ERR_BAD_REQUEST"),
        ("/admin/reindex", {"service": "ls_x"}, "ERR_LOOKUP_SERVICE_UNKNOWN"),
        ("/admin/reindex", [], "ERR_BAD_REQUEST"),
    ],
)
async def test_refusals(running: Any, path: str, body: Any, code: str) -> None:
    reply = await running.admin("POST", path, json=body)
    assert (reply.status, reply.json()["code"]) == (400, code)


async def test_a_ban_that_cannot_be_made_removes_nothing(running: Any) -> None:
    certificate = await running.certificate()
    await running.submit(certificate.beef)
    target = {"txid": certificate.txid_hex, "outputIndex": 0, "banDomain": True}
    assert (await running.admin("POST", "/admin/remove-token", json=target)).status == 400
    assert await found(running) == 1
