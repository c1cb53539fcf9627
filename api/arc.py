"""`POST /arc-ingest`: ARC tells what became of a transaction."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from api import schemas
from api.fields import index_field, read_object, text_field, txid_field
from api.limits import Bodies
from api.ports import Node
from api.replies import json_reply, success
from api.route import Access, Route, Tag, json_content
from config.errors import BadRequest, ErrorCode, NotFound
from overlay.chain import Broadcast, TxStatus

_TRANSACTION_UNKNOWN = "Could not find matching transaction outputs for proof ingest!"
_NO_PROOF_YET = {"status": "success", "message": "Transaction status noted, no proof yet"}


class ArcHandler:
    def __init__(self, node: Node, bodies: Bodies) -> None:
        self._node = node
        self._bodies = bodies

    async def ingest(self, request: web.Request) -> web.Response:
        status = read_status(await read_object(request, self._bodies))
        try:
            settled = await self._node.engine.ingest_status(status)
        except NotFound as error:
            raise NotFound(_TRANSACTION_UNKNOWN, error.code) from error
        return success("Transaction status updated") if settled else json_reply(_NO_PROOF_YET, 202)

    def routes(self) -> tuple[Route, ...]:
        done = json_content("Done.", schemas.ref("SuccessMessage"))
        return (
            Route(
                "POST",
                "/arc-ingest",
                "arcIngest",
                Tag.DATA_PLANE,
                "ARC's callback: a Merkle proof or a terminal status",
                self.ingest,
                description=(
                    "A proof is verified before it is stored; REJECTED and DOUBLE_SPEND_ATTEMPTED evict the "
                    "transaction. The token may also be shown in `x-callback-token`."
                ),
                body=json_content("What ARC says.", schemas.ref("ArcIngestRequest")),
                replies={
                    200: done,
                    202: json_content("Noted; there is no proof yet.", done.media["application/json"]),
                },
                errors=(400, 401, 408, 413, 415, 503),
                access=Access.CALLBACK,
                when_ready=True,
            ),
        )


def read_status(body: dict[str, Any]) -> Broadcast:
    """A callback's body. The reference's has no `txStatus`: a Merkle path alone says that it is mined."""
    path = _merkle_path(body)
    height = index_field(body, "blockHeight") if body.get("blockHeight") is not None else None
    named = text_field(body, "txStatus")
    if named is None and path is None:
        raise BadRequest("merklePath or txStatus is required")
    status = TxStatus.MINED if named is None else _status(named)
    competing = body.get("competingTxs") or []
    if not isinstance(competing, list):
        raise BadRequest("competingTxs must be an array")
    return Broadcast(
        txid_field(body),
        status,
        detail=text_field(body, "extraInfo") or "",
        merkle_path=path,
        block_height=height,
        competing_txids=tuple(map(str, competing)),
    )


def _merkle_path(body: dict[str, Any]) -> bytes | None:
    text = text_field(body, "merklePath")
    if not text:
        return None
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise BadRequest("merklePath must be a BUMP in hex", ErrorCode.MERKLE_PATH_INVALID) from None


def _status(name: str) -> TxStatus:
    """A status that this node does not know yet says as much as none."""
    try:
        return TxStatus(name)
    except ValueError:
        return TxStatus.UNKNOWN
