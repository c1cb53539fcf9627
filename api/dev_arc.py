"""ARC's `/v1`, answered by the dev chain as ARC answers: its statuses, its numbers, its error objects."""

from __future__ import annotations

import re
from typing import Any, Final

import orjson
from aiohttp import web

from api.dev_route import dev_route
from api.limits import Bodies
from api.replies import json_reply
from api.route import Content, Parameter, Route
from config.errors import BadRequest, ErrorCode
from overlay.devchain import Callback, DevChain, Refusal, Report
from overlay.devchain.wire import status_body, timestamp
from overlay.transaction import txid_from_hex

_BASE: Final = "/dev/arc/v1"
_MAX_BATCH: Final = 1000
_HEX: Final = re.compile(r"[0-9a-fA-F]*")
_TITLES: Final = {
    400: "Bad request",
    404: "Not found",
    409: "Generic error",
    460: "Not extended format",
    461: "Malformed transaction",
    462: "Invalid inputs",
    463: "Malformed transaction",
    464: "Invalid outputs",
    465: "Fee too low",
    466: "Conflicting tx found",
    474: "Transaction size is too large",
}


class DevArcHandler:
    """ARC's `/v1`."""

    def __init__(self, chain: DevChain, bodies: Bodies) -> None:
        self._chain = chain
        self._bodies = bodies

    async def submit(self, request: web.Request) -> web.Response:
        body = await self._bodies.read(request)
        try:
            data = _one_transaction(body, _media(request))
            answer = await self._answer(data, _callback(request))
        except (Refusal, BadRequest) as error:
            answer = _problem(error)
        finally:
            self._bodies.release(len(body))
        return json_reply(answer, answer["status"])

    async def submit_many(self, request: web.Request) -> web.Response:
        body = await self._bodies.read(request)
        answers: list[dict[str, Any]] = []
        try:
            callback = _callback(request)
            for data in _transactions(body, _media(request)):
                try:
                    answers.append(await self._answer(data, callback))
                except Refusal as refusal:
                    answers.append(_problem(refusal))
        except BadRequest as error:
            return json_reply(_problem(error), 400)
        finally:
            self._bodies.release(len(body))
        return json_reply(answers)

    async def _answer(self, data: bytes, callback: Callback | None) -> dict[str, Any]:
        report = await self._chain.submit(data, callback)
        return status_body(report) | {"status": 200, "title": "OK"}

    async def status(self, request: web.Request) -> web.Response:
        report = await self._report(request.match_info["txid"])
        if report is None:
            return json_reply(_problem_body(404, "the transaction is not known"), 404)
        return json_reply(status_body(report))

    async def _report(self, text: str) -> Report | None:
        try:
            return await self._chain.status(txid_from_hex(text))
        except ValueError:
            return None

    async def policy(self, _request: web.Request) -> web.Response:
        policy = self._chain.policy
        return json_reply(
            {
                "timestamp": timestamp(self._chain.now_ms()),
                "policy": {
                    "maxscriptsizepolicy": policy.script_bytes,
                    "maxtxsigopscountspolicy": policy.sigops,
                    "maxtxsizepolicy": policy.transaction_bytes,
                    "miningFee": {"satoshis": policy.fee_rate, "bytes": 1000},
                    "standardFormatSupported": True,
                },
            }
        )

    async def health(self, _request: web.Request) -> web.Response:
        return json_reply({"healthy": True, "version": "metawatt-dev", "reason": None})

    def routes(self) -> tuple[Route, ...]:
        transaction = _transaction_content()
        txid = Parameter("txid", "path", "Display order.", {"type": "string"}, required=True)
        return (
            dev_route("POST", f"{_BASE}/tx", "devArcSubmit", "ARC: submit a transaction", self.submit, transaction),
            dev_route(
                "POST",
                f"{_BASE}/txs",
                "devArcSubmitMany",
                "ARC: submit transactions",
                self.submit_many,
                transaction,
            ),
            dev_route(
                "GET", f"{_BASE}/tx/{{txid}}", "devArcStatus", "ARC: a status", self.status, parameters=(txid,)
            ),
            dev_route("GET", f"{_BASE}/policy", "devArcPolicy", "ARC: the miner's policy", self.policy),
            dev_route("GET", f"{_BASE}/health", "devArcHealth", "ARC: health", self.health),
        )


def _transaction_content() -> Content:
    text = {"type": "string"}
    return Content(
        "Raw or extended (BRC-30).",
        {"application/json": {}, "text/plain": text, "application/octet-stream": text | {"format": "binary"}},
    )


def _media(request: web.Request) -> str:
    return request.content_type.lower()


def _callback(request: web.Request) -> Callback | None:
    url = request.headers.get("X-CallbackUrl")
    if not url:
        return None
    full = request.headers.get("X-FullStatusUpdates", "").lower() == "true"
    return Callback(url, request.headers.get("X-CallbackToken", ""), full)


def _one_transaction(body: bytes, media: str) -> bytes:
    if media == "application/octet-stream":
        return body
    if media == "text/plain":
        return _unhex(body.decode("ascii", "replace").strip(), "the transaction")
    return _raw_field(_json(body))


def _transactions(body: bytes, media: str) -> list[bytes]:
    """A batch: hex lines, or a JSON array of objects."""
    if media == "text/plain":
        items = [_unhex(line, "a transaction") for line in body.decode("ascii", "replace").split()]
    else:
        value = _json(body)
        items = [_raw_field(item) for item in value] if isinstance(value, list) else []
    if not 0 < len(items) <= _MAX_BATCH:
        raise BadRequest(f"a batch has 1 to {_MAX_BATCH} transactions")
    return items


def _raw_field(value: Any) -> bytes:
    if not isinstance(value, dict) or not isinstance(value.get("rawTx"), str):
        raise BadRequest("rawTx must be hex digits")
    return _unhex(value["rawTx"], "rawTx")


def _unhex(text: str, name: str) -> bytes:
    if len(text) % 2 or not _HEX.fullmatch(text):
        raise BadRequest(f"{name} must be hex digits")
    return bytes.fromhex(text)


def _json(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"the body is not JSON: {error}", ErrorCode.BAD_JSON) from None


def _problem(error: BadRequest) -> dict[str, Any]:
    """ARC's error object (RFC 7807)."""
    if isinstance(error, Refusal):
        txid = error.txid[::-1].hex() if error.txid else None
        return _problem_body(error.arc_status, error.message, txid, list(error.competing) or None)
    return _problem_body(400, error.message)


def _problem_body(
    status: int, reason: str, txid: str | None = None, competing: list[str] | None = None
) -> dict[str, Any]:
    return {
        "type": f"https://bitcoin-sv.github.io/arc/#/errors?id=_{status}",
        "title": _TITLES[status],
        "status": status,
        "detail": reason,
        "instance": None,
        "txid": txid,
        "extraInfo": reason,
        "competingTxs": competing,
    }
