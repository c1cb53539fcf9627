"""Writes as MongoDB operations inside a transaction, many to a round trip.

Transactions are snapshots: two that write one document cannot both commit, but two that only read what
the other writes can (write skew). So whatever a commit relies on, it also writes: a patch counts the
document's revision up, and the guard `Absent` inserts a document under the key and deletes it again. A
transaction that puts a document there at the same time then meets a write conflict with the guard, and
one of the two is retried, and sees the other.

A statement raises `Conflict` when some row of its batch is at fault; which one is sure only when the
batch has one row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Protocol, TypeAlias

from pymongo import DeleteMany, DeleteOne, InsertOne, ReplaceOne, UpdateOne
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.errors import BulkWriteError

from store.grouping import Row, Step
from store.mongodb_codec import Codec
from store.port import Absent, Conflict, Delete, Document, Insert, Key, Patch, Put, Write
from store.values import KEY_FIELD

Documents: TypeAlias = AsyncCollection[Document]

DUPLICATE_KEY: Final = 11000


class Statement(Protocol):
    """One kind of write to one collection."""

    async def run(self, session: AsyncClientSession, rows: Sequence[Row]) -> None: ...


MongoStep: TypeAlias = Step[Statement]


async def _bulk(documents: Documents, operations: Sequence[Any], session: AsyncClientSession) -> Any:
    try:
        return await documents.bulk_write(operations, session=session)
    except BulkWriteError as error:
        faults = error.details.get("writeErrors", [])
        if faults and all(fault.get("code") == DUPLICATE_KEY for fault in faults):
            raise Conflict(f"a document of {documents.name} exists already") from error
        raise


class _Inserts:
    """New documents. A row is the stored document."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    async def run(self, session: AsyncClientSession, rows: Sequence[Row]) -> None:
        await _bulk(self._documents, [InsertOne(stored) for (stored,) in rows], session)


class _Keeps:
    """New documents, where there is none yet. A row is the key and the stored document."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    async def run(self, session: AsyncClientSession, rows: Sequence[Row]) -> None:
        operations = [UpdateOne({KEY_FIELD: key}, {"$setOnInsert": stored}, upsert=True) for key, stored in rows]
        await _bulk(self._documents, operations, session)


class _Puts:
    """Documents, whether there are some already or not. A row is the key and the stored document."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    async def run(self, session: AsyncClientSession, rows: Sequence[Row]) -> None:
        operations = [ReplaceOne({KEY_FIELD: key}, stored, upsert=True) for key, stored in rows]
        await _bulk(self._documents, operations, session)


class _Patches:
    """Changes to documents. A row is the key, the filter on expected values, and the update."""

    def __init__(self, documents: Documents, must_exist: bool) -> None:
        self._documents = documents
        self._must_exist = must_exist

    async def run(self, session: AsyncClientSession, rows: Sequence[Row]) -> None:
        operations = [UpdateOne({KEY_FIELD: key, **expected}, update) for key, expected, update in rows]
        result = await _bulk(self._documents, operations, session)
        if result.matched_count == len(rows):
            return
        keys = [key for key, _, _ in rows]
        found = await self._documents.count_documents({KEY_FIELD: {"$in": keys}}, session=session)
        if self._must_exist and found != len(rows):
            raise Conflict(f"no such document of {self._documents.name}")
        if result.matched_count != found:
            raise Conflict(f"a document of {self._documents.name} holds another value than expected")


class _Deletes:
    """Documents that go. A row is the key and the filter on expected values."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    async def run(self, session: AsyncClientSession, rows: Sequence[Row]) -> None:
        operations = [DeleteOne({KEY_FIELD: key, **expected}) for key, expected in rows]
        await _bulk(self._documents, operations, session)
        checked = [key for key, expected in rows if expected]
        if checked and await self._documents.find_one({KEY_FIELD: {"$in": checked}}, session=session):
            raise Conflict(f"a document of {self._documents.name} holds another value than expected")


class _Guards:
    """Keys under which there is nothing. A row is the key."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    async def run(self, session: AsyncClientSession, rows: Sequence[Row]) -> None:
        keys = [key for (key,) in rows]
        guards: list[Any] = [InsertOne({KEY_FIELD: key}) for key in keys]
        await _bulk(self._documents, [*guards, DeleteMany({KEY_FIELD: {"$in": keys}})], session)


class Statements:
    """All statements of one collection, each made once."""

    def __init__(self, codec: Codec, documents: Documents) -> None:
        self.codec = codec
        self.documents = documents
        self._inserts = _Inserts(documents)
        self._keeps = _Keeps(documents)
        self._puts = _Puts(documents)
        self._patches = {must_exist: _Patches(documents, must_exist) for must_exist in (False, True)}
        self._deletes = _Deletes(documents)
        self._guards = _Guards(documents)

    def step(self, write: Write) -> MongoStep:
        """A write made ready; BadRequest when it cannot be stored."""
        if isinstance(write, Insert | Put):
            return self._document_step(write)
        key = self.codec.key(write.key)
        if isinstance(write, Patch):
            return self._patch_step(write, key)
        if isinstance(write, Delete):
            return self._step(self._deletes, key, (key, self.codec.expected(write.expect)))
        return self._guard_step(write, key)

    def _step(self, statement: Statement, key: Key, row: Row) -> MongoStep:
        return Step(statement, (self.codec.collection.name, key), row)

    def _document_step(self, write: Insert | Put) -> MongoStep:
        key, stored = self.codec.stored(write.document)
        if isinstance(write, Put):
            return self._step(self._puts, key, (key, stored))
        if write.keep:
            return self._step(self._keeps, key, (key, stored))
        return self._step(self._inserts, key, (stored,))

    def _patch_step(self, patch: Patch, key: Key) -> MongoStep:
        if KEY_FIELD in patch.changes:
            raise ValueError("a patch cannot change a document's key")
        row = (key, self.codec.expected(patch.expect), self.codec.update(patch.changes))
        return self._step(self._patches[patch.must_exist], key, row)

    def _guard_step(self, guard: Absent, key: Key) -> MongoStep:
        return self._step(self._guards, key, (key,))
