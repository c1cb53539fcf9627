"""The embedded cluster on ports of its own, as a validator has them: JSON-RPC, and WebSocket one port higher."""

from __future__ import annotations

import socket
from typing import Final

from aiohttp import hdrs, web

from api.errors import error_reply
from api.limits import Bodies
from api.replies import text_reply
from api.solana.handler import SolanaHandler
from bridge.cluster.cluster import Cluster
from bridge.cluster.rpc.limits import BODY_MOST_BYTES
from bridge.cluster.rpc.service import Service
from config.errors import MetawattError

_BODIES_MOST_BYTES: Final = 64 * BODY_MOST_BYTES
_BODY_TIMEOUT_SECS: Final = 20.0
_CLOSE_SECS: Final = 2.0
_BACKLOG: Final = 1024
_FREE_PORT_TRIES: Final = 20


class SolanaServer:
    """Serves an open cluster at `host`. Both ports take calls and upgrades, at `/`.

    Port 0 takes two free ports that follow each other: many clients take the WebSocket to be one port above.
    """

    def __init__(self, cluster: Cluster, host: str = "127.0.0.1", port: int = 8899) -> None:
        self.service = Service(cluster)
        self._host = host
        self._port = port
        self._handler = SolanaHandler(self.service, Bodies(BODY_MOST_BYTES, _BODIES_MOST_BYTES, _BODY_TIMEOUT_SECS))
        app = web.Application(client_max_size=BODY_MOST_BYTES)
        app.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(app, handle_signals=False, access_log=None, shutdown_timeout=_CLOSE_SECS)

    @property
    def rpc_url(self) -> str:
        return f"http://{self._authority(self._port)}"

    @property
    def ws_url(self) -> str:
        return f"ws://{self._authority(self._port + 1)}"

    async def start(self) -> None:
        """Listen. OSError when the ports cannot be had."""
        await self._runner.setup()
        sockets = _two_ports(self._host, self._port)
        self._port = int(sockets[0].getsockname()[1])
        for each in sockets:
            await web.SockSite(self._runner, each, backlog=_BACKLOG).start()
        self.service.start()

    async def stop(self) -> None:
        """End the subscriptions, answer what was asked, and let go of the ports."""
        self.service.stop()
        await self._runner.cleanup()

    def _authority(self, port: int) -> str:
        return f"[{self._host}]:{port}" if ":" in self._host else f"{self._host}:{port}"

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        if request.method == hdrs.METH_POST:
            return await self._handler.call(request)
        if request.method == hdrs.METH_OPTIONS:
            return text_reply("", "text/plain")
        if request.path == "/health":
            return text_reply("ok", "text/plain")
        try:
            return await self._handler.listen(request)
        except MetawattError as error:
            return error_reply(error)


def _two_ports(host: str, port: int) -> list[socket.socket]:
    """Sockets bound to a port and the next one."""
    for _ in range(_FREE_PORT_TRIES):
        first = _bound(host, port)
        try:
            return [first, _bound(host, int(first.getsockname()[1]) + 1)]
        except (OSError, OverflowError):
            first.close()
            if port:
                raise
    raise OSError("no two free ports follow each other")


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=_BACKLOG)
