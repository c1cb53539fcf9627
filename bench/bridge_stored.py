"""Past messages: a node's database filled with messages that have ended, while no node has it open.

Each is a copy of one that the same node did carry out, with all the rows that are kept of it, under keys of its
own: half of them of a deposit that ended, half of an exit. They leave no balance: nothing of them is outstanding,
their lots are used up. Entries of the log are of a size as they are in a run; they are not chained.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from time import perf_counter
from typing import Any, Final

from bridge.mirror.book import HEAD
from bridge.mirror.records import (
    AUDIT,
    INBOX,
    LOTS,
    MESSAGES,
    MIRROR,
    MIRROR_COLLECTIONS,
    OUTSTANDING,
    RECEIPTS,
    RELEASES,
    SOURCES,
)
from bridge.mirror.states import Direction, State
from store.port import Collection, Document, Find, Insert, Key, Patch, Reader, Write
from store.sqlite import SqliteStore

A_COMMIT: Final = 500
_A_RELEASE: Final = 3
"""Messages that one transaction on Solana pays."""
_AN_ENTRY: Final = 10
"""Messages for each entry of the log; an entry tells of steps of many messages."""
_DAY_MS: Final = 86_400_000


@dataclass(frozen=True, slots=True)
class Model:
    """A message that ended, and its rows: of those that several messages share, one."""

    message: Document
    rows: Sequence[tuple[Collection, Document]]


async def fill(folder: Path, size: int) -> float:
    """`size` past messages into the database of a node that is stopped; in how many seconds."""
    began = perf_counter()
    store = SqliteStore(folder / "node.db")
    await store.open(MIRROR_COLLECTIONS)
    try:
        models = [await _model(store, each) for each in Direction]
        entry = await _entry(store)
        await _fill(store, models, entry, size)
    finally:
        await store.close()
    return perf_counter() - began


async def _fill(store: SqliteStore, models: list[Model], entry: Document, size: int) -> None:
    head = await store.get(MIRROR, HEAD)
    assert head is not None
    number = first = int(head["number"])
    for start in range(0, size, A_COMMIT):
        writes: list[Write] = []
        random = Random(start)
        for place in range(start, min(start + A_COMMIT, size)):
            if place % _AN_ENTRY == 0:
                number += 1
                writes.append(Insert(AUDIT, {**entry, "_id": number, "hash": random.randbytes(32)}))
            writes += _copied(models[place % len(models)], place, number, random)
        await store.commit(writes)
    await store.commit([Patch(MIRROR, HEAD, {"number": number, "hash": head["hash"]}, expect={"number": first})])


async def _model(store: Reader, direction: Direction) -> Model:
    page = await store.find(MESSAGES, Find("state", {"state": State.RECEIPTED.value}, limit=1000, descending=True))
    message = next(each for each in page.documents if each["direction"] == direction)
    keys: list[tuple[Collection, Key]] = [(INBOX, message["source_event"]), (RECEIPTS, message["_id"])]
    if direction is Direction.IN:
        keys += [(SOURCES, message["source_tx"]), (OUTSTANDING, message["_id"])]
        keys += [(LOTS, message["facts"]["lots"][0][0])]
    else:
        keys += [(RELEASES, message["destination_tx"]), (LOTS, message["_id"].hex())]
    found = [(collection, await store.get(collection, key)) for collection, key in keys]
    return Model(message, [(collection, row) for collection, row in found if row is not None])


async def _entry(store: Reader) -> Document:
    """One of the log, of middling size among the last ones."""
    page = await store.find(AUDIT, Find(limit=200, descending=True))
    ordered = sorted(page.documents, key=lambda row: len(row["text"]))
    return ordered[len(ordered) // 2]


def _copied(model: Model, place: int, entry: int, random: Random) -> Iterator[Write]:
    """The rows of one past message, a day and more old."""
    id_, event = random.randbytes(32), random.randbytes(len(model.message["source_event"]))
    is_in = model.message["direction"] == Direction.IN
    source_tx = event[: len(model.message["source_tx"])]
    destination_tx = random.randbytes(len(model.message["destination_tx"]))
    lot = random.randbytes(32) if is_in else id_
    changed: dict[str, dict[str, Any]] = {
        INBOX.name: {"_id": event, "lane": None},
        RECEIPTS.name: {"_id": id_},
        SOURCES.name: {"_id": source_tx},
        OUTSTANDING.name: {"_id": id_, "left": 0},
        RELEASES.name: {"_id": destination_tx, "open_ms": None},
        LOTS.name: {"_id": lot.hex(), "left": 0, "free": None},
    }
    for collection, row in model.rows:
        if collection is not RELEASES or place // 2 % _A_RELEASE == 0:
            yield Insert(collection, {**row, **changed[collection.name]})
    yield Insert(
        MESSAGES,
        {
            **model.message,
            "_id": id_,
            "source_event": event,
            "source_tx": source_tx,
            "destination_tx": destination_tx,
            "seq": entry,
            "created_ms": model.message["created_ms"] - _DAY_MS,
        },
    )
