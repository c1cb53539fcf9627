"""Two processes that write to one file at the same time."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from store.port import Find, Insert
from store.sqlite import SqliteStore
from tests.store.conftest import COLLECTIONS, THINGS, key

ROOT = Path(__file__).parents[2]
COUNT = 400


def owned(owner: bytes) -> Find:
    return Find("by_owner", {"owner": owner})


async def race(path: Path, owner: bytes, first: int) -> None:
    """Commit `COUNT` documents one by one, from a signal on; then say how many the others have committed."""
    store = SqliteStore(path, cache_mib=2)
    await store.open(COLLECTIONS)
    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(first, first + COUNT):
        await store.commit([Insert(THINGS, {"_id": key(number), "owner": owner})])
    print(await store.count(THINGS) - await store.count(THINGS, owned(owner)), flush=True)
    await store.close()


def racer(path: Path, owner: str, first: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, __file__, str(path), owner, str(first)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
    )


def told(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


async def test_two_processes_take_turns(tmp_path: Path) -> None:
    """Nothing is lost, and neither waits until the other is done."""
    path = tmp_path / "node.db"
    with racer(path, "one", 0) as one, racer(path, "two", COUNT) as two:
        assert [told(each) for each in (one, two)] == ["ready", "ready"]
        for each in (one, two):
            print("go", file=each.stdin, flush=True)
        of_others = [int(told(each)) for each in (one, two)]
    assert [one.returncode, two.returncode] == [0, 0]
    assert min(of_others) > COUNT / 2
    store = SqliteStore(path)
    await store.open(COLLECTIONS)
    assert [await store.count(THINGS, owned(owner)) for owner in (b"one", b"two")] == [COUNT, COUNT]
    assert await store.check() == []
    await store.close()


@pytest.mark.parametrize("stores", [2, 5])
async def test_stores_of_one_process_take_turns_too(tmp_path: Path, stores: int) -> None:
    opened = [SqliteStore(tmp_path / "node.db", cache_mib=1) for _ in range(stores)]
    for store in opened:
        await store.open(COLLECTIONS)
    writes = [
        store.commit([Insert(THINGS, {"_id": key(100 * which + number)})])
        for number in range(20)
        for which, store in enumerate(opened)
    ]
    await asyncio.gather(*writes)
    assert await opened[0].count(THINGS) == 20 * stores
    for store in opened:
        await store.close()


if __name__ == "__main__":
    asyncio.run(race(Path(sys.argv[1]), sys.argv[2].encode(), int(sys.argv[3])))
