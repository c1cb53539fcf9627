"""Checkpoints beside the writer.

A checkpoint copies pages from the write-ahead log into the file, where those of random keys lie far
apart: at a million rows, some hundred milliseconds of a commit that happens to run one. So a thread of its
own copies, while commits go on; it repeats until little is left, and the writer copies only that. Then all
of the log is in the file, and SQLite starts it over, which keeps it from growing.
"""

from __future__ import annotations

import logging
import sqlite3
from threading import Event, Thread
from typing import Final

_logger = logging.getLogger(__name__)

# Writes after which a checkpoint is due. More writes share more pages, and make a longer log.
_DUE_WRITES: Final = 16_384
_SHORT_TAIL_PAGES: Final = 512
_MOST_PASSES: Final = 6
_CHECKPOINT: Final = "PRAGMA wal_checkpoint(PASSIVE)"


class Checkpointer:
    """Copies the log in the background; `finish` is for the writer, between two commits."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._writes = 0
        self._due = Event()
        self._is_closing = False
        self._is_tail_short = False
        self._thread = Thread(target=self._run, name="store-checkpointer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """End after the present pass. Blocks."""
        self._is_closing = True
        self._due.set()
        self._thread.join()
        self._connection.close()

    def finish(self, writer: sqlite3.Connection, writes: int) -> None:
        """Take note of a commit of so many writes; when only a short tail is left to copy, copy it. It is the
        caller's turn to write, so that nothing is added meanwhile."""
        self._writes += writes
        if self._is_tail_short:
            self._is_tail_short = False
            writer.execute(_CHECKPOINT).fetchall()
        elif self._writes >= _DUE_WRITES:
            self._writes = 0
            self._due.set()

    def _run(self) -> None:
        while not self._is_closing:
            self._due.wait()
            self._due.clear()
            try:
                self._copy()
            except sqlite3.Error as error:
                # The pages stay in the log, and are read from there, until a checkpoint succeeds.
                _logger.warning("a checkpoint failed: %s", error)

    def _copy(self) -> None:
        """Copy what the log holds, again while commits add much meanwhile."""
        copied = 0
        for _ in range(_MOST_PASSES):
            if self._is_closing:
                return
            is_busy, pages, _ = self._connection.execute(_CHECKPOINT).fetchone()
            if is_busy:  # with a checkpoint of another process, which copies what all have written
                return
            if pages - copied < _SHORT_TAIL_PAGES:
                break
            copied = pages
        self._is_tail_short = True
