"""Notices between the processes of one node, which share a port and a data folder.

A process that somebody listens to has a datagram socket in `<data_dir>/run`, where the others find it within a
second; they send it what they tell. Nothing waits for a reader: a notice that finds the socket full is left out,
as notices are hints. Nodes on other machines, also ones on the same database, are not heard.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import orjson
import structlog

from bridge.notices import Notice, NoticeKind

_LOOK_SECS: Final = 1.0
_SUFFIX: Final = ".notices"
_MOST_BYTES: Final = 65_536
_AT_ONCE: Final = 200
# What the kernels take for the path of a socket, less the final NUL; macOS has the least.
_MOST_PATH: Final = 103

log = structlog.get_logger("metawatt.live")


class Relay:
    """One process's end. `folder` is the same for all processes of a node, and nobody else's."""

    def __init__(self, folder: Path) -> None:
        self.lost = 0
        self._folder = folder
        self._own = folder / f"{os.getpid()}{_SUFFIX}"
        self._hear: Callable[[Notice], None] | None = None
        self._inbox: socket.socket | None = None
        self._outbox: socket.socket | None = None
        self._others: list[str] = []
        self._looking: asyncio.Task[None] | None = None
        self._wants_inbox = False

    @property
    def is_heard(self) -> bool:
        """Whether another process has listeners."""
        return bool(self._others)

    def start(self, hear: Callable[[Notice], None]) -> None:
        """Begin to look for the others; `hear` is given what they tell, while `listen` is on."""
        self._hear = hear
        self._outbox = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._outbox.setblocking(False)
        self._looking = asyncio.create_task(self._look(), name="notices of other processes")

    async def stop(self) -> None:
        self.listen(False)
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
        if self._outbox is not None:
            self._outbox.close()
        self._others = []

    # Sending

    def send(self, notice: Notice) -> None:
        """Pass a notice on to every process that has listeners."""
        if self._outbox is None:
            return
        packet = _packed(notice)
        for other in list(self._others):
            try:
                self._outbox.sendto(packet, other)
            except (ConnectionRefusedError, FileNotFoundError):
                self._others.remove(other)
            except OSError:  # full, or too large: a notice is a hint
                self.lost += 1

    async def _look(self) -> None:
        while True:
            try:
                self._others = await asyncio.to_thread(self._found)
            except OSError as error:
                log.warning("the node's other processes cannot be found", reason=str(error))
            if self._inbox is not None and not self._own.exists():
                self._close_inbox()
                self._open_inbox()
            await asyncio.sleep(_LOOK_SECS)

    def _found(self) -> list[str]:
        return [str(file) for file in self._folder.glob(f"*{_SUFFIX}") if file != self._own and _is_alive(file)]

    # Hearing

    def listen(self, wanted: bool) -> None:
        """Hear the other processes, or no longer."""
        if wanted == self._wants_inbox or self._hear is None:
            return
        self._wants_inbox = wanted
        if wanted:
            self._open_inbox()
        else:
            self._close_inbox()

    def _open_inbox(self) -> None:
        if len(os.fsencode(self._own)) > _MOST_PATH:
            log.warning("the path is too long to hear of other processes' readings", path=str(self._own))
            return
        inbox = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            inbox.setblocking(False)
            self._folder.mkdir(parents=True, exist_ok=True)
            self._own.unlink(missing_ok=True)
            inbox.bind(str(self._own))
            self._own.chmod(0o600)
        except OSError as error:
            inbox.close()
            log.warning("other processes' readings are not heard of", reason=str(error))
            return
        asyncio.get_running_loop().add_reader(inbox.fileno(), self._receive, inbox)
        self._inbox = inbox

    def _close_inbox(self) -> None:
        inbox, self._inbox = self._inbox, None
        if inbox is not None:
            asyncio.get_running_loop().remove_reader(inbox.fileno())
            inbox.close()
            self._own.unlink(missing_ok=True)

    def _receive(self, inbox: socket.socket) -> None:
        """Some of what has come; the event loop calls again while there is more."""
        assert self._hear is not None
        with suppress(BlockingIOError):
            for _ in range(_AT_ONCE):
                notice = _unpacked(inbox.recv(_MOST_BYTES))
                if notice is not None:
                    self._hear(notice)


def _is_alive(file: Path) -> bool:
    """Whether the process that the file is named after is there; the file of one that was killed is removed."""
    try:
        os.kill(int(file.stem), 0)
    except (ValueError, ProcessLookupError):
        file.unlink(missing_ok=True)
        return False
    except PermissionError:
        return True
    return True


def _packed(notice: Notice) -> bytes:
    return orjson.dumps([notice.kind.value, notice.wallet, notice.meter, notice.body], default=str)


def _unpacked(packet: bytes) -> Notice | None:
    """The notice, None when the packet holds none: another release's, or cut short."""
    try:
        kind, wallet, meter, body = orjson.loads(packet)
        return Notice(NoticeKind(kind), _object(body), _text(wallet), _text(meter))
    except (ValueError, TypeError):
        return None


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError("not an object")
    return value


def _text(value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise TypeError("not text")
    return value
