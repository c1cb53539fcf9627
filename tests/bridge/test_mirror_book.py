"""The book: steps and their entries of the log, in one commit or not at all."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

import pytest

from bridge.minting.lease import Lost, StoredLease
from bridge.mirror.book import GENESIS_HASH, Book
from bridge.mirror.message import Message, message_id, refund_id
from bridge.mirror.records import AUDIT, MESSAGES, MIRROR_COLLECTIONS
from bridge.mirror.states import EDGES, ENDED, Direction, EdgeForbidden, Hold, Kind, State, drawing
from bridge.records import LEASES
from store.pages import every
from store.port import Conflict, Document, Find, Insert
from store.sqlite import SqliteStore
from tests.bridge.minting_kit import Clock, NoLease


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(tmp_path / "node.db", cache_mib=4)
    await store.open([*MIRROR_COLLECTIONS, LEASES])
    yield store
    await store.close()


def book_on(store: SqliteStore) -> Book:
    return Book(store, NoLease(), Clock())


def a_message(number: int = 1, **fields: object) -> Message:
    event = number.to_bytes(70, "big")
    parts = {
        "src_genesis": bytes(32),
        "src_asset": bytes(32),
        "src_event": event,
        "dst_genesis": bytes(32),
        "dst_recipient": b"who",
        "units": 10**9,
    }
    message = Message(
        message_id(**parts), Direction.IN, Kind.DEPOSIT, "mint", 10**9, event[:64], event, "who", created_ms=1
    )
    return replace(message, **fields)


async def opened(book: Book, message: Message) -> Message:
    async with book.page() as page:
        return page.open(message)


async def log_of(store: SqliteStore) -> list[Document]:
    return await every(store, AUDIT, Find())


async def test_each_step_is_in_the_log_and_the_log_is_chained(store: SqliteStore) -> None:
    book = book_on(store)
    message = await opened(book, a_message())
    async with book.page() as page:
        message = page.move(message, State.SRC_FINAL)
        message = page.move(message, State.VALIDATED, facts={"account_id": "a"})
    async with book.page() as page:
        page.hold(message, Hold.DUST, "too little")
    rows = await log_of(store)
    texts = [json.loads(row["text"]) for row in rows]
    assert [[edge["to"] for edge in text["edges"]] for text in texts] == [
        ["OBSERVED"],
        ["SRC_FINAL", "VALIDATED"],
        ["HELD"],
    ]
    assert [row["hash"] for row in rows] == [sha256(row["text"]).digest() for row in rows]
    assert texts[0]["previous"] == GENESIS_HASH.hex()
    assert all(after["previous"] == row["hash"].hex() for row, after in zip(rows, texts[1:], strict=False))
    assert all(before["n"] + 1 == after["n"] for before, after in pairwise(texts))
    stored = Message.read((await store.get(MESSAGES, message.id)) or {})
    assert (stored.state, stored.reason and stored.reason.code) == (State.HELD, Hold.DUST)
    assert stored.facts["account_id"] == "a"
    assert stored.due_ms is None


async def test_a_page_that_fails_leaves_nothing(store: SqliteStore) -> None:
    book = book_on(store)
    message = await opened(book, a_message())
    with pytest.raises(RuntimeError):
        async with book.page() as page:
            page.move(message, State.SRC_FINAL)
            raise RuntimeError
    stored = await store.get(MESSAGES, message.id)
    assert stored is not None and stored["state"] == State.OBSERVED
    assert len(await log_of(store)) == 1


async def test_what_is_only_put_off_is_stored_and_the_log_does_not_tell(store: SqliteStore) -> None:
    book = book_on(store)
    message = await opened(book, a_message())
    async with book.page() as page:
        page.put_off(message, 77)
    stored = await store.get(MESSAGES, message.id)
    assert stored is not None and stored["due_ms"] == 77
    assert len(await log_of(store)) == 1


async def test_of_two_workers_one_meets_a_conflict_and_then_goes_on(store: SqliteStore) -> None:
    one, other = book_on(store), book_on(store)
    message = await opened(one, a_message())
    await other.open()
    async with one.page() as page:
        page.move(message, State.SRC_FINAL)
    with pytest.raises(Conflict):
        async with other.page() as page:
            page.move(message, State.SRC_FINAL)
    await opened(other, a_message(2))
    assert [json.loads(row["text"])["n"] for row in await log_of(store)] == [1, 2, 3]


async def test_a_stale_message_conflicts_though_the_log_does_not(store: SqliteStore) -> None:
    book = book_on(store)
    message = await opened(book, a_message())
    async with book.page() as page:
        page.move(message, State.SRC_FINAL)
    with pytest.raises(Conflict):
        async with book.page() as page:
            page.move(message, State.SRC_FINAL)
    assert len(await log_of(store)) == 2


async def test_a_message_is_opened_once(store: SqliteStore) -> None:
    book = book_on(store)
    await opened(book, a_message())
    with pytest.raises(Conflict):
        await opened(book, a_message())


async def test_who_lost_the_lease_writes_nothing(store: SqliteStore) -> None:
    clock = Clock()
    first, second = StoredLease(store, clock, name="mirror"), StoredLease(store, clock, name="mirror")
    book = Book(store, first, clock)
    assert await first.hold()
    message = await opened(book, a_message())
    clock.now_ms += 20_000
    assert await second.hold()
    with pytest.raises(Lost):
        async with book.page() as page:
            page.move(message, State.SRC_FINAL)
    assert len(await log_of(store)) == 1


async def test_a_joined_page_is_committed_by_another(store: SqliteStore) -> None:
    book = book_on(store)
    message = await opened(book, a_message())
    async with book.joined() as page:
        page.move(message, State.SRC_FINAL)
        writes, _ = page.writes()
        await store.commit([*book.guard(), *writes])
    async with book.page() as page:
        page.move(Message.read((await store.get(MESSAGES, message.id)) or {}), State.VALIDATED)
    assert len(await log_of(store)) == 3


async def test_a_page_moves_a_message_that_it_opened(store: SqliteStore) -> None:
    book = book_on(store)
    async with book.page() as page:
        message = page.open(a_message())
        page.move(message, State.SRC_FINAL)
    stored = Message.read((await store.get(MESSAGES, message.id)) or {})
    assert stored.state is State.SRC_FINAL


@pytest.mark.parametrize("before", list(State))
async def test_only_the_edges_of_the_table_are_taken(store: SqliteStore, before: State) -> None:
    message = a_message(state=before)
    await store.commit([Insert(MESSAGES, replace(message, version=1).document())])
    for after in State:
        book = book_on(store)
        if after in EDGES[before]:
            continue
        with pytest.raises(EdgeForbidden):
            async with book.page() as page:
                page.move(replace(message, version=1), after)
    assert await log_of(store) == []


def test_every_state_is_reached_and_leads_to_an_end() -> None:
    reached = {State.OBSERVED}
    while more := {after for state in reached for after in EDGES[state]} - reached:
        reached |= more
    assert reached == set(State)
    for state in State:
        seen = {state}
        while more := {after for each in seen for after in EDGES[each]} - seen:
            seen |= more
        assert seen & ENDED, state


def test_the_drawing_has_every_edge() -> None:
    text = drawing()
    assert all(f"{before} --> {after}" in text for before, afters in EDGES.items() for after in afters)


def test_ids_differ_with_every_part() -> None:
    parts = {
        "src_genesis": bytes(32),
        "src_asset": b"asset",
        "src_event": b"event",
        "dst_genesis": bytes(32),
        "dst_recipient": b"who",
        "units": 5,
    }
    ids = {message_id(**parts)}
    for name, value in parts.items():
        changed = value + 1 if isinstance(value, int) else value + b"x"
        ids.add(message_id(**{**parts, name: changed}))
    ids.add(message_id(**{**parts, "src_asset": b"asse", "src_event": b"tevent"}))
    assert len(ids) == 8
    assert refund_id(next(iter(ids))) not in ids
