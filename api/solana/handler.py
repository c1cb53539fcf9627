"""Solana's JSON-RPC over HTTP, and its notices over WebSocket."""

from __future__ import annotations

import asyncio
from typing import Final

import orjson
from aiohttp import WSMsgType, web

from api.errors import error_reply
from api.limits import Bodies
from api.replies import json_bytes
from api.solana.line import Line
from bridge.cluster.refusals import AnswerLost
from bridge.cluster.rpc.faults import RpcCode, RpcFault
from bridge.cluster.rpc.limits import BODY_MOST_BYTES, CONNECTIONS_MOST, MESSAGE_MOST_BYTES
from bridge.cluster.rpc.service import Service
from bridge.cluster.rpc.session import Session
from config.errors import BadRequest, Busy, ErrorCode, MetawattError

_HEARTBEAT_SECS: Final = 30.0
_CLOSE_SECS: Final = 2.0
_MESSAGES: Final = frozenset({WSMsgType.TEXT, WSMsgType.BINARY})


class SolanaHandler:
    """The embedded cluster at one path: POST is JSON-RPC, an upgrade is a WebSocket."""

    def __init__(self, service: Service, bodies: Bodies) -> None:
        self._service = service
        self._bodies = bodies.larger(BODY_MOST_BYTES)

    async def call(self, request: web.Request) -> web.StreamResponse:
        """JSON-RPC: 200 whatever the calls come to, and a JSON-RPC error of another status for a body that
        cannot be read."""
        try:
            body = await self._bodies.read(request)
        except MetawattError as error:
            return _unreadable(error)
        try:
            return json_bytes(await self._service.answer(body))
        except AnswerLost:
            return _lost(request)
        finally:
            self._bodies.release(len(body))

    async def listen(self, request: web.Request) -> web.StreamResponse:
        """A WebSocket, until either side ends it."""
        socket = web.WebSocketResponse(
            timeout=_CLOSE_SECS,
            heartbeat=_HEARTBEAT_SECS,
            compress=False,
            max_msg_size=MESSAGE_MOST_BYTES,
            decode_text=False,
        )
        if not socket.can_prepare(request).ok:
            raise BadRequest(f"{request.path} takes POST, or a WebSocket", ErrorCode.METHOD_NOT_ALLOWED)
        if self._service.notices.connections >= CONNECTIONS_MOST:
            raise Busy("Too many subscribers at once", ErrorCode.OVERLOADED, 1.0)
        await socket.prepare(request)
        await self._converse(socket, Line(socket, request.transport))
        return socket

    async def _converse(self, socket: web.WebSocketResponse, line: Line) -> None:
        notices = self._service.notices
        session = Session(notices, line.put)
        writing = asyncio.create_task(line.write(), name="solana notices")
        notices.join(line.cut)
        try:
            async for message in socket:
                if message.type in _MESSAGES:
                    await session.take(message.data)
        finally:
            session.end()
            notices.leave(line.cut)
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)


def _unreadable(error: MetawattError) -> web.Response:
    """The status that the error has elsewhere, with a body that clients of JSON-RPC can read."""
    fault = RpcFault(RpcCode.INVALID_REQUEST, str(error)).body()
    status = error_reply(error).status
    return json_bytes(orjson.dumps({"jsonrpc": "2.0", "error": fault, "id": None}), status)


def _lost(request: web.Request) -> web.Response:
    """The client sees its connection break, as when a real answer is lost on the way."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=503)
