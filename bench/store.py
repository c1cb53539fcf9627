"""How fast the embedded store takes submissions, and answers point reads, as it grows.

    python -m bench.store [--rows 1000000] [--busy 0.6] [--switch-interval 0.005]

Sixteen committers each commit batches shaped like an admitted submission: two outputs with 300-byte
scripts under random keys, a spend under a 36-byte key, an applied mark (clustered), and a lookup record
of about 1 KB with eight indexes. With `--busy`, the event loop's thread also computes in pure Python for
that share of the time, as it does in a node that parses and verifies.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import quantiles

from store.port import Collection, Index, Insert, Write
from store.sqlite import SqliteStore

OUTPUTS = Collection("outputs", "bytes", {"topic": "text", "height": "int"})
SPENDS = Collection("spends", "bytes", {"spender": "bytes"})
APPLIED = Collection("applied", "bytes", {"at_ms": "int"}, clustered=True)
RECORD_FIELDS = ("topic", "owner", "device", "source", "region", "begin_ms", "status", "issuer")
RECORDS = Collection(
    "records",
    "bytes",
    {
        **dict.fromkeys(RECORD_FIELDS, "text"),
        "owner": "bytes",
        "issuer": "bytes",
        "begin_ms": "int",
        "seq": "int",
    },
    tuple(Index(f"by_{name}", (name, "seq") if name != "begin_ms" else (name,)) for name in RECORD_FIELDS),
)
COLLECTIONS = (OUTPUTS, SPENDS, APPLIED, RECORDS)
COMMITTERS = 16

_randbytes = random.Random(7).randbytes
_random = random.Random(8)
_owners = [_randbytes(33) for _ in range(5000)]


def submission(number: int) -> list[Write]:
    """The writes of one submission."""
    script = _randbytes(300)
    record = {
        "_id": _randbytes(36),
        "topic": "tm_metawatt_gc",
        "owner": _random.choice(_owners),
        "device": f"device-{number % 10_000}",
        "source": ("solar", "wind", "hydro")[number % 3],
        "region": ("de", "dk", "fr", "gb", "nl")[number % 5],
        "begin_ms": 1_700_000_000_000 + number * 1000,
        "status": "active",
        "issuer": _owners[number % 8],
        "seq": number,
        "certificate": {"production": "x" * 300, "attributes": {"a": 1, "b": "y" * 300}, "raw": script},
    }
    return [
        Insert(OUTPUTS, {"_id": _randbytes(32), "topic": "tm", "height": number, "script": script}),
        Insert(OUTPUTS, {"_id": _randbytes(32), "topic": "tm", "height": None, "script": script}),
        Insert(SPENDS, {"_id": _randbytes(36), "spender": _randbytes(32)}),
        Insert(APPLIED, {"_id": _randbytes(32), "at_ms": number}),
        Insert(RECORDS, record),
    ]


class Load:
    """Commits and reads against one store."""

    def __init__(self, store: SqliteStore, busy: float) -> None:
        self.store = store
        self.busy = busy
        self.number = 0
        self.keys: list[bytes] = []

    def _next(self) -> list[Write]:
        self.number += 1
        writes = submission(self.number)
        if self.number % 50 == 0:
            self.keys.append(writes[0].document["_id"])  # type: ignore[union-attr]
        return writes

    async def fill(self, rows: int, at_once: int = 1000) -> None:
        """Add submissions until there are `rows`, in large commits."""
        while self.number < rows:
            count = min(at_once, rows - self.number)
            await self.store.commit([write for _ in range(count) for write in self._next()])

    async def commits(self, count: int) -> float:
        """Submissions a second over `COMMITTERS` committers. The batches are made beforehand."""
        waiting = [self._next() for _ in range(count)]

        async def committer() -> None:
            while waiting:
                await self.store.commit(waiting.pop())

        started = time.perf_counter()
        with self._spinning():
            await asyncio.gather(*(committer() for _ in range(COMMITTERS)))
        return count / (time.perf_counter() - started)

    async def reads(self, count: int) -> list[float]:
        """Latencies of single point reads, in µs."""
        latencies = []
        with self._spinning():
            for key in random.choices(self.keys, k=count):
                started = time.perf_counter()
                assert await self.store.get(OUTPUTS, key) is not None
                latencies.append((time.perf_counter() - started) * 1e6)
        return latencies

    @contextmanager
    def _spinning(self) -> Iterator[None]:
        task = asyncio.ensure_future(self._spin()) if self.busy else None
        yield
        if task is not None:
            task.cancel()

    async def _spin(self) -> None:
        """Compute for `busy` of each 2 ms."""
        while True:
            end = time.perf_counter() + 0.002 * self.busy
            while time.perf_counter() < end:
                sum(range(200))
            await asyncio.sleep(0.002 * (1 - self.busy))


async def measure(load: Load, label: str, count: int) -> None:
    """Print the figures at the present size."""
    rates = [await load.commits(count // 3) for _ in range(3)]
    latencies = quantiles(await load.reads(2000), n=100)
    size = await load.store.size_bytes() / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{label:>12}: {sorted(rates)[1]:8.0f} submissions/s (of {min(rates):.0f} to {max(rates):.0f}), "
        f"get p50 {latencies[49]:.0f} µs p99 {latencies[98]:.0f} µs, {size:.0f} MiB, peak rss {peak:.0f} MiB",
        flush=True,
    )


async def run(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(dir=options.dir) as folder:
        store = SqliteStore(Path(folder) / "bench.db", cache_mib=options.cache_mib)
        await store.open(COLLECTIONS)
        load = Load(store, options.busy)
        started = time.perf_counter()
        for rows in (10_000, *([options.rows] if options.rows > 10_000 else [])):
            await load.fill(rows // 5)
            await measure(load, f"{rows} rows", options.count)
        print(f"in {time.perf_counter() - started:.0f} s")
        await store.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows, five a submission")
    parser.add_argument("--count", type=int, default=30_000, help="submissions measured at each size")
    parser.add_argument("--busy", type=float, default=0.0, help="share of the loop's time spent computing")
    parser.add_argument("--switch-interval", type=float, default=sys.getswitchinterval())
    parser.add_argument("--cache-mib", type=int, default=64)
    parser.add_argument("--dir", default=os.environ.get("TMPDIR"), help="where the file is made")
    options = parser.parse_args()
    sys.setswitchinterval(options.switch_interval)
    asyncio.run(run(options))


if __name__ == "__main__":
    main()
