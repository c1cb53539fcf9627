"""The MongoDB driver of the storage port, on PyMongo Async: a replica set or a sharded cluster.

A commit is a multi-document transaction, acknowledged by a majority and journalled; commits that wait
share one. Several processes may share a database: what a commit relies on is guarded as described in
`mongodb_statements`, so commits are serialisable with respect to the keys they name.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from pymongo import AsyncMongoClient
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import ConfigurationError, InvalidURI, PyMongoError
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from config.errors import ErrorCode, MetawattError
from store.mongodb_codec import CODEC, Codec
from store.mongodb_committer import Committer
from store.mongodb_reads import aggregate, count, find_page
from store.mongodb_schema import apply_schema
from store.mongodb_statements import Statements
from store.port import Collection, Document, Find, Key, Page, StoreUnavailable, Total, Write
from store.values import KEY_FIELD, checked_find


@asynccontextmanager
async def _faults_reported() -> AsyncIterator[None]:
    try:
        yield
    except PyMongoError as error:
        raise StoreUnavailable(f"MongoDB does not answer: {error}") from error


@dataclass(frozen=True, slots=True)
class _Open:
    """What there is while the store is open."""

    client: AsyncMongoClient[Document]
    database: AsyncDatabase[Document]
    committer: Committer
    statements: dict[str, Statements]


class MongoStore:
    """`store.port.Store` on the database `database` of the deployment at `uri`.

    `timeout_secs` bounds how long a server may take to be found and each operation to be answered.
    """

    def __init__(self, uri: str, database: str, *, timeout_secs: float = 10, flush_max_writes: int = 4096) -> None:
        self._uri = uri
        self._name = database
        self._timeout_secs = timeout_secs
        self._flush_max_writes = flush_max_writes
        self._state: _Open | None = None

    async def open(self, collections: Sequence[Collection]) -> None:
        """See the port. Refuses a standalone server, which has no transactions."""
        client = self._client()
        try:
            async with _faults_reported():
                database = client.get_database(
                    self._name,
                    codec_options=CODEC,
                    read_concern=ReadConcern("majority"),
                    write_concern=WriteConcern("majority", j=True),
                )
                await _require_transactions(database)
                await apply_schema(database, collections)
        except BaseException:
            await client.close()
            raise
        statements = {c.name: Statements(Codec(c), database[c.name]) for c in collections}
        self._state = _Open(
            client, database, Committer(client, self._flush_max_writes, self._timeout_secs), statements
        )

    def _client(self) -> AsyncMongoClient[Document]:
        timeout_ms = int(self._timeout_secs * 1000)
        try:
            return AsyncMongoClient(
                self._uri,
                w="majority",
                journal=True,
                serverSelectionTimeoutMS=timeout_ms,
                connectTimeoutMS=timeout_ms,
                socketTimeoutMS=timeout_ms,
                appname="metawatt",
            )
        except (ConfigurationError, InvalidURI, ValueError) as error:
            raise MetawattError(f"storage.uri is not sound: {error}", ErrorCode.SETTINGS_INVALID) from error

    async def close(self) -> None:
        """See the port."""
        state, self._state = self._state, None
        if state is not None:
            await state.committer.close()
            await state.client.close()

    async def commit(self, writes: Sequence[Write]) -> None:
        """See the port. Once called, the writes go through (or not) even if the caller is cancelled."""
        state = self._opened()
        steps = [state.statements[write.collection.name].step(write) for write in writes]
        if steps:
            await state.committer.put(steps)

    async def get(self, collection: Collection, key: Key) -> Document | None:
        """See the port."""
        return (await self.get_many(collection, (key,))).get(key)

    async def get_many(self, collection: Collection, keys: Sequence[Key]) -> dict[Key, Document]:
        """See the port."""
        found = self._found(collection)
        wanted = [found.codec.key(key) for key in keys]
        if not wanted:
            return {}
        async with _faults_reported():
            stored = await found.documents.find({KEY_FIELD: {"$in": wanted}}).to_list(None)
        return {document[KEY_FIELD]: found.codec.document(document) for document in stored}

    async def get_each(self, requests: Sequence[tuple[Collection, Sequence[Key]]]) -> list[dict[Key, Document]]:
        """See the port. MongoDB reads one collection a trip; the trips are made side by side."""
        return list(await asyncio.gather(*(self.get_many(collection, keys) for collection, keys in requests)))

    async def find(self, collection: Collection, find: Find) -> Page:
        """See the port."""
        found, checked = self._found(collection), checked_find(collection, find)
        async with _faults_reported():
            return await find_page(found.codec, found.documents, checked)

    async def count(self, collection: Collection, find: Find | None = None) -> int:
        """See the port."""
        found, checked = self._found(collection), checked_find(collection, find or Find())
        async with _faults_reported():
            return await count(collection, found.documents, checked)

    async def aggregate(
        self, collection: Collection, find: Find, group_by: Sequence[str], total: str
    ) -> list[Total]:
        """See the port."""
        found, checked = self._found(collection), checked_find(collection, find)
        async with _faults_reported():
            return await aggregate(collection, found.documents, checked, group_by, total)

    async def size_bytes(self) -> int:
        """Documents and indexes as the server reports them."""
        async with _faults_reported():
            stats = await self._opened().database.command("dbStats")
        return int(stats.get("storageSize", 0)) + int(stats.get("indexSize", 0))

    async def check(self) -> list[str]:
        """The server's own `validate` of each collection."""
        state = self._opened()
        faults: list[str] = []
        async with _faults_reported():
            for name in state.statements:
                result = await state.database.command("validate", name)
                if not result["valid"]:
                    faults += [f"{name}: {error}" for error in result.get("errors") or ["not valid"]]
        return faults

    def _found(self, collection: Collection) -> Statements:
        return self._opened().statements[collection.name]

    def _opened(self) -> _Open:
        if self._state is None:
            raise StoreUnavailable("the database is not open")
        return self._state


async def _require_transactions(database: AsyncDatabase[Document]) -> None:
    hello = await database.command("hello")
    if "setName" not in hello and hello.get("msg") != "isdbgrid":
        raise MetawattError(
            "this MongoDB is a standalone server, without transactions: start mongod with --replSet and "
            "initiate the set (one member will do)",
            ErrorCode.SETTINGS_INVALID,
        )
