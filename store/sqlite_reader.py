"""A reader: one thread, one read-only connection, and the reads that wait for it."""

from __future__ import annotations

import sqlite3
from asyncio import AbstractEventLoop, Future
from collections.abc import Mapping, Sequence
from itertools import chain
from queue import SimpleQueue
from threading import Thread
from typing import Any, NamedTuple

from config.errors import Internal, MetawattError
from store.grouping import Row
from store.port import Document, Key
from store.sqlite_connection import faults_reported
from store.sqlite_reads import Read, rows_of_each
from store.sqlite_table import Table
from store.sqlite_writer import Settled, settle


class PointRead(NamedTuple):
    """A read of documents by key from one or several tables, which may be merged with others."""

    wanted: Sequence[tuple[Table, Sequence[Key]]]
    done: Future[list[dict[Key, Document]]]


class WalkRead(NamedTuple):
    """Any other read."""

    read: Read
    done: Future[Any]


def _documents(table: Table, rows: Mapping[Key, Row], keys: Sequence[Key]) -> dict[Key, Document]:
    """Each caller gets documents of its own: a document is mutable."""
    return {key: table.document(rows[key]) for key in keys if key in rows}


def _guarded(connection: sqlite3.Connection, read: Read) -> Any:
    """What a read gives, or the error that its callers are to hear of."""
    try:
        with faults_reported():
            return read(connection)
    except MetawattError as error:
        return error
    except Exception as error:  # whoever reads must live on
        return Internal(f"a read failed: {error!r}")


def answered(
    connection: sqlite3.Connection, reads: Sequence[PointRead], first: sqlite3.Connection | None = None
) -> Settled:
    """Point reads, answered with one look at each table; by `first`, when it is given and can."""
    keys: dict[Table, list[Key]] = {}
    for table, wanted in chain.from_iterable(read.wanted for read in reads):
        keys.setdefault(table, []).extend(wanted)

    def look(own: sqlite3.Connection) -> dict[Table, dict[Key, Row]]:
        return dict(zip(keys, rows_of_each(own, list(keys.items())), strict=True))

    found = _guarded(first or connection, look)
    if first is not None and isinstance(found, MetawattError):
        found = _guarded(connection, look)
    if isinstance(found, MetawattError):
        return [(read.done, found) for read in reads]
    return [(read.done, [_documents(t, found[t], k) for t, k in read.wanted]) for read in reads]


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
        points = [read for read in reads if isinstance(read, PointRead)]
        walks = [read for read in reads if isinstance(read, WalkRead)]
        settled: Settled = [(walk.done, _guarded(self._connection, walk.read)) for walk in walks]
        return settled + answered(self._connection, points)
