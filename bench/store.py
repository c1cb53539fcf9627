"""What a submission costs the embedded store, in figures that a busy machine does not change.

    python -m bench.store [--rows 10000 100000] [--batch 16] [--count 1600] [--keep FILE]

The writes are those of a submission with one certificate: a mined parent, its child, an output, a spend, and what
`ls_metawatt` records. At each number of stored outputs, `--count` submissions are committed in groups of
`--batch`, straight through the writer's code, without checkpoints, and these are told of a submission:

* pages written to the log, and how many different ones: a checkpoint writes each of those to the file once;
* Python calls to make its writes ready, and to commit them; SQL statements a group;
* CPU time of the thread, in µs, which does change.

`--tables` tells the pages table by table. Filling a million rows takes about seven minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import pstats
import random
import sqlite3
import struct
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import UUID

from bench.bundles import DEVICES, Fleet
from bench.lookup_index import make_events
from certificates.token import Token
from lookup.recorder import issuance_writes
from lookup.records import CERTIFICATES, HOUR_SECS, certificate_record
from lookup.records import COLLECTIONS as LOOKUP_COLLECTIONS
from overlay.records import ENGINE_COLLECTIONS, OUTPUTS, SPENDS, TRANSACTIONS
from store.port import Absent, Document, Insert, Write
from store.sqlite import SqliteStore
from store.sqlite_connection import connect
from store.sqlite_group import Group, Outcome
from store.sqlite_schema import apply_schema
from store.sqlite_statements import SqlStep, Statements
from topics.certificates import read_script

COLLECTIONS = (*ENGINE_COLLECTIONS, *LOOKUP_COLLECTIONS)
_AS_ISSUED = ("energy_source", "device_id", "device_name", "account_id", "issuance_id")
RAW_BYTES = {True: (20, 20, 20), False: (250, 400, 1500)}
"""Bytes of a parent, its Merkle path and its child: short ones to fill, since they are only appended."""
_FRAME_HEADER_BYTES = 24
_WAL_HEADER_BYTES = 32


class Submissions:
    """The writes of submissions, numbered on from `first`."""

    def __init__(self, first: int, *, is_short: bool) -> None:
        self._next = first
        self._sizes = RAW_BYTES[is_short]
        self._randbytes = random.Random(first).randbytes
        self._fleet = Fleet(1)
        event = next(make_events(0, 1))
        token = read_script(event.script)
        assert isinstance(token, Token)
        record = certificate_record(event, token)
        assert record is not None
        self._record = record

    def take(self, count: int) -> list[list[Write]]:
        return [self._submission() for _ in range(count)]

    def _submission(self) -> list[Write]:
        number, parent, child = self._next, self._randbytes(32), self._randbytes(32)
        self._next += 1
        funds, certificate = parent + bytes(4), child + bytes(4)
        return [
            Absent(OUTPUTS, funds),
            Absent(SPENDS, certificate),
            *self._transactions(number, parent, child),
            Insert(OUTPUTS, {"_id": certificate, "seq": number + 1, "topics": ["tm_metawatt_gc"]}),
            Insert(SPENDS, {"_id": funds, "txid": child, "input": 0, "kept": []}),
            *self._records(number, certificate),
        ]

    def _transactions(self, number: int, parent: bytes, child: bytes) -> list[Write]:
        raw, path, own = (self._randbytes(size) for size in self._sizes)
        mined = {"height": 800_000 + number // 2000, "block_hash": bytes(32), "bump": path}
        receipt = {"outputsToAdmit": [0], "coinsToRetain": [], "coinsRemoved": []}
        judged = {"pending_ms": 10**12 + number, "seq": number + 1, "receipts": {"tm_metawatt_gc": receipt}}
        return [
            Insert(TRANSACTIONS, {"_id": parent, "size": len(raw), "rev": 0, "raw": raw, **mined}, keep=True),
            Insert(TRANSACTIONS, {"_id": child, "size": len(own), "rev": 0, "raw": own, **judged}),
        ]

    def _records(self, number: int, certificate: bytes) -> list[Write]:
        issuance_id = str(UUID(bytes=self._randbytes(16), version=4))
        bundle = self._fleet.bundle(number, issuance_id)
        start = number // DEVICES * HOUR_SECS
        record: Document = {
            **self._record,
            "_id": certificate,
            "seq": number + 1,
            "country": bundle["country_of_issuance"],
            "owner_key": b"\x02" + self._randbytes(32),
            "period_start": start,
            "period_end": start + HOUR_SECS,
            "hour": start,
        }
        record |= {name: bundle[name] for name in _AS_ISSUED}
        return [Insert(CERTIFICATES, record, keep=True), *issuance_writes(record)]


async def fill(path: Path, have: int, want: int, at_once: int = 4000) -> None:
    """Bring the database from `have` stored outputs to `want`, in large commits."""
    store = SqliteStore(path, cache_mib=256)
    await store.open(COLLECTIONS)
    submissions = Submissions(have, is_short=True)
    for start in range(have, want, at_once):
        commits = submissions.take(min(at_once, want - start))
        await store.commit([write for writes in commits for write in writes])
    await store.close()


def written_pages(path: Path) -> list[int]:
    """The number of every page in the write-ahead log, in the order written, as often as written."""
    pages = []
    with path.with_name(path.name + "-wal").open("rb") as log:
        header = log.read(_WAL_HEADER_BYTES)
        (page_bytes,) = struct.unpack(">I", header[8:12])
        while (frame := log.read(_FRAME_HEADER_BYTES))[8:16] == header[16:24]:
            pages.append(int.from_bytes(frame[:4], "big"))
            log.seek(page_bytes, 1)
    return pages


class Meter:
    """Commits submissions on a connection of its own, and counts."""

    def __init__(self, connection: sqlite3.Connection, batch: int) -> None:
        tables = apply_schema(connection, COLLECTIONS)
        self._statements = {table.collection.name: Statements(table) for table in tables}
        self._connection = connection
        self._group = Group(connection)
        self._batch = batch
        self.steps_secs = self.commit_secs = 0.0

    def steps(self, commits: Sequence[Sequence[Write]]) -> list[list[SqlStep]]:
        return [[self._statements[each.collection.name].step(each) for each in writes] for writes in commits]

    def batches(self, commits: Sequence[Any]) -> Iterator[Sequence[Any]]:
        for start in range(0, len(commits), self._batch):
            yield commits[start : start + self._batch]

    def commit(self, commits: Sequence[Sequence[Write]]) -> None:
        for batch in self.batches(commits):
            begun = time.thread_time()
            steps = self.steps(batch)
            made = time.thread_time()
            assert not any(self._commit(steps))
            self.steps_secs += made - begun
            self.commit_secs += time.thread_time() - made

    def _commit(self, steps: Sequence[Sequence[SqlStep]]) -> list[Outcome]:
        self._group.begin()
        outcomes = self._group.apply(steps)
        self._group.flush()
        return outcomes

    def calls(self, commits: Sequence[Sequence[Write]]) -> tuple[float, float, float]:
        """Python calls a submission to make the steps and to commit them, and SQL statements a group."""
        making, committing, statements = cProfile.Profile(), cProfile.Profile(), list[str]()
        steps = making.runcall(self.steps, commits)
        self._connection.set_trace_callback(statements.append)
        committing.runcall(lambda: [self._commit(batch) for batch in self.batches(steps)])
        self._connection.set_trace_callback(None)
        made, committed = (pstats.Stats(each).total_calls for each in (making, committing))  # type: ignore[attr-defined]
        return made / len(commits), committed / len(commits), len(statements) / (len(commits) / self._batch)


def measure(path: Path, rows: int, options: argparse.Namespace) -> None:
    """Print the figures of a database of so many outputs."""
    with closing(connect(path, options.cache_mib)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        connection.execute("PRAGMA wal_autocheckpoint = 0").fetchall()
        meter, submissions = Meter(connection, options.batch), Submissions(rows, is_short=False)
        meter.commit(submissions.take(options.count))
        pages, count = written_pages(path), options.count
        calls = meter.calls(submissions.take(10 * options.batch))
        print(
            f"{rows:>10,} outputs: {len(pages) / count:.1f} pages written a submission, "
            f"{len(set(pages)) / count:.1f} different; {calls[0]:.0f} + {calls[1]:.0f} calls, "
            f"{calls[2]:.0f} statements a group; {meter.steps_secs / count * 1e6:.0f} + "
            f"{meter.commit_secs / count * 1e6:.0f} µs; file {path.stat().st_size / 2**20:,.0f} MiB",
            flush=True,
        )
        if options.tables:
            print_tables(connection, pages, count)


def print_tables(connection: sqlite3.Connection, pages: Sequence[int], count: int) -> None:
    owners = dict(connection.execute("SELECT pageno, name FROM dbstat").fetchall())
    written = Counter(owners.get(page, "free") for page in pages)
    different = Counter(owners.get(page, "free") for page in set(pages))
    for name, number in written.most_common():
        print(f"{number / count:>12.2f} {different[name] / count:6.2f}  {name}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--count", type=int, default=1600, help="submissions measured at each size")
    parser.add_argument("--batch", type=int, default=16, help="submissions that share a flush")
    parser.add_argument("--cache-mib", type=int, default=64)
    parser.add_argument("--tables", action="store_true")
    parser.add_argument("--keep", type=Path, help="the file to make; default: a temporary one")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path, have = options.keep or Path(folder) / "bench.db", 0
        for rows in sorted(options.rows):
            asyncio.run(fill(path, have, rows))
            measure(path, rows, options)
            have = rows + options.count + 10 * options.batch


if __name__ == "__main__":
    main()
