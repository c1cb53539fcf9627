"""Whether a node runs on a data folder. Whoever serves holds an advisory lock on a file there, which the system
releases when the process ends, however it ends; commands that need the node stopped ask for it alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from fcntl import LOCK_EX, LOCK_SH
from pathlib import Path
from typing import Final

from config.locking import locked

FILE_NAME: Final = "node.lock"


@contextmanager
def occupying(folder: Path) -> Iterator[bool]:
    """A node runs on this folder meanwhile; others may too. Gives False when some command has the folder alone.
    OSError when the folder is not there, or cannot be written."""
    with _locked(folder, LOCK_SH) as is_locked:
        yield is_locked


@contextmanager
def alone_in(folder: Path) -> Iterator[bool]:
    """Gives whether no node runs on this folder; then none starts meanwhile. On a folder that is not there none
    does. OSError when it cannot be written."""
    if not folder.is_dir():
        yield True
        return
    with _locked(folder, LOCK_EX) as is_locked:
        yield is_locked


@contextmanager
def _locked(folder: Path, kind: int) -> Iterator[bool]:
    descriptor = os.open(folder / FILE_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        yield locked(descriptor, kind)
    finally:
        os.close(descriptor)
