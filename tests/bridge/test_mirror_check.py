"""`metawatt check` of the mirror: what was changed in the database is found."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson
import pytest

from bridge.mirror.checks.mirror_check import check_mirror
from bridge.mirror.records import AUDIT, LOTS, MESSAGES, MIRROR, MIRROR_COLLECTIONS, RECEIPTS
from certificates.canonical import canonical
from store.pages import every
from store.port import Delete, Document, Find, Patch, Put, Write
from store.sqlite import SqliteStore
from tests.bridge.receipts_kit import Played, play


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Played:
    """Made once: each test has a copy of the database."""
    return asyncio.run(play(tmp_path_factory.mktemp("check")))


@pytest.fixture
async def store(stored: Played, tmp_path: Path) -> AsyncIterator[SqliteStore]:
    shutil.copy(stored.folder / "node.db", tmp_path / "node.db")
    copy = SqliteStore(tmp_path / "node.db", cache_mib=4)
    await copy.open(MIRROR_COLLECTIONS)
    yield copy
    await copy.close()


async def test_what_the_mirror_left_is_sound(store: SqliteStore) -> None:
    assert await check_mirror(store) == []


def _rewritten(row: Document, change: Callable[[dict[str, Any]], object]) -> Document:
    """An entry with its text changed, under the hash of the new text, as somebody would who knows how."""
    entry = orjson.loads(row["text"])
    change(entry)
    text = canonical(entry)
    return {**row, "text": text, "hash": sha256(text).digest()}


async def test_an_entry_that_was_changed(store: SqliteStore) -> None:
    rows = await every(store, AUDIT, Find())
    middle = rows[len(rows) // 2]
    await store.commit([Put(AUDIT, {**middle, "text": middle["text"].replace(b'"at_ms"', b'"at_mS"')})])
    assert any("another hash than its own" in fault for fault in await check_mirror(store))
    await store.commit([Put(AUDIT, _rewritten(middle, lambda entry: entry.update(at_ms=1)))])
    faults = await check_mirror(store)
    assert f"I6: the log's entry {middle['_id'] + 1} does not hold the hash of the one before" in faults


async def test_a_log_that_was_written_anew(store: SqliteStore) -> None:
    """Every hash fits; the receipts that were signed before tell of another log."""
    head, previous = None, bytes(32).hex()
    for row in await every(store, AUDIT, Find()):
        fresh = _rewritten(row, partial(_chained, previous=previous))
        previous, head = fresh["hash"].hex(), fresh
        await store.commit([Put(AUDIT, fresh)])
    assert head is not None
    await store.commit([Patch(MIRROR, "head", {"hash": head["hash"]})])
    faults = await check_mirror(store)
    assert len(faults) == 5
    assert all("tells of entries that are not in the log" in fault for fault in faults)


def _chained(entry: dict[str, Any], previous: str) -> None:
    entry.update(at_ms=entry["at_ms"] + 1, previous=previous)


async def test_the_last_entry_that_was_changed_or_taken_out(store: SqliteStore) -> None:
    last = (await every(store, AUDIT, Find()))[-1]
    await store.commit([Put(AUDIT, _rewritten(last, lambda entry: entry.update(at_ms=1)))])
    assert any("the log's head" in fault for fault in await check_mirror(store))
    await store.commit([Delete(AUDIT, last["_id"])])
    assert any("the log's head" in fault for fault in await check_mirror(store))


async def test_an_entry_that_is_missing(store: SqliteStore) -> None:
    await store.commit([Delete(AUDIT, 3)])
    assert any("entry 3 is missing" in fault for fault in await check_mirror(store))


async def test_a_step_that_there_is_not(store: SqliteStore) -> None:
    row = await store.get(AUDIT, 1)
    assert row is not None

    def skip(entry: dict[str, Any]) -> None:
        entry["edges"].append({"message": entry["edges"][0]["message"], "from": "ACCOUNTED", "to": "OBSERVED"})

    await store.commit([Put(AUDIT, _rewritten(row, skip))])
    faults = await check_mirror(store)
    assert any("leave" in fault for fault in faults)


@pytest.mark.parametrize("text", [b"", b"{}", b"[1]", b'{"n":1,"previous":"","edges":[{"message":"x"}]}'])
async def test_an_entry_that_cannot_be_read(store: SqliteStore, text: bytes) -> None:
    await store.commit([Put(AUDIT, {"_id": 1, "text": text, "hash": sha256(text).digest()})])
    assert any("entry 1 cannot be read" in fault for fault in await check_mirror(store))


async def test_a_log_that_is_gone(store: SqliteStore) -> None:
    await store.commit([Delete(MIRROR, "head")])
    assert any("log's head is entry 0" in fault for fault in await check_mirror(store))
    await store.commit([Delete(AUDIT, row["_id"]) for row in await every(store, AUDIT, Find())])
    assert any("messages name entries up to" in fault for fault in await check_mirror(store))


MESSAGE_CHANGES = [
    ({"state": "HELD", "reason": {"code": "operator", "text": ""}, "ended_ms": None}, "the log left it"),
    ({"entries": [1]}, "tells of it last"),
    ({"open_ms": 5}, "its open_ms does not fit"),
    ({"lane": "in"}, "its lane does not fit"),
    ({"ended_ms": None}, "and ended at None"),
    ({"state": "NOWHERE"}, "cannot be read"),
]


@pytest.mark.parametrize(("changes", "told"), MESSAGE_CHANGES)
async def test_a_message_that_was_changed(store: SqliteStore, changes: dict[str, Any], told: str) -> None:
    row = (await every(store, MESSAGES, Find("seq")))[0]
    await store.commit([Put(MESSAGES, row | changes)])
    assert any(told in fault for fault in await check_mirror(store))


async def test_two_messages_of_one_event(store: SqliteStore) -> None:
    row = (await every(store, MESSAGES, Find("seq")))[0]
    await store.commit([Put(MESSAGES, {**row, "_id": bytes(32)})])
    faults = await check_mirror(store)
    assert any("of the same source event as" in fault for fault in faults)
    assert any("log tells nothing of message 0000" in fault for fault in faults)


async def test_a_message_that_is_gone(store: SqliteStore) -> None:
    row = (await every(store, MESSAGES, Find("seq")))[0]
    await store.commit([Delete(MESSAGES, row["_id"])])
    faults = await check_mirror(store)
    assert any("of which" in fault for fault in faults)
    assert any("is of no message that is here" in fault for fault in faults)


async def test_a_receipt_that_is_gone_or_was_changed(store: SqliteStore) -> None:
    first, second = (await every(store, RECEIPTS, Find()))[:2]
    changed = first["receipt"].replace(b'"written_ms":1', b'"written_ms":2')
    writes: list[Write] = [Put(RECEIPTS, {**first, "receipt": changed}), Delete(RECEIPTS, second["_id"])]
    await store.commit(writes)
    faults = await check_mirror(store)
    assert any("is not signed by the bridge" in fault for fault in faults)
    assert any("has no receipt" in fault for fault in faults)
    await store.commit([Put(RECEIPTS, {**first, "receipt": b"{}"})])
    assert any("cannot be read" in fault for fault in await check_mirror(store))


async def test_a_lot_with_more_left_than_it_had(store: SqliteStore) -> None:
    lot = (await every(store, LOTS, Find()))[0]
    await store.commit([Put(LOTS, {**lot, "left": lot["units"] + 1})])
    assert any(f"lot {lot['_id']}" in fault for fault in await check_mirror(store))
