"""`POST /lookup`: a question to a lookup service (BRC-24)."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import orjson
from aiohttp import web
from multidict import CIMultiDict

from api import schemas
from api.answer import binary_chunks, json_chunks, too_large
from api.fields import read_json
from api.limits import Bodies, Gate
from api.ports import Node
from api.replies import BINARY_HEADERS, JSON_HEADERS, OWN_ID, REQUEST_ID, json_bytes
from api.route import Content, Parameter, Route, Tag, json_content
from config.errors import BadRequest, ErrorCode, NotFound
from overlay.lookup_service import Freeform

# Answers up to this size are sent whole, larger ones piece by piece at the reader's pace.
_WHOLE_BYTES: Final = 256 * 1024
_PIECE_BYTES: Final = 64 * 1024


class LookupHandler:
    """Asks the engine within the gate, and writes the answer in the form that was asked for."""

    def __init__(self, node: Node, bodies: Bodies, gate: Gate) -> None:
        self._node = node
        self._bodies = bodies
        self._gate = gate
        self._limit_bytes = node.settings.limits.response_bytes
        self._stall_secs = node.settings.limits.body_timeout_secs

    async def lookup(self, request: web.Request) -> web.StreamResponse:
        service, query = question(await read_json(request, self._bodies))
        engine = self._node.engine
        if service not in engine.lookup_services:
            # The blank at the end is the reference's.
            raise NotFound(f"Lookup service not found for provider: {service} ", ErrorCode.LOOKUP_SERVICE_UNKNOWN)
        async with self._gate:
            answer = await engine.lookup(service, query)
            if isinstance(answer, Freeform):
                return self._freeform(answer)
            aggregated = request.headers.get("x-aggregation") == "yes"
            chunks = await (binary_chunks if aggregated else json_chunks)(answer, self._limit_bytes)
        return await self._send(request, chunks, BINARY_HEADERS if aggregated else JSON_HEADERS)

    def _freeform(self, answer: Freeform) -> web.Response:
        body = orjson.dumps({"type": "freeform", "outputs": [], "result": answer.result})
        if len(body) > self._limit_bytes:
            raise too_large(self._limit_bytes)
        return json_bytes(body)

    async def _send(
        self, request: web.Request, chunks: list[bytes], headers: CIMultiDict[str]
    ) -> web.StreamResponse:
        size = sum(map(len, chunks))
        if size <= _WHOLE_BYTES:
            return web.Response(body=b"".join(chunks), headers=headers)
        response = web.StreamResponse(headers=headers)
        response.headers[REQUEST_ID] = request[OWN_ID]
        response.content_length = size
        await response.prepare(request)
        await self._stream(request, response, chunks)
        return response

    async def _stream(self, request: web.Request, response: web.StreamResponse, chunks: list[bytes]) -> None:
        """Send at the reader's pace; one who does not read for the time of a body is cut off."""
        for chunk in chunks:
            for start in range(0, len(chunk), _PIECE_BYTES):
                try:
                    async with asyncio.timeout(self._stall_secs):
                        await response.write(chunk[start : start + _PIECE_BYTES])
                except TimeoutError:
                    if request.transport is not None:
                        request.transport.abort()
                    raise ConnectionResetError("the client does not read its answer") from None

    def routes(self) -> tuple[Route, ...]:
        return (
            Route(
                "POST",
                "/lookup",
                "lookupOutputs",
                Tag.DATA_PLANE,
                "Query a lookup service",
                self.lookup,
                description=_DESCRIPTION,
                parameters=(_AGGREGATION,),
                body=json_content("The question.", schemas.ref("LookupRequest")),
                replies={200: _ANSWER},
                errors=(400, 408, 413, 415, 429, 503),
                when_ready=True,
                quiet=True,
            ),
        )


def question(body: Any) -> tuple[str, Any]:
    """The service and the query of a lookup's body."""
    service = body.get("service") if isinstance(body, dict) else None
    if not isinstance(service, str) or "query" not in body:
        raise BadRequest('Invalid request: body must contain "service" (string) and "query" fields')
    return service, body["query"]


_DESCRIPTION = """\
With `x-aggregation: yes` the answer is binary:
`VarInt n`, n times `txid (32 bytes, display order) · VarInt outputIndex · VarInt length · context`, then one
BEEF V2 (BRC-96) over all outputs. A JSON answer that has more to tell carries a `cursor`."""
_AGGREGATION = Parameter(
    "x-aggregation", "header", "`yes` for the binary answer.", {"type": "string", "enum": ["yes"]}
)
_ANSWER = Content(
    "The outputs found, or a free-form answer.",
    {"application/json": schemas.ref("LookupAnswer"), **schemas.BINARY},
)
