"""ARC's callback: proofs, terminal statuses, and what is neither."""

from __future__ import annotations

from typing import Any

import pytest

from api.arc import read_status
from config.errors import BadRequest
from overlay.chain import TxStatus

TXID = "01" + "00" * 31


async def tell(running: Any, body: Any) -> Any:
    return await running.post("/arc-ingest", body, headers={"x-callback-token": running.node.callback_token})


async def proof_of(running: Any, txid_hex: str) -> dict[str, Any]:
    """What ARC says of a transaction."""
    reply = await running.get(f"/dev/arc/v1/tx/{txid_hex}")
    return dict(reply.json())


@pytest.mark.parametrize(
    ("body", "status", "height"),
    [
        ({"txid": TXID, "merklePath": "fe", "blockHeight": 7}, TxStatus.MINED, 7),
        ({"txid": TXID, "txStatus": "SEEN_ON_NETWORK"}, TxStatus.SEEN_ON_NETWORK, None),
        ({"txid": TXID, "txStatus": "SEEN_SOMEWHERE_NEW", "merklePath": None}, TxStatus.UNKNOWN, None),
        ({"txid": TXID, "txStatus": "REJECTED", "extraInfo": "fee", "competingTxs": None}, TxStatus.REJECTED, None),
    ],
)
def test_statuses(body: dict[str, Any], status: TxStatus, height: int | None) -> None:
    read = read_status(body)
    assert (read.txid, read.status, read.block_height) == (bytes(31) + b"\x01", status, height)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"txid": TXID},
        {"txid": TXID, "merklePath": ""},
        {"txid": TXID, "merklePath": "zz"},
        {"txid": TXID, "merklePath": 1},
        {"txid": "01", "merklePath": "00"},
        {"txid": TXID, "merklePath": "00", "blockHeight": -1},
        {"txid": TXID, "txStatus": "MINED", "competingTxs": "x"},
    ],
)
def test_what_is_no_status(body: dict[str, Any]) -> None:
    with pytest.raises(BadRequest):
        read_status(body)


async def test_an_unknown_transaction_as_the_reference_says(running: Any) -> None:
    reply = await tell(running, {"txid": TXID, "txStatus": "REJECTED"})
    assert reply.status == 400
    assert reply.json() == {
        "status": "error",
        "message": "Could not find matching transaction outputs for proof ingest!",
        "code": "ERR_TRANSACTION_UNKNOWN",
    }


async def test_no_proof_yet_is_202(running: Any) -> None:
    certificate = await running.certificate()
    await running.submit(certificate.beef)
    reply = await tell(running, {"txid": certificate.txid_hex, "txStatus": "SEEN_ON_NETWORK"})
    assert (reply.status, reply.json()["status"]) == (202, "success")


async def test_a_proof_is_taken_once_verified(launch: Any) -> None:
    running = await launch(engine={"broadcast": False, "proof_poll_secs": 3600})
    certificate = await running.certificate()
    await running.submit(certificate.beef)
    extended = certificate.extended.hex()
    assert (await running.post("/dev/arc/v1/tx", {"rawTx": extended})).status == 200
    assert (await running.post("/dev/mine", {"blocks": 1})).status == 200
    proof = await proof_of(running, certificate.txid_hex)
    body = {key: proof[key] for key in ("txid", "merklePath", "blockHeight")}
    forged = bytearray.fromhex(body["merklePath"])
    forged[-1] ^= 1
    refused = await tell(running, {**body, "merklePath": bytes(forged).hex()})
    assert refused.status == 400
    assert refused.json()["code"] in (
        "ERR_MERKLE_PATH_INVALID",
        "ERR_MERKLE_ROOT_UNKNOWN",
        "ERR_ENVELOPE_MALFORMED",
    )
    reply = await tell(running, body)
    assert reply.json() == {"status": "success", "message": "Transaction status updated"}


async def test_a_terminal_status_evicts(running: Any) -> None:
    certificate = await running.certificate()
    await running.submit(certificate.beef)
    assert (await tell(running, {"txid": certificate.txid_hex, "txStatus": "REJECTED"})).status == 200
    assert (await running.lookup({})).json()["outputs"] == []
