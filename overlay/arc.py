"""ARC's client: broadcasts transactions and asks what became of them."""

from __future__ import annotations

from typing import Any, Final

import aiohttp

from config.errors import Unavailable
from overlay.chain import Broadcast, TxStatus
from overlay.http_json import JsonService, bearer
from overlay.transaction import txid_from_hex
from overlay.wire import parse_sent

_CONFLICT: Final = 466
_NOT_JUDGED: Final = (404, 408, 409)
"""ARC's statuses that say nothing of the transaction: no such route, too slow, and its "generic error"."""
_MAX_COMPETING: Final = 100
_MAX_DETAIL_CHARS: Final = 2000


class ArcClient:
    """`overlay.chain.Broadcaster` over HTTP. `url` is the base before `/v1`."""

    def __init__(
        self,
        url: str,
        api_key: str | None = None,
        callback_url: str | None = None,
        callback_token: str | None = None,
        timeout_secs: float = 10,
        session: aiohttp.ClientSession | None = None,
    ) -> None:
        headers = bearer(api_key)
        if callback_url:
            headers["X-CallbackUrl"] = callback_url
        if callback_url and callback_token:
            headers["X-CallbackToken"] = callback_token
        self._service = JsonService("ARC", url, headers, timeout_secs, session)

    async def broadcast(self, transaction: bytes) -> Broadcast:
        """See `Broadcaster.broadcast`. ARC's 46x and other refusals come back as REJECTED, a conflict with
        what is mined as DOUBLE_SPEND_ATTEMPTED; `BadRequest` when these bytes are no transaction."""
        txid = parse_sent(transaction)[0].txid
        reply = await self._service.ask("POST", "/v1/tx", json={"rawTx": transaction.hex()})
        if not isinstance(reply.value, dict) or reply.status in _NOT_JUDGED:
            raise Unavailable(f"ARC answers {reply.status} without a judgement")
        if 200 <= reply.status < 300 and "txStatus" in reply.value:
            return _read(reply.value, txid)
        status = int(reply.value.get("status") or reply.status) if reply.status < 300 else reply.status
        return _refused(reply.value, status, txid)

    async def status(self, txid: bytes) -> Broadcast | None:
        """See `Broadcaster.status`."""
        reply = await self._service.ask("GET", f"/v1/tx/{txid[::-1].hex()}")
        if reply.status == 404:
            return None
        if reply.status != 200 or not isinstance(reply.value, dict):
            raise Unavailable(f"ARC answers {reply.status}")
        return _read(reply.value, txid)

    async def close(self) -> None:
        await self._service.close()


def _read(body: dict[str, Any], txid: bytes) -> Broadcast:
    """ARC's JSON; `Unavailable` when it speaks of another transaction, or not as ARC does."""
    try:
        if txid_from_hex(body["txid"]) != txid:
            raise Unavailable("ARC answers for another transaction")
        path = body.get("merklePath") or ""
        return Broadcast(
            txid,
            _status(body["txStatus"]),
            str(body.get("extraInfo") or "")[:_MAX_DETAIL_CHARS],
            bytes.fromhex(path) or None,
            int(body["blockHeight"]) if body.get("blockHeight") else None,
            tuple(map(str, (body.get("competingTxs") or ())[:_MAX_COMPETING])),
        )
    except (KeyError, ValueError, TypeError) as error:
        raise Unavailable(f"ARC's answer cannot be read: {error!r}") from error


def _status(name: str) -> TxStatus:
    """A status that is not known here says as much as none."""
    try:
        return TxStatus(name)
    except ValueError:
        return TxStatus.UNKNOWN


def _refused(body: dict[str, Any], status: int, txid: bytes) -> Broadcast:
    parts = [str(body[name]) for name in ("title", "detail", "extraInfo") if body.get(name)]
    detail = f"ARC {status}: {'; '.join(parts)}"[:_MAX_DETAIL_CHARS]
    competing = body.get("competingTxs") or ()
    names = tuple(map(str, competing[:_MAX_COMPETING])) if isinstance(competing, list) else ()
    outcome = TxStatus.DOUBLE_SPEND_ATTEMPTED if status == _CONFLICT else TxStatus.REJECTED
    return Broadcast(txid, outcome, detail, competing_txids=names)
