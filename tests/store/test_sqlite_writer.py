"""Where the embedded driver writes: on the event loop what is small, in a thread what blocks."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path
from time import sleep
from typing import Any

import pytest

from store import sqlite_writer
from store.port import Conflict, Insert, StoreUnavailable
from store.sqlite import SqliteStore
from store.sqlite_group import Group
from store.sqlite_turn import Turn
from tests.store.conftest import COLLECTIONS, THINGS, key

LOOP, THREAD = "MainThread", "store-writer"


@pytest.fixture
def applied(sqlite: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """By which thread the store's groups were applied, and of how many commits they were."""
    seen: list[tuple[str, int]] = []
    group = group_of(sqlite)
    apply = group.apply

    def watched(commits: Sequence[Any]) -> list[Any]:
        seen.append((threading.current_thread().name, len(commits)))
        return apply(commits)

    monkeypatch.setattr(group, "apply", watched)
    return seen


def group_of(sqlite: SqliteStore) -> Group:
    """This store's: there may be others in the process."""
    assert sqlite._threads is not None
    return sqlite._threads.writer._group


def inserts(first: int, count: int = 1) -> list[Insert]:
    return [Insert(THINGS, {"_id": key(n)}) for n in range(first, first + count)]


@pytest.mark.parametrize(("writes", "where"), [(1, LOOP), (512, LOOP), (513, THREAD)])
async def test_small_groups_are_applied_on_the_loop(
    sqlite: SqliteStore, applied: list[tuple[str, int]], writes: int, where: str
) -> None:
    await sqlite.commit(inserts(0, writes))
    assert applied == [(where, 1)]
    assert await sqlite.count(THINGS) == writes


async def test_the_loop_is_spared_a_slow_disk_for_a_while(
    sqlite: SqliteStore, applied: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_writer, "_SLOW_SECS", 0.0)
    await sqlite.commit(inserts(0))
    await sqlite.commit(inserts(1))
    monkeypatch.setattr(sqlite_writer, "_SLOW_SECS", 60.0)
    await asyncio.sleep(sqlite_writer._SPARED_SECS)
    await sqlite.commit(inserts(2))
    assert [where for where, _ in applied] == [LOOP, THREAD, LOOP]


async def test_a_group_waits_a_little_for_as_many_as_the_last_one_had(
    sqlite: SqliteStore, applied: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_writer, "_LINGER_GROUPS", 1e6)
    monkeypatch.setattr(sqlite_writer, "_MOST_LINGER_SECS", 0.5)
    await asyncio.gather(*(sqlite.commit(inserts(n)) for n in range(3)))
    late = []
    for n in range(3, 6):
        late.append(asyncio.ensure_future(sqlite.commit(inserts(n))))
        await asyncio.sleep(0.02)
    await asyncio.gather(*late)
    await sqlite.commit(inserts(6))
    await sqlite.commit(inserts(7))
    assert [commits for _, commits in applied] == [3, 3, 1, 1]


async def test_what_waits_for_a_turn_shares_it_and_holds_nobody_up(
    sqlite: SqliteStore, path: Path, applied: list[tuple[str, int]]
) -> None:
    other = Turn(path)
    other.take()
    first = asyncio.ensure_future(sqlite.commit(inserts(0)))
    await asyncio.sleep(0.05)
    second = asyncio.ensure_future(sqlite.commit(inserts(1)))
    assert await sqlite.get(THINGS, key(0)) is None
    assert not first.done()
    other.give()
    await asyncio.gather(first, second)
    other.close()
    assert applied == [(LOOP, 2)]


async def test_a_lock_of_another_program_is_waited_for_in_the_thread(
    sqlite: SqliteStore, path: Path, applied: list[tuple[str, int]]
) -> None:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    commit = asyncio.ensure_future(sqlite.commit(inserts(0)))
    await asyncio.sleep(0.05)
    assert await sqlite.get(THINGS, key(0)) is None
    other.execute("ROLLBACK")
    other.close()
    await commit
    assert applied == [(THREAD, 1)]


async def test_nothing_is_read_before_it_is_durable(
    sqlite: SqliteStore, applied: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    group, may_flush = group_of(sqlite), threading.Event()
    flush = group.flush

    def late() -> None:
        may_flush.wait(20)
        flush()

    await sqlite.commit(inserts(0))
    monkeypatch.setattr(group, "flush", late)
    commit = asyncio.ensure_future(sqlite.commit(inserts(1)))
    while len(applied) < 2:
        await asyncio.sleep(0)
    assert set(await sqlite.get_many(THINGS, [key(0), key(1)])) == {key(0)}
    may_flush.set()
    await commit
    assert set(await sqlite.get_many(THINGS, [key(0), key(1)])) == {key(0), key(1)}


async def test_the_writer_s_connection_reads_while_it_is_idle(
    sqlite: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It finds in memory what it has just written. When it cannot read, another one does."""
    await sqlite.commit(inserts(0))
    assert sqlite._threads is not None
    writer = sqlite._threads.writer
    seen: list[str] = []
    for name, connection in (("writer", writer.idle_connection), ("inline", sqlite._threads.inline)):
        assert connection is not None
        connection.set_trace_callback(lambda _, name=name: seen.append(name))  # type: ignore[misc]
    assert set(await sqlite.get_many(THINGS, [key(0)])) == {key(0)}
    assert set(seen) == {"writer"}
    seen.clear()
    broken = sqlite3.connect(":memory:")
    monkeypatch.setattr(type(writer), "idle_connection", broken)
    assert set(await sqlite.get_many(THINGS, [key(0)])) == {key(0)}
    assert set(seen) == {"inline"}
    broken.close()


async def test_a_lock_that_stays_is_told(sqlite: SqliteStore, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_writer, "BUSY_TIMEOUT_SECS", 0.05)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match="locked by another program"):
        await sqlite.commit(inserts(0))
    other.execute("ROLLBACK")
    other.close()
    await sqlite.commit(inserts(0))


async def test_a_lock_lost_between_two_tries_leaves_nothing(
    sqlite: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A group with a conflict begins anew; here another program is faster."""
    await sqlite.commit(inserts(0))
    group, begun = group_of(sqlite), list[None]()
    begin = group.begin

    def once(patience_secs: float = 0.0) -> bool:
        begun.append(None)
        return len(begun) == 1 and begin(patience_secs)

    monkeypatch.setattr(group, "begin", once)
    results = await asyncio.gather(*(sqlite.commit(inserts(n)) for n in (0, 1)), return_exceptions=True)
    assert [type(result) for result in results] == [StoreUnavailable, StoreUnavailable]
    monkeypatch.undo()
    assert await sqlite.count(THINGS) == 1
    with pytest.raises(Conflict):
        await sqlite.commit(inserts(0))
    await sqlite.commit(inserts(1))


async def test_a_store_that_closes_carries_out_what_was_asked(path: Path) -> None:
    store = SqliteStore(path, flush_max_writes=2)
    await store.open(COLLECTIONS)
    commits = [asyncio.ensure_future(store.commit(inserts(n))) for n in range(9)]
    await asyncio.sleep(0)
    await store.close()
    assert all(commit.done() for commit in commits)
    await store.open(COLLECTIONS)
    assert await store.count(THINGS) == 9
    await store.close()


def test_a_turn_is_nobodys_or_somebodys(path: Path) -> None:
    """Who waits comes before who has just written."""
    one, two, three = (Turn(path) for _ in range(3))
    assert one.taken()
    assert not two.taken()
    waiting = threading.Thread(target=two.take)
    waiting.start()
    sleep(0.1)
    one.give()
    assert not one.taken()
    waiting.join()
    two.give()
    assert three.taken()
    for turn in (one, two, three):
        turn.close()
