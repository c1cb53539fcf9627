"""Commits numbered pairs until it is killed, and prints the number of each that was acknowledged."""

from __future__ import annotations

import asyncio
import sys
from itertools import count
from pathlib import Path

from store.port import Collection, Index, Insert, Patch
from store.sqlite import SqliteStore

LEFT = Collection("left", "int", {"n": "int"}, (Index("by_n", ("n",)),))
RIGHT = Collection("right", "bytes", {"n": "int"})
TALLY = Collection("tally", "text", {"n": "int"})


async def main(path: Path, first: int) -> None:
    store = SqliteStore(path, cache_mib=2)
    await store.open([LEFT, RIGHT, TALLY])
    await store.commit([Insert(TALLY, {"_id": "n", "n": 0}, keep=True)])
    numbers = count(first)

    async def committer() -> None:
        for n in numbers:
            pair = [
                Insert(LEFT, {"_id": n, "n": n}),
                Insert(RIGHT, {"_id": n.to_bytes(32, "little"), "x": "y" * 500}),
            ]
            await store.commit([*pair, Patch(TALLY, "n", {"n": n})])
            print(n, flush=True)

    await asyncio.gather(*(committer() for _ in range(8)))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
