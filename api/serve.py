"""Serving: the first process with its server and its crew, and what each further process runs."""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
from collections.abc import Coroutine, Sequence
from multiprocessing.connection import Connection
from typing import Any, Final

import uvloop

from api import ports
from api.node import Node
from api.server import Server
from api.workers import Crew
from config.logging import configure_logging
from config.processors import keep_to
from config.settings import Settings

SWITCH_INTERVAL_SECS: Final = 0.002
"""The store's threads hand results to the event loop thousands of times a second; at the usual 5 ms the loop
would keep them waiting for the interpreter."""
_COLLECT_AFTER_OBJECTS: Final = 20_000


async def serve(node: ports.Node, stop: asyncio.Event, places: Sequence[int] = ()) -> None:
    """Serve until `stop` is set, also while the node is still starting; the caller turns signals into it.
    A node whose start fails is stopped as well. `places` are processors for its processes to keep to; the first
    one keeps to its own already."""
    server = Server(node)
    crew = Crew(node.settings, run_worker, places)
    try:
        await server.listen()
        await _until(stop, server.start_node())
        spare_collector()
        if not stop.is_set():
            crew.start(server.port)
        await stop.wait()
    finally:
        await crew.stop()
        await server.stop()


def spare_collector() -> None:
    """Let the garbage collector pass over what lives as long as the process, and come less often: submissions
    leave hardly any cycles behind."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER_OBJECTS, 20, 20)


async def _until(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> None:
    """Do the work, or give it up when told to stop."""
    working = asyncio.create_task(work)
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        if not working.done():
            working.cancel()
        await asyncio.wait((working,))
    if not working.cancelled():
        working.result()


def run_worker(settings: Settings, port: int, parent: Connection, places: Sequence[int], number: int) -> None:
    """A worker's process: serve until told to stop, or until the first process is gone."""
    keep_to(places, number)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    configure_logging(settings.log)
    sys.setswitchinterval(SWITCH_INTERVAL_SECS)
    own = settings.model_copy(update={"node": settings.node.model_copy(update={"port": port})})
    uvloop.run(_work(own, parent))


async def _work(settings: Settings, parent: Connection) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    # Nothing is ever sent: the pipe becomes readable when the first process ends.
    loop.add_reader(parent.fileno(), stop.set)
    server = Server(Node(settings, primary=False))
    try:
        await server.start_node()
        spare_collector()
        await server.listen()
        await stop.wait()
    finally:
        await server.stop()
