"""The schema on MongoDB: numbered steps and declared indexes, applied at open under a lease.

The collection `meta` holds two documents: `schema` with `version` and `compatible` as in `sqlite_schema`,
and `lease` with the one process that may change the schema, until when by the server's clock.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import DuplicateKeyError, OperationFailure

from store.port import Collection, Document, Index, StoreTooNew, StoreUnavailable
from store.values import KEY_FIELD

LEASE_SECS: Final = 120
_ASK_AGAIN_SECS: Final = 0.2
_EXISTS_OTHERWISE: Final = frozenset({85, 86})  # IndexOptionsConflict, IndexKeySpecsConflict
_NAMESPACE_EXISTS: Final = 48


async def _no_change(_: AsyncDatabase[Document]) -> None:
    """The first schema is made of what collections declare."""


async def _carry_raw_bytes(_: AsyncDatabase[Document]) -> None:
    """Small transactions' documents carry their raw bytes from now on, where older code does not look for them."""


# Each step is applied once, in order, and must do no harm when applied again.
STEPS: Final[Mapping[int, Callable[[AsyncDatabase[Document]], Awaitable[None]]]] = {
    1: _no_change,
    2: _carry_raw_bytes,
}
VERSION: Final = max(STEPS)
COMPATIBLE: Final = 2


async def apply_schema(database: AsyncDatabase[Document], collections: Sequence[Collection]) -> None:
    """Bring the database up to date. Raises StoreTooNew, or StoreUnavailable when the lease stays taken."""
    async with _lease(database):
        await _apply_steps(database)
        existing = set(await database.list_collection_names())
        for collection in collections:
            if collection.name not in existing:
                await _make(database, collection.name)
            for index in collection.indexes:
                await _apply_index(database, collection, index)


async def _apply_steps(database: AsyncDatabase[Document]) -> None:
    meta = database["meta"]
    schema = await meta.find_one({KEY_FIELD: "schema"}) or {"version": 0, "compatible": 0}
    if schema["compatible"] > VERSION:
        raise StoreTooNew(
            f"the database needs a release that knows schema {schema['compatible']}; this one knows {VERSION}"
        )
    for number in range(schema["version"] + 1, VERSION + 1):
        await STEPS[number](database)
    if schema["version"] < VERSION:
        values = {"version": VERSION, "compatible": max(COMPATIBLE, schema["compatible"])}
        await meta.update_one({KEY_FIELD: "schema"}, {"$set": values}, upsert=True)


async def _make(database: AsyncDatabase[Document], name: str) -> None:
    try:
        await database.create_collection(name, check_exists=False)
    except OperationFailure as error:
        if error.code != _NAMESPACE_EXISTS:
            raise


async def _apply_index(database: AsyncDatabase[Document], collection: Collection, index: Index) -> None:
    documents, keys, options = database[collection.name], index_keys(index), _index_options(index)
    try:
        await documents.create_index(keys, name=index.name, **options)
    except OperationFailure as error:
        if error.code not in _EXISTS_OTHERWISE:
            raise
        await documents.drop_index(index.name)
        await documents.create_index(keys, name=index.name, **options)


def index_keys(index: Index) -> list[tuple[str, int]]:
    """The index's fields, and the key as the tiebreak."""
    return [(name, 1) for name in (*index.fields, KEY_FIELD)]


def _index_options(index: Index) -> dict[str, Any]:
    return {"partialFilterExpression": {index.fields[0]: {"$exists": True}}} if index.partial else {}


@asynccontextmanager
async def _lease(database: AsyncDatabase[Document]) -> AsyncIterator[None]:
    """Hold the schema's lease. It expires, so that a process that died does not keep others out."""
    meta, owner = database["meta"], secrets.token_hex(16)
    with suppress(DuplicateKeyError):
        await meta.insert_one({KEY_FIELD: "lease", "owner": None, "until": datetime.fromtimestamp(0, UTC)})
    await _taken(database, owner)
    try:
        yield
    finally:
        released = {"$set": {"owner": None, "until": datetime.fromtimestamp(0, UTC)}}
        await meta.update_one({KEY_FIELD: "lease", "owner": owner}, released)


async def _taken(database: AsyncDatabase[Document], owner: str) -> None:
    for _ in range(int(LEASE_SECS / _ASK_AGAIN_SECS) + 1):
        now: datetime = (await database.command("hello"))["localTime"]
        until = now + timedelta(seconds=LEASE_SECS)
        expired = {KEY_FIELD: "lease", "until": {"$lt": now}}
        result = await database["meta"].update_one(expired, {"$set": {"owner": owner, "until": until}})
        if result.matched_count:
            return
        await asyncio.sleep(_ASK_AGAIN_SECS)
    raise StoreUnavailable("another process has been changing the schema for too long")
