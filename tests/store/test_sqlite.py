"""What is particular to the SQLite driver: plans, schema, faults."""

from __future__ import annotations

import asyncio
import resource
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from config.errors import ErrorCode, Internal
from store.port import Collection, Conflict, Find, Insert, Patch, StoreTooNew, StoreUnavailable
from store.sqlite import SqliteStore
from store.sqlite_table import Table
from store.sqlite_walk import covering, select
from store.walk import Walk
from tests.store.conftest import APART, COLLECTIONS, HEADERS, MARKS, THINGS, key

POSITIONS = {
    "by_height": [(5, key(1)), (None, key(1))],
    "by_region": [("de", 5, key(1)), ("de", None, key(1)), (None, None, key(1))],
    "by_owner": [(b"o", "de", 5, key(1)), (None, "de", None, key(1))],
    "by_pending": [(5, "de", key(1)), (5, None, key(1))],
}
PLANNED = [
    Find(),
    Find(after=(key(1),)),
    Find(lower=key(1), upper=key(9)),
    Find("by_region", {"region": "de"}),
    Find("by_region", {"region": "de"}, after=(5, key(1))),
    Find("by_region", {"region": None}, after=(None, key(1))),
    Find("by_region", {"region": "de", "height": None}, after=(key(1),)),
    Find("by_owner", {"owner": b"o"}, lower="a", upper="z", after=("de", None, key(1))),
    Find("by_pending", {"height": 5}, after=("de", key(1))),
    Find("by_pending", lower=1, upper=9),
    Find("by_height", lower=1, upper=9, after=(5, key(1))),
    *(Find(name) for name in POSITIONS),
    *(Find(name, after=after) for name, positions in POSITIONS.items() for after in positions),
]


def plan(path: Path, sql: str, values: list) -> list[str]:
    connection = sqlite3.connect(path)
    try:
        return [row[3] for row in connection.execute("EXPLAIN QUERY PLAN " + sql, values)]
    finally:
        connection.close()


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize(
    ("collection", "keys"), [(THINGS, "keys.number USING PRIMARY KEY"), (APART, "apart USING INDEX apart._id")]
)
async def test_every_page_is_read_along_its_index(
    sqlite: SqliteStore, path: Path, descending: bool, collection: Collection, keys: str
) -> None:
    table, name = Table(collection, number=1), collection.name
    for planned in PLANNED:
        find = replace(planned, descending=descending)
        for segment in Walk(collection, find).segments(compares_rows=True):
            sql, values = select(table, find, segment, 10)
            step, *joined = plan(path, sql, values)
            along = f"{name} USING INDEX {name}.{find.index}" if find.index else keys
            assert along in step or step == "SCAN keys.number", (find, step)
            is_shared = bool(collection.family) and find.index is None
            assert joined == [f"SEARCH {name} USING INTEGER PRIMARY KEY (rowid=?)"] * is_shared
            has_range = bool(segment.beyond) or any(term.value is not None for term in segment.terms)
            assert step.startswith("SEARCH" if has_range else ("SEARCH", "SCAN")), (find, sql, step)


@pytest.mark.parametrize("collection", [MARKS, HEADERS])
async def test_walks_along_clustered_keys_need_no_sort(sqlite: SqliteStore, path: Path, collection) -> None:
    one = 5 if collection is HEADERS else b"x"
    table = Table(collection)
    for find in (Find(), Find(descending=True), Find(lower=one, upper=one), Find(after=(one,))):
        for segment in Walk(collection, find).segments(compares_rows=True):
            (step,) = plan(path, *select(table, find, segment, 10))
            assert step.startswith("SEARCH" if find.lower or find.after else "SCAN")
    index = collection.indexes[0]
    at = Find(index.name, {index.fields[0]: 5 if collection is MARKS else b"r"}, after=(one,))
    (segment,) = Walk(collection, at).segments(compares_rows=True)
    (step,) = plan(path, *select(table, at, segment, 10))
    assert step.startswith("SEARCH") and step.count("=?") == 1 and ">?" in step


async def test_a_count_reads_the_index_only(sqlite: SqliteStore, path: Path) -> None:
    find = Find("by_region", {"region": "de"}, lower=1)
    covered, values = covering(Table(THINGS), find, is_counted=True)
    (step,) = plan(path, f"SELECT COUNT(*){covered}", values)
    assert step == "SEARCH things USING COVERING INDEX things.by_region (region=? AND height>?)"


@pytest.mark.parametrize(
    ("collection", "found"),
    [
        (THINGS, ["t USING INTEGER PRIMARY KEY (rowid=?)", "keys.number USING PRIMARY KEY (_key=? AND _of=?)"]),
        (APART, ["t USING INDEX apart._id (_id=?)"]),
    ],
)
async def test_patches_of_a_group_search_by_key(
    sqlite: SqliteStore, path: Path, collection: Collection, found: list[str]
) -> None:
    condition = Table(collection, number=1).keys.matching("t", "v.column1")
    sql = (
        f'UPDATE {collection.name} AS t SET "amount" = v.column2 FROM (VALUES (?,?),(?,?)) AS v '
        f'WHERE {condition} AND t."amount" IS v.column2'
    )
    steps = plan(path, sql, [key(1), 1, key(2), 2])
    assert [step for step in steps if step.startswith("SEARCH")] == [f"SEARCH {each}" for each in found]
    assert not any(step.startswith(("SCAN t", "SCAN keys")) for step in steps)


async def test_a_database_of_a_newer_release(sqlite: SqliteStore, path: Path) -> None:
    await sqlite.commit([Insert(THINGS, {"_id": key(1)})])
    await sqlite.close()
    connection = sqlite3.connect(path)
    connection.execute("UPDATE meta SET value = 7 WHERE name = 'version'")
    connection.commit()
    await sqlite.open(COLLECTIONS)  # newer, but says that this release may still use it
    assert await sqlite.count(THINGS) == 1
    await sqlite.close()
    connection.execute("UPDATE meta SET value = 7 WHERE name = 'compatible'")
    connection.commit()
    connection.close()
    with pytest.raises(StoreTooNew) as caught:
        await sqlite.open(COLLECTIONS)
    assert caught.value.code is ErrorCode.STORAGE_TOO_NEW


async def test_a_database_of_an_older_release_is_closed_to_that(sqlite: SqliteStore, path: Path) -> None:
    await sqlite.commit([Insert(THINGS, {"_id": key(1)})])
    await sqlite.close()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE meta SET value = 1 WHERE name IN ('version', 'compatible')")
        await sqlite.open(COLLECTIONS)
        assert await sqlite.count(THINGS) == 1
        found = dict(connection.execute("SELECT name, value FROM meta WHERE name IN ('version', 'compatible')"))
    assert found == {"version": 2, "compatible": 2}


async def test_a_field_declared_as_another_kind(sqlite: SqliteStore, path: Path) -> None:
    other = SqliteStore(path)
    with pytest.raises(Internal, match=r"things\.height"):
        await other.open([replace(THINGS, fields={**THINGS.fields, "height": "text"})])


async def test_what_is_not_a_database(path: Path) -> None:
    path.write_bytes(b"something else entirely, for certain" * 200)
    with pytest.raises(StoreUnavailable):
        await SqliteStore(path).open(COLLECTIONS)
    with pytest.raises(StoreUnavailable):
        await SqliteStore(path.parent / "nowhere" / "node.db").open(COLLECTIONS)


async def test_a_disk_that_is_full_and_then_is_not(sqlite: SqliteStore) -> None:
    await sqlite.commit([Insert(THINGS, {"_id": key(0)})])
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, unlimited[1]))
    try:
        commits = [sqlite.commit([Insert(THINGS, {"_id": key(n), "blob": bytes(100_000)})]) for n in range(1, 40)]
        results = await asyncio.gather(*commits, return_exceptions=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    assert {type(result) for result in results} <= {type(None), StoreUnavailable}
    assert any(isinstance(result, StoreUnavailable) for result in results)
    stored = await sqlite.get_many(THINGS, [key(n) for n in range(1, 40)])
    assert set(stored) == {key(n) for n, result in enumerate(results, 1) if result is None}
    await sqlite.commit([Insert(THINGS, {"_id": key(n), "blob": bytes(100_000)}) for n in range(100, 110)])
    assert await sqlite.count(THINGS) == len(stored) + 11
    assert await sqlite.check() == []


async def test_a_group_is_bounded(path: Path) -> None:
    store = SqliteStore(path, flush_max_writes=3)
    await store.open(COLLECTIONS)
    sizes = (1, 2, 3, 10, 1, 1, 1, 1)
    commits = [
        store.commit([Insert(THINGS, {"_id": key(100 * n + i)}) for i in range(size)])
        for n, size in enumerate(sizes)
    ]
    await asyncio.gather(*commits)
    assert await store.count(THINGS) == sum(sizes)
    await store.close()


async def test_commits_far_beyond_the_variables_of_a_statement(sqlite: SqliteStore) -> None:
    await sqlite.commit([Insert(THINGS, {"_id": key(n), "amount": n}) for n in range(5000)])
    await sqlite.commit([Patch(THINGS, key(n), {"height": n}, {"amount": n}) for n in range(5000)])
    with pytest.raises(Conflict) as caught:
        await sqlite.commit([Patch(THINGS, key(n), {"height": 0}, {"amount": n % 4999}) for n in range(5000)])
    assert caught.value.write_index == 4999
    page = await sqlite.find(THINGS, Find("by_height", limit=5000))
    assert [document["amount"] for document in page.documents] == list(range(5000))


async def test_a_long_read_holds_up_no_point_read(sqlite: SqliteStore) -> None:
    for start in range(0, 60_000, 20_000):
        await sqlite.commit([Insert(THINGS, {"_id": key(n), "amount": n}) for n in range(start, start + 20_000)])
    long = asyncio.ensure_future(sqlite.aggregate(THINGS, Find(), ["amount"], "amount"))
    await asyncio.sleep(0)
    assert await sqlite.get(THINGS, key(59_999)) is not None
    assert not long.done()
    assert len(await long) == 60_000
