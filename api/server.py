"""The listening server: it listens before anything slow, and leaves when all requests are answered."""

from __future__ import annotations

import asyncio

import structlog
from aiohttp import web

from api.app import EXPOSITION, create_app
from api.lifecycle import Lifecycle, Phase
from api.ports import Node
from api.protocol import NodeProtocol
from api.tally import Tally
from api.workers import worker_count

_BACKLOG = 1024
_LINGER_SECS = 2.0
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
        self._sharing: asyncio.Task[None] | None = None
        self._listener: asyncio.Server | None = None
        self._port: int | None = None

    @property
    def port(self) -> int:
        """The port that was taken; RuntimeError before `listen`."""
        if self._port is None:
            raise RuntimeError("the server has not listened yet")
        return self._port

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
            protocol,
            settings.node.host,
            settings.node.port,
            backlog=_BACKLOG,
            reuse_port=worker_count(settings) > 1 or None,
        )
        self._port = int(self._listener.sockets[0].getsockname()[1])
        self._lifecycle.port = self._port
        self._node.listening(self._port)
        log.info("listening", host=settings.node.host, port=self.port, primary=self._node.primary)

    async def start_node(self) -> None:
        """Start the node, and then take requests that need it."""
        await self._node.start()
        if worker_count(self._node.settings) > 1:
            self._share_counts()
        self._lifecycle.phase = Phase.READY
        log.info("ready", port=self._port, primary=self._node.primary)

    def _share_counts(self) -> None:
        """Let a scrape of any process tell of all."""
        exposition = self._runner.app[EXPOSITION]
        exposition.count(self._node)
        exposition.tally = Tally(self._node.settings.node.data_dir / "run", exposition.counts)
        if self._node.primary:
            exposition.tally.clear()
        self._sharing = asyncio.create_task(exposition.tally.keep())

    async def start(self) -> None:
        """Listen, then start the node."""
        await self.listen()
        await self.start_node()

    async def stop(self) -> None:
        """Turn new requests away, finish those under way, stop the node. A cancellation while requests are
        finished skips the rest of the waiting, and nothing else. A second call does nothing."""
        if self._lifecycle.phase is Phase.STOPPING:
            return
        self._lifecycle.phase = Phase.STOPPING
        if self._node.dev_chain is None:
            self._close_listener()
        try:
            await self._drain(self._node.settings.node.shutdown_secs)
        finally:
            if self._sharing is not None:
                self._sharing.cancel()
                await asyncio.gather(self._sharing, return_exceptions=True)
            await self._node.stop()
            self._close_listener()
            await self._runner.cleanup()

    async def _drain(self, timeout_secs: float) -> None:
        if not await self._lifecycle.drained(timeout_secs):
            log.warning("requests were cut off", under_way=self._lifecycle.in_flight, after_secs=timeout_secs)

    def _close_listener(self) -> None:
        """Accept nothing more. On the dev network this comes last: the node's own outbox is drained into
        the dev chain, which is served at this very port."""
        if self._listener is not None:
            self._listener.close()
        if self._runner.server is not None:
            self._runner.server.pre_shutdown()
