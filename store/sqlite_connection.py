"""Connections to the file, and SQLite's faults as the port's errors."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from store.port import StoreUnavailable

BUSY_TIMEOUT_SECS: Final = 30.0

# A checkpoint copies each page of the write-ahead log once, however often it was written, so a longer log
# is less work for random keys. The log is never truncated while in use: overwriting it is far cheaper to
# flush than growing it.
_CHECKPOINT_PAGES: Final = 65_536


@contextmanager
def faults_reported() -> Iterator[None]:
    """Turn what SQLite raises (disk full, I/O, lock timeout, corruption) into StoreUnavailable."""
    try:
        yield
    except sqlite3.Error as error:
        name = getattr(error, "sqlite_errorname", type(error).__name__)
        raise StoreUnavailable(f"the database does not answer: {error} ({name})") from error


def connect(path: Path, cache_mib: int, *, read_only: bool = False) -> sqlite3.Connection:
    """A connection in autocommit mode; transactions are begun by hand."""
    connection = sqlite3.connect(
        path,
        timeout=BUSY_TIMEOUT_SECS,
        isolation_level=None,
        cached_statements=1024,
        check_same_thread=False,
    )
    try:
        _configure(connection, cache_mib, read_only)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _configure(connection: sqlite3.Connection, cache_mib: int, read_only: bool) -> None:
    connection.execute("PRAGMA journal_mode = WAL").fetchall()
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA cache_size = {-1024 * cache_mib}")
    connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}").fetchall()
    connection.execute("PRAGMA foreign_keys = OFF")
    connection.execute("PRAGMA secure_delete = OFF").fetchall()
    connection.execute("PRAGMA temp_store = MEMORY")
    if read_only:
        connection.execute("PRAGMA query_only = ON")
