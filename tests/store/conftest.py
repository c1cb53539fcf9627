"""The contract suite's stores: SQLite, a MongoDB-compatible server in a process of its own, and a real
`mongod` when METAWATT_TEST_MONGODB_URI names one."""

from __future__ import annotations

import os
import re
import secrets
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from pymongo import MongoClient

from store.mongodb import MongoStore
from store.port import Collection, Index, Store
from store.sqlite import SqliteStore

REAL_MONGODB = os.environ.get("METAWATT_TEST_MONGODB_URI")

THINGS = Collection(
    "things",
    "bytes",
    {"owner": "bytes", "region": "text", "height": "int", "amount": "int"},
    (
        Index("by_height", ("height",)),
        Index("by_region", ("region", "height")),
        Index("by_owner", ("owner", "region", "height")),
        Index("by_pending", ("height", "region"), partial=True),
    ),
    family="number",
)
MARKS = Collection("marks", "bytes", {"at_ms": "int"}, (Index("by_at", ("at_ms",)),), clustered=True)
HEADERS = Collection("headers", "int", {"root": "bytes"}, (Index("by_root", ("root",)),))
NAMES = Collection("names", "text", {"n": "int"}, clustered=True)
APART = replace(THINGS, name="apart", family="")
OTHERS = Collection("others", "bytes", {"amount": "int"}, family="number")
COLLECTIONS = (THINGS, APART, OTHERS, MARKS, HEADERS, NAMES)

DRIVERS = ["sqlite", "secantus", *(["mongod"] if REAL_MONGODB else [])]


def key(number: int) -> bytes:
    """A key of 32 bytes that sorts as `number` does."""
    return number.to_bytes(32, "big")


@contextmanager
def serving(folder: Path, *options: str) -> Iterator[str]:
    """A server that speaks MongoDB's wire, in a process of its own on a free port; gives its URI."""
    program = Path(sys.executable).with_name("secantusd-py")
    command = [str(program), "--port", "0", "--storage-path", str(folder / "data"), *options]
    with (
        (folder / "log").open("w+") as log,
        subprocess.Popen(command, stdout=log, stderr=log, cwd=folder) as server,
    ):
        try:
            yield f"mongodb://127.0.0.1:{_port(server, folder / 'log')}/"
        finally:
            server.terminate()
            server.wait(20)


@pytest.fixture(scope="session")
def secantus_uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One server for the session; each test takes a database of its own."""
    with serving(tmp_path_factory.mktemp("secantus")) as uri:
        yield uri


def _port(server: subprocess.Popen[bytes], log: Path) -> int:
    """The port that the server says it listens on, once it does."""
    for _ in range(600):
        if found := re.search(r"listening on 127\.0\.0\.1:(\d+)", log.read_text()):
            return int(found[1])
        assert server.poll() is None, log.read_text()
        time.sleep(0.05)
    raise AssertionError(f"the server did not start: {log.read_text()}")


MakeStore = Callable[[], Store]


@pytest.fixture(params=DRIVERS)
def make_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MakeStore]:
    """Makes stores, not yet opened, on one new database."""
    if request.param == "sqlite":
        yield lambda: SqliteStore(tmp_path / "node.db", cache_mib=4)
        return
    uri = REAL_MONGODB if request.param == "mongod" else request.getfixturevalue("secantus_uri")
    name = f"metawatt_test_{secrets.token_hex(6)}"
    yield lambda: MongoStore(uri, name)
    with MongoClient(uri) as client:
        client.drop_database(name)


@pytest.fixture
async def stores(make_store: MakeStore) -> AsyncIterator[Callable]:
    """Opens stores on one database, and closes them in the end."""
    async with AsyncExitStack() as stack:

        async def opened(collections=COLLECTIONS) -> Store:
            store = make_store()
            await store.open(collections)
            stack.push_async_callback(store.close)
            return store

        yield opened


@pytest.fixture
async def store(stores: Callable) -> Store:
    """One open store."""
    return await stores()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the embedded store's file is."""
    return tmp_path / "node.db"


@pytest.fixture
async def sqlite(path: Path) -> AsyncIterator[SqliteStore]:
    """One open embedded store, for what is particular to it."""
    store = SqliteStore(path, cache_mib=2)
    await store.open(COLLECTIONS)
    yield store
    await store.close()
