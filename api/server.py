"""The listening server: it listens before anything slow, and leaves when all requests are answered."""

from __future__ import annotations

import asyncio

import structlog
from aiohttp import web

from api.app import create_app
from api.lifecycle import Lifecycle, Phase
from api.ports import Node
from api.protocol import NodeProtocol

_BACKLOG = 1024
_LINGER_SECS = 5.0
_CLOSE_SECS = 2.0
log = structlog.get_logger("metawatt.server")


class Server:
    """One listening socket before one node.

    `start` listens, then starts the node; until that is done, routes that need it answer 503. `stop` lets
    go of the socket, answers what was asked already, within `settings.node.shutdown_secs`, and then stops
    the node."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._lifecycle = Lifecycle()
        self._runner = web.AppRunner(
            create_app(node, self._lifecycle),
            handle_signals=False,
            access_log=None,
            handler_cancellation=False,
            shutdown_timeout=_CLOSE_SECS,
        )
        self._listener: asyncio.Server | None = None

    @property
    def port(self) -> int:
        """The port that is listened on; RuntimeError before `listen`."""
        if self._listener is None:
            raise RuntimeError("the server does not listen")
        return int(self._listener.sockets[0].getsockname()[1])

    @property
    def ready(self) -> bool:
        return self._lifecycle.ready

    async def listen(self) -> None:
        """Take the port. Health and documentation are served from here on."""
        settings = self._node.settings
        await self._runner.setup()
        connections = self._runner.server
        assert connections is not None
        loop = asyncio.get_running_loop()

        def protocol() -> NodeProtocol:
            return NodeProtocol(
                connections,
                loop=loop,
                keepalive_timeout=settings.limits.keepalive_secs,
                lingering_time=_LINGER_SECS,
                access_log=None,  # type: ignore[arg-type]  # None is how aiohttp is told to write none
            )

        self._listener = await loop.create_server(
            protocol, settings.node.host, settings.node.port, backlog=_BACKLOG
        )
        log.info("listening", host=settings.node.host, port=self.port)

    async def start(self) -> None:
        """Listen, then start the node."""
        await self.listen()
        await self._node.start()
        self._lifecycle.phase = Phase.READY
        log.info("ready", port=self.port)

    async def stop(self) -> None:
        """Stop accepting, finish requests, stop the node. Harmless when called again."""
        self._lifecycle.phase = Phase.STOPPING
        if self._node.dev_chain is None:
            self._close_listener()
        timeout_secs = self._node.settings.node.shutdown_secs
        if not await self._lifecycle.drained(timeout_secs):
            log.warning("requests were cut off", under_way=self._lifecycle.in_flight, after_secs=timeout_secs)
        await self._node.stop()
        self._close_listener()
        await self._runner.cleanup()

    def _close_listener(self) -> None:
        """Accept nothing more. On the dev network this comes last: the node's own outbox is drained into
        the dev chain, which is served at this very port."""
        if self._listener is not None:
            self._listener.close()
        if self._runner.server is not None:
            self._runner.server.pre_shutdown()


async def serve(node: Node, stop: asyncio.Event) -> None:
    """Serve until `stop` is set; the caller turns signals into it."""
    server = Server(node)
    try:
        await server.start()
        await stop.wait()
    finally:
        await server.stop()
