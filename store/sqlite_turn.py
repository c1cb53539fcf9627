"""Turns at writing, between processes that share one file.

SQLite lets a writer that finds the file locked sleep for milliseconds and ask again, while another may take the
lock over and over. So writers queue first, with advisory locks that the system hands over at once: whoever
writes holds `-turn`, and who is next holds `-next` meanwhile, so that none who has just written overtakes. The
system releases both when a process ends, however it ends. SQLite's own lock still holds for everybody else.
"""

from __future__ import annotations

import os
from fcntl import LOCK_EX, LOCK_UN, flock
from pathlib import Path
from types import TracebackType

from config.locking import locked
from store.port import StoreUnavailable


class Turn:
    """A context manager, entered when it is this store's turn to write; `close` when there are no more. Raises
    StoreUnavailable when its files cannot be made."""

    def __init__(self, path: Path) -> None:
        self._next = _opened(path.with_name(path.name + "-next"))
        self._turn = _opened(path.with_name(path.name + "-turn"))

    def take(self) -> None:
        """Take the turn. Blocks until the others have had theirs."""
        flock(self._next, LOCK_EX)
        try:
            flock(self._turn, LOCK_EX)
        finally:
            flock(self._next, LOCK_UN)

    def taken(self) -> bool:
        """Take the turn if nobody has it or waits for it; whether it was taken."""
        return locked(self._next, LOCK_EX) and self._taken_as_next()

    def _taken_as_next(self) -> bool:
        try:
            return locked(self._turn, LOCK_EX)
        finally:
            flock(self._next, LOCK_UN)

    def give(self) -> None:
        """Give the turn away."""
        flock(self._turn, LOCK_UN)

    def __enter__(self) -> None:
        self.take()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.give()

    def close(self) -> None:
        os.close(self._next)
        os.close(self._turn)


def _opened(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise StoreUnavailable(f"the database cannot be opened: {error}") from error
