"""What goes out on one WebSocket: a bounded queue, and an end for clients that do not read."""

from __future__ import annotations

import asyncio
from typing import Final

import structlog
from aiohttp import WSCloseCode, WSMsgType, web

from bridge.cluster.rpc.limits import WAITING_MOST_NOTICES

_GOING: Final = None
log = structlog.get_logger("metawatt.solana")


class Line:
    """Replies and notices of a connection, written in their order by `write`."""

    def __init__(self, socket: web.WebSocketResponse, transport: asyncio.BaseTransport | None) -> None:
        self._socket = socket
        self._transport = transport
        self._waiting: asyncio.Queue[bytes | None] = asyncio.Queue(WAITING_MOST_NOTICES)

    def put(self, message: bytes) -> None:
        """Send a message. A client that leaves too many unread is cut off."""
        try:
            self._waiting.put_nowait(message)
        except asyncio.QueueFull:
            log.warning("slow subscriber cut off", waiting=self._waiting.qsize())
            self._abort()

    def cut(self) -> None:
        """End the connection after what is waiting, at once when that is too much."""
        try:
            self._waiting.put_nowait(_GOING)
        except asyncio.QueueFull:
            self._abort()

    async def write(self) -> None:
        """Write what is put, until the connection ends."""
        try:
            while (message := await self._waiting.get()) is not _GOING:
                await self._socket.send_frame(message, WSMsgType.TEXT)
            await self._socket.close(code=WSCloseCode.GOING_AWAY)
        except ConnectionError:
            # The client is gone; whoever reads from it ends the rest.
            return

    def _abort(self) -> None:
        if isinstance(self._transport, asyncio.WriteTransport):
            self._transport.abort()
