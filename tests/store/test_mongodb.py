"""What is particular to the MongoDB driver: the schema document, its lease, servers it refuses."""

from __future__ import annotations

import asyncio
import gc
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from pymongo import MongoClient
from pymongo.database import Database

from config.errors import BadRequest, ErrorCode, MetawattError
from store import mongodb_committer, mongodb_schema
from store.mongodb import MongoStore
from store.port import Find, Insert, StoreTooNew, StoreUnavailable
from tests.store.conftest import COLLECTIONS, REAL_MONGODB, THINGS, key, serving


@pytest.fixture
def database(secantus_uri: str) -> Iterator[Database]:
    with MongoClient(secantus_uri) as client:
        name = f"metawatt_test_{secrets.token_hex(6)}"
        yield client[name]
        client.drop_database(name)


async def test_a_database_of_a_newer_release(database: Database, secantus_uri: str) -> None:
    store = MongoStore(secantus_uri, database.name)
    await store.open(COLLECTIONS)
    await store.close()
    database["meta"].update_one({"_id": "schema"}, {"$set": {"version": 7}})
    await store.open(COLLECTIONS)
    await store.close()
    database["meta"].update_one({"_id": "schema"}, {"$set": {"compatible": 7}})
    with pytest.raises(StoreTooNew):
        await store.open(COLLECTIONS)


async def test_a_database_of_an_older_release_is_closed_to_that(database: Database, secantus_uri: str) -> None:
    store = MongoStore(secantus_uri, database.name)
    await store.open(COLLECTIONS)
    await store.close()
    database["meta"].update_one({"_id": "schema"}, {"$set": {"version": 1, "compatible": 1}})
    await store.open(COLLECTIONS)
    await store.close()
    assert database["meta"].find_one({"_id": "schema"}) == {"_id": "schema", "version": 2, "compatible": 2}


async def test_the_lease_is_waited_for_and_expires(
    database: Database, secantus_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    until = datetime.now(UTC) + timedelta(seconds=1)
    database["meta"].insert_one({"_id": "lease", "owner": "somebody who died", "until": until})
    store = MongoStore(secantus_uri, database.name)
    await store.open(COLLECTIONS)
    assert datetime.now(UTC) >= until
    await store.close()
    until = datetime.now(UTC) + timedelta(hours=1)
    database["meta"].update_one({"_id": "lease"}, {"$set": {"owner": "somebody", "until": until}})
    monkeypatch.setattr(mongodb_schema, "LEASE_SECS", 0.4)
    with pytest.raises(StoreUnavailable, match="schema"):
        await store.open(COLLECTIONS)


async def test_a_standalone_server_is_refused(tmp_path) -> None:
    with serving(tmp_path, "--standalone") as uri:
        with pytest.raises(MetawattError, match="--replSet") as caught:
            await MongoStore(uri, "node").open(COLLECTIONS)
        assert caught.value.code is ErrorCode.SETTINGS_INVALID


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_server_that_is_not_there_and_one_that_goes(tmp_path) -> None:
    with serving(tmp_path) as uri:
        store = MongoStore(uri, "node", timeout_secs=0.5)
        await store.open(COLLECTIONS)
        await store.commit([Insert(THINGS, {"_id": key(1)})])
    with pytest.raises(StoreUnavailable):
        await store.get(THINGS, key(1))
    with pytest.raises(StoreUnavailable):
        await store.commit([Insert(THINGS, {"_id": key(2)})])
    await store.close()
    with pytest.raises(StoreUnavailable):
        await store.open(COLLECTIONS)
    gc.collect()  # PyMongo leaves sockets that met a refusal to the collector


async def test_a_uri_that_makes_no_sense() -> None:
    with pytest.raises(MetawattError) as caught:
        await MongoStore("mongodb://", "node").open(COLLECTIONS)
    assert caught.value.code is ErrorCode.SETTINGS_INVALID


@pytest.mark.parametrize("fields", [{"$where": 1}, {"a.b": 1}, {"_revision": 1}, {"blob": bytes(17 * 2**20)}])
async def test_documents_that_mongodb_cannot_hold(database: Database, secantus_uri: str, fields: dict) -> None:
    store = MongoStore(secantus_uri, database.name)
    await store.open(COLLECTIONS)
    with pytest.raises(BadRequest):
        await store.commit([Insert(THINGS, {"_id": key(1), **fields})])
    await store.close()


async def test_pages_are_read_along_their_index(database: Database, secantus_uri: str) -> None:
    store = MongoStore(secantus_uri, database.name)
    await store.open(COLLECTIONS)
    await store.commit([Insert(THINGS, {"_id": key(n), "region": "de", "height": n}) for n in range(50)])
    page = await store.find(THINGS, Find("by_region", {"region": "de"}, limit=5))
    assert page.last == (4, key(4))
    cursor = database["things"].find({"$and": [{"region": {"$eq": "de"}}]}).hint("by_region").limit(6)
    assert "IXSCAN" in str(cursor.explain())
    assert database["things"].index_information()["by_region"]["key"] == [("region", 1), ("height", 1), ("_id", 1)]
    await store.close()


@pytest.mark.parametrize("tries", range(30))
def test_pauses_between_tries_are_bounded(tries: int) -> None:
    assert 0 < mongodb_committer.pause_secs(tries) <= 0.5


async def test_two_processes_worth_of_commits_interleave(database: Database, secantus_uri: str) -> None:
    both = [MongoStore(secantus_uri, database.name) for _ in range(2)]
    await asyncio.gather(*(store.open(COLLECTIONS) for store in both))
    commits = [both[n % 2].commit([Insert(THINGS, {"_id": key(n)})]) for n in range(60)]
    assert await asyncio.gather(*commits) == [None] * 60
    assert [await store.count(THINGS) for store in both] == [60, 60]
    await asyncio.gather(*(store.close() for store in both))


@pytest.mark.skipif(not REAL_MONGODB, reason="METAWATT_TEST_MONGODB_URI names no mongod to run the contract on")
async def test_a_real_mongod_is_a_replica_set() -> None:
    store = MongoStore(str(REAL_MONGODB), "metawatt_test_hello")
    await store.open([])
    assert await store.check() == []
    await store.close()
