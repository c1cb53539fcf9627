"""`metawatt serve`: the node as a process."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import structlog
import uvloop

from api.node import Node
from api.serve import SWITCH_INTERVAL_SECS, serve
from api.workers import places
from config.load import SettingsInvalid
from config.logging import configure_logging
from config.occupied import occupying
from config.processors import keep_to
from config.settings import Settings

_BUSY = "`metawatt reindex` is at work there; start the node when it is done"
_ADDRESS_FAULTS = frozenset({errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES, errno.EPERM})

log = structlog.get_logger("metawatt.cli")


def run(settings: Settings) -> None:
    """Serve until a signal. Raises `SettingsInvalid` when the address cannot be had."""
    configure_logging(settings.log)
    sys.setswitchinterval(SWITCH_INTERVAL_SECS)
    processors = places(settings)
    keep_to(processors, 0)
    uvloop.run(_serve(settings, processors))


async def _serve(settings: Settings, processors: Sequence[int]) -> None:
    stop = asyncio.Event()
    node = make_node(settings)
    with occupying_told(settings), address_told(settings):
        serving = asyncio.create_task(serve(node, stop, processors))
        _heed_signals(stop, serving)
        try:
            await serving
        except asyncio.CancelledError:
            log.warning("stopped at once: told so twice")


def _heed_signals(stop: asyncio.Event, serving: asyncio.Task[None]) -> None:
    """The first signal lets what is under way finish; the second one does not."""

    def heed(name: str) -> None:
        if stop.is_set():
            serving.cancel()
            return
        log.info("stopping", signal=name)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, heed, number.name)


def make_node(settings: Settings) -> Node:
    """The node of the settings, not yet started; `SettingsInvalid` when its data folder cannot be used."""
    try:
        return Node(settings)
    except OSError as error:
        raise SettingsInvalid([f"node.data_dir: {settings.node.data_dir}: {_reason(error)}"]) from error


@contextmanager
def occupying_told(settings: Settings) -> Iterator[None]:
    """The data folder is in use meanwhile; `SettingsInvalid` while a command that needs it alone is at work."""
    with occupying(settings.node.data_dir) as is_free:
        if not is_free:
            raise SettingsInvalid([f"node.data_dir: {settings.node.data_dir}: {_BUSY}"])
        yield


@contextmanager
def address_told(settings: Settings) -> Iterator[None]:
    """Turns the refusal of an address into `SettingsInvalid`, which says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno not in _ADDRESS_FAULTS and not isinstance(error, socket.gaierror):
            raise
        where = f"{settings.node.host}:{settings.node.port}"
        told = f"cannot listen on {where}: {_reason(error)}; choose another --host or --port, or stop what has it"
        raise SettingsInvalid([told]) from error


def _reason(error: OSError) -> str:
    """What went wrong, without the address that asyncio repeats."""
    number = error.errno
    return (os.strerror(number) if number is not None and number in errno.errorcode else str(error)).lower()
