"""A reader: one thread, one read-only connection, and the reads that wait for it."""

from __future__ import annotations

import sqlite3
from asyncio import AbstractEventLoop, Future
from collections.abc import Sequence
from itertools import chain
from queue import SimpleQueue
from threading import Thread
from typing import Any, NamedTuple

from config.errors import Internal, MetawattError
from store.port import Document, Key
from store.sqlite_connection import faults_reported
from store.sqlite_reads import Read, rows_by_key
from store.sqlite_table import Table
from store.sqlite_writer import Settled, settle


class PointRead(NamedTuple):
    """A read of documents by key, which may be merged with others."""

    table: Table
    keys: Sequence[Key]
    done: Future[dict[Key, Document]]


class WalkRead(NamedTuple):
    """Any other read."""

    read: Read
    done: Future[Any]


class Reader:
    """Takes reads; those that wait together are answered together."""

    def __init__(self, name: str, connection: sqlite3.Connection, loop: AbstractEventLoop) -> None:
        self._connection = connection
        self._loop = loop
        self._queue: SimpleQueue[PointRead | WalkRead | None] = SimpleQueue()
        self._thread = Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def put(self, read: PointRead | WalkRead) -> None:
        self._queue.put(read)

    def close(self) -> None:
        """Answer what was put, then end. Blocks."""
        self._queue.put(None)
        self._thread.join()
        self._connection.close()

    def _run(self) -> None:
        while reads := self._gather():
            settled = self._answer(reads)
            self._loop.call_soon_threadsafe(settle, settled)

    def _gather(self) -> list[PointRead | WalkRead]:
        """What waits; empty when the reader is to end."""
        reads: list[PointRead | WalkRead] = []
        while not reads or not self._queue.empty():
            read = self._queue.get()
            if read is None:
                if reads:
                    self._queue.put(None)
                break
            reads.append(read)
        return reads

    def _answer(self, reads: list[PointRead | WalkRead]) -> Settled:
        points: dict[Table, list[PointRead]] = {}
        settled: Settled = []
        for read in reads:
            if isinstance(read, PointRead):
                points.setdefault(read.table, []).append(read)
            else:
                settled.append((read.done, self._guarded(read.read)))
        for table, merged in points.items():
            settled += self._merged(table, merged)
        return settled

    def _merged(self, table: Table, reads: list[PointRead]) -> Settled:
        keys = chain.from_iterable(read.keys for read in reads)
        rows = self._guarded(lambda connection: rows_by_key(connection, table, keys))
        if isinstance(rows, MetawattError):
            return [(read.done, rows) for read in reads]
        # Each caller gets documents of its own: a document is mutable.
        return [(read.done, {key: table.document(rows[key]) for key in read.keys if key in rows}) for read in reads]

    def _guarded(self, read: Read) -> Any:
        try:
            with faults_reported():
                return read(self._connection)
        except MetawattError as error:
            return error
        except Exception as error:  # the thread must live, and its callers must hear of it
            return Internal(f"a read failed: {error!r}")
