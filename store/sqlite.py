"""The embedded driver of the storage port: one SQLite file in WAL mode.

A few documents by key are read, and small commits applied, on the event loop; what waits shares one flush, which a
writer thread does. A reader thread answers larger reads and pages, merged; a second one answers long reads, so that
these hold nobody up. Several processes may open the same file.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from store.port import Collection, Document, Find, Key, Page, StoreUnavailable, Total, Write
from store.sqlite_checkpoint import Checkpointer
from store.sqlite_connection import connect, faults_reported
from store.sqlite_reader import PointRead, Reader, WalkRead, answered
from store.sqlite_reads import Read, aggregate, count, find_page
from store.sqlite_schema import apply_schema
from store.sqlite_statements import Statements
from store.sqlite_table import Table
from store.sqlite_turn import Turn
from store.sqlite_writer import Commit, Writer, settle
from store.values import checked_find

_LONG_PAGE: Final = 200
_INLINE_KEYS: Final = 64


@dataclass(frozen=True, slots=True)
class _Threads:
    """What runs while the store is open."""

    loop: asyncio.AbstractEventLoop
    writer: Writer
    inline: sqlite3.Connection
    points: Reader
    scans: Reader
    statements: dict[str, Statements]

    def start(self) -> None:
        for thread in (self.writer, self.points, self.scans):
            thread.start()

    def close(self) -> None:
        """Finish what is queued. The writer goes last, so that it is the one that folds the log away."""
        self.inline.close()
        for thread in (self.points, self.scans, self.writer):
            thread.close()


class SqliteStore:
    """`store.port.Store` on the SQLite file `path`, which is made when there is none.

    `cache_mib` is the page cache of each of the five connections; `flush_max_writes` bounds the writes
    that share one flush.

    A few documents by key are read on the event loop itself: that takes some ten microseconds, and a thread
    would take longer to be told. The writer's connection reads them when it is free, since a submission reads
    where it is about to write. Small commits are applied there too (`sqlite_writer`). Everything else has
    threads: one that writes and flushes, one that copies the log, two that read.
    """

    def __init__(self, path: Path | str, *, cache_mib: int = 64, flush_max_writes: int = 4096) -> None:
        self.path = Path(path)
        self._cache_mib = cache_mib
        self._flush_max_writes = flush_max_writes
        self._threads: _Threads | None = None
        self._waiting: list[Commit] = []
        self._asked: list[PointRead] = []

    async def open(self, collections: Sequence[Collection]) -> None:
        """See the port."""
        self._threads = await asyncio.to_thread(self._opened, collections, asyncio.get_running_loop())
        self._threads.start()

    def _opened(self, collections: Sequence[Collection], loop: asyncio.AbstractEventLoop) -> _Threads:
        turn, connections = Turn(self.path), list[sqlite3.Connection]()
        try:
            with turn, faults_reported():
                connections.append(connect(self.path, self._cache_mib))
                tables = apply_schema(connections[0], collections)
                for _ in range(4):
                    connections.append(connect(self.path, self._cache_mib, read_only=True))
        except BaseException:
            for each in connections:
                each.close()
            turn.close()
            raise
        connection, inline, points, scans, copying = connections
        return _Threads(
            loop,
            Writer(connection, turn, Checkpointer(copying), loop, self._flush_max_writes),
            inline,
            Reader("store-reader", points, loop),
            Reader("store-scanner", scans, loop),
            {table.collection.name: Statements(table) for table in tables},
        )

    async def close(self) -> None:
        """See the port."""
        threads, self._threads = self._threads, None
        if threads is not None:
            await asyncio.shield(self._closed(threads))

    async def _closed(self, threads: _Threads) -> None:
        self._hand_over(threads.writer)
        self._answer_asked(threads)
        await threads.writer.drain()
        await asyncio.to_thread(threads.close)

    async def commit(self, writes: Sequence[Write]) -> None:
        """See the port. Once called, the writes go through (or not) even if the caller is cancelled."""
        threads = self._opened_threads()
        statements = threads.statements
        steps = [statements[write.collection.name].step(write) for write in writes]
        if not steps:
            return
        done: asyncio.Future[None] = threads.loop.create_future()
        if not self._waiting:
            threads.loop.call_soon(self._hand_over, threads.writer)
        self._waiting.append(Commit(steps, done))
        await done

    def _hand_over(self, writer: Writer) -> None:
        """Give the writer all commits of this round of the event loop at once: they share a flush."""
        commits, self._waiting = self._waiting, []
        if commits:
            writer.put(commits)

    async def get(self, collection: Collection, key: Key) -> Document | None:
        """See the port."""
        return (await self.get_many(collection, (key,))).get(key)

    async def get_many(self, collection: Collection, keys: Sequence[Key]) -> dict[Key, Document]:
        """See the port."""
        (documents,) = await self.get_each([(collection, keys)])
        return documents

    async def get_each(self, requests: Sequence[tuple[Collection, Sequence[Key]]]) -> list[dict[Key, Document]]:
        """See the port."""
        threads = self._opened_threads()
        wanted = []
        for collection, keys in requests:
            table = self._table(collection)
            wanted.append((table, [table.key(key) for key in keys]))
        if sum(len(keys) for _, keys in wanted) <= _INLINE_KEYS:
            return await self._read_inline(threads, wanted)
        done: asyncio.Future[list[dict[Key, Document]]] = threads.loop.create_future()
        threads.points.put(PointRead(wanted, done))
        return await done

    async def _read_inline(
        self, threads: _Threads, wanted: Sequence[tuple[Table, Sequence[Key]]]
    ) -> list[dict[Key, Document]]:
        """Ask at the end of this round of the event loop, together with whoever else asks in it."""
        done: asyncio.Future[list[dict[Key, Document]]] = threads.loop.create_future()
        if not self._asked:
            threads.loop.call_soon(self._answer_asked, threads)
        self._asked.append(PointRead(wanted, done))
        return await done

    def _answer_asked(self, threads: _Threads) -> None:
        asked, self._asked = self._asked, []
        if asked:
            settle(answered(threads.inline, asked, threads.writer.idle_connection))

    async def find(self, collection: Collection, find: Find) -> Page:
        """See the port."""
        table, checked = self._table(collection), checked_find(collection, find)
        page: Page = await self._read(
            lambda connection: find_page(connection, table, checked), is_long=find.limit > _LONG_PAGE
        )
        return page

    async def count(self, collection: Collection, find: Find | None = None) -> int:
        """See the port."""
        table, checked = self._table(collection), checked_find(collection, find or Find())
        number: int = await self._read(lambda connection: count(connection, table, checked), is_long=True)
        return number

    async def aggregate(
        self, collection: Collection, find: Find, group_by: Sequence[str], total: str
    ) -> list[Total]:
        """See the port."""
        table, checked = self._table(collection), checked_find(collection, find)
        totals: list[Total] = await self._read(
            lambda connection: aggregate(connection, table, checked, group_by, total), is_long=True
        )
        return totals

    async def size_bytes(self) -> int:
        """The file and its write-ahead log."""
        files = [self.path, self.path.with_name(self.path.name + "-wal")]
        return await asyncio.to_thread(lambda: sum(file.stat().st_size for file in files if file.exists()))

    async def check(self) -> list[str]:
        """SQLite's quick_check, on a connection of its own, since it reads the whole file."""
        self._opened_threads()
        return await asyncio.to_thread(self._quick_check)

    def _quick_check(self) -> list[str]:
        with faults_reported():
            connection = connect(self.path, self._cache_mib, read_only=True)
            try:
                faults = [str(row[0]) for row in connection.execute("PRAGMA quick_check").fetchall()]
            finally:
                connection.close()
        return [fault for fault in faults if fault != "ok"]

    async def _read(self, read: Read, *, is_long: bool) -> Any:
        threads = self._opened_threads()
        done: asyncio.Future[Any] = threads.loop.create_future()
        (threads.scans if is_long else threads.points).put(WalkRead(read, done))
        return await done

    def _table(self, collection: Collection) -> Table:
        return self._opened_threads().statements[collection.name].table

    def _opened_threads(self) -> _Threads:
        if self._threads is None:
            raise StoreUnavailable("the database is not open")
        return self._threads
