"""The Block Headers Service's `/api/v1/chain`, answered by the dev chain as that service answers."""

from __future__ import annotations

from typing import Any, Final

import orjson
from aiohttp import web

from api.dev_route import dev_route
from api.fields import JSON_BYTES
from api.limits import Bodies
from api.replies import json_reply
from api.route import Parameter, Route, json_content
from overlay.chain import Header
from overlay.devchain import DevChain
from overlay.devchain.block import header_time
from overlay.transaction import txid_from_hex

_BASE: Final = "/dev/headers/api/v1/chain"
_MAX_HEADERS: Final = 2000
_MAX_ROOTS: Final = 2000


class DevHeadersHandler:
    """The Block Headers Service's `/api/v1/chain`."""

    def __init__(self, chain: DevChain, bodies: Bodies) -> None:
        self._chain = chain
        self._bodies = bodies

    async def tip(self, _request: web.Request) -> web.Response:
        return json_reply(_state(self._chain.tip, longest=True))

    async def tips(self, _request: web.Request) -> web.Response:
        return json_reply([_state(self._chain.tip, longest=True)])

    async def by_height(self, request: web.Request) -> web.Response:
        height, count = _query_number(request, "height"), _query_number(request, "count", 1)
        if height is None or count is None:
            return _told("height and count must be numbers")
        headers = await self._chain.headers(height, max(1, min(count, _MAX_HEADERS)))
        if not headers:
            return _told("could not find headers in given range")
        return json_reply([_header(header) for header in headers])

    async def by_hash(self, request: web.Request) -> web.Response:
        found = await self._find(request.match_info["hash"])
        return json_reply(_header(found[0])) if found else _told("could not find hash")

    async def state(self, request: web.Request) -> web.Response:
        found = await self._find(request.match_info["hash"])
        return json_reply(_state(*found)) if found else _told("could not find hash")

    async def _find(self, text: str) -> tuple[Header, bool] | None:
        try:
            return await self._chain.header(txid_from_hex(text))
        except ValueError:
            return None

    async def roots(self, request: web.Request) -> web.Response:
        size, last = _query_number(request, "batchSize", _MAX_ROOTS), _query_number(request, "lastEvaluatedKey", -1)
        if size is None or last is None:
            return _told("batchSize and lastEvaluatedKey must be numeric values")
        headers = await self._chain.headers(last + 1, max(1, min(size, _MAX_ROOTS)))
        content = [{"merkleRoot": h.merkle_root[::-1].hex(), "blockHeight": h.height} for h in headers]
        end = headers[-1].height if headers and headers[-1].height < self._chain.tip.height else None
        page = {"totalElements": self._chain.tip.height + 1, "size": len(content), "lastEvaluatedKey": end}
        return json_reply({"content": content, "page": page})

    async def verify_roots(self, request: web.Request) -> web.Response:
        body = await self._bodies.read(request, JSON_BYTES)
        try:
            asked = _asked_roots(body)
        finally:
            self._bodies.release(len(body))
        if asked is None:
            return _told("at least one merkleroot is required, each with its blockHeight")
        confirmations = [await self._confirmation(root, height) for root, height in asked]
        states = {item["confirmation"] for item in confirmations}
        overall = next((s for s in ("INVALID", "UNABLE_TO_VERIFY") if s in states), "CONFIRMED")
        return json_reply({"confirmationState": overall, "confirmations": confirmations})

    async def _confirmation(self, root: str, height: int) -> dict[str, Any]:
        found = await self._chain.headers(height, 1) if height <= self._chain.tip.height else []
        digest = found[0].hash[::-1].hex() if found else ""
        state = "UNABLE_TO_VERIFY"
        if found:
            state = "CONFIRMED" if found[0].merkle_root[::-1].hex() == root.lower() else "INVALID"
        return {"blockHash": digest, "blockHeight": height, "merkleRoot": root, "confirmation": state}

    def routes(self) -> tuple[Route, ...]:
        digest = Parameter("hash", "path", "Display order.", {"type": "string"}, required=True)
        number = {"type": "integer"}
        heights = (
            Parameter("height", "query", "The first height.", number, required=True),
            Parameter("count", "query", "How many.", number),
        )
        pages = (
            Parameter("batchSize", "query", "How many.", number),
            Parameter("lastEvaluatedKey", "query", "The last height that was seen.", number),
        )
        roots = json_content("Roots and heights.", {"type": "array"})
        return (
            dev_route("GET", f"{_BASE}/tip/longest", "devTip", "Headers service: the tip", self.tip),
            dev_route("GET", f"{_BASE}/tip", "devTips", "Headers service: all tips", self.tips),
            dev_route(
                "GET",
                f"{_BASE}/header/byHeight",
                "devHeadersByHeight",
                "Headers service: headers by height",
                self.by_height,
                parameters=heights,
            ),
            dev_route(
                "GET",
                f"{_BASE}/header/state/{{hash}}",
                "devHeaderState",
                "Headers service: a header and its state",
                self.state,
                parameters=(digest,),
            ),
            dev_route(
                "GET",
                f"{_BASE}/header/{{hash}}",
                "devHeader",
                "Headers service: a header",
                self.by_hash,
                parameters=(digest,),
            ),
            dev_route(
                "GET",
                f"{_BASE}/merkleroot",
                "devMerkleRoots",
                "Headers service: Merkle roots",
                self.roots,
                parameters=pages,
            ),
            dev_route(
                "POST",
                f"{_BASE}/merkleroot/verify",
                "devVerifyMerkleRoots",
                "Headers service: verify Merkle roots",
                self.verify_roots,
                roots,
            ),
        )


def _query_number(request: web.Request, name: str, default: int | None = None) -> int | None:
    text = request.query.get(name)
    if text is None:
        return default
    try:
        return max(-1, min(int(text), 2**31))
    except ValueError:
        return None


def _asked_roots(body: bytes) -> list[tuple[str, int]] | None:
    try:
        asked = [(item["merkleRoot"], item["blockHeight"]) for item in orjson.loads(body)]
    except (orjson.JSONDecodeError, TypeError, KeyError):
        return None
    sound = all(isinstance(root, str) and type(height) is int and height >= 0 for root, height in asked)
    return asked if sound and 0 < len(asked) <= _MAX_ROOTS else None


def _told(reason: str) -> web.Response:
    """The headers service's errors: 400 and a JSON string, whatever is wrong."""
    return json_reply(reason, 400)


def _header(header: Header) -> dict[str, Any]:
    version, bits, nonce = (int.from_bytes(header.raw[at : at + 4], "little") for at in (0, 72, 76))
    return {
        "hash": header.hash[::-1].hex(),
        "version": version,
        "prevBlockHash": header.previous[::-1].hex(),
        "merkleRoot": header.merkle_root[::-1].hex(),
        "creationTimestamp": header_time(header),
        "difficultyTarget": bits,
        "nonce": nonce,
        "work": "2",
    }


def _state(header: Header, longest: bool) -> dict[str, Any]:
    return {
        "header": _header(header),
        "state": "LONGEST_CHAIN" if longest else "STALE",
        "chainWork": str(2 * (header.height + 1)),
        "height": header.height,
    }
