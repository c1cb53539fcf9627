"""A node's database, written and read through the store's port while no node has it open.

`fill` writes minted readings with all that a node keeps of them: the reading, the attempt that every three share,
and the movement that the event processor saw.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random
from time import perf_counter, time

from solders.pubkey import Pubkey
from solders.signature import Signature

from bench.readings import INTERVAL_SECS, METERS, kwh, meter_key, serial, wallet
from bridge.measure import Measuring
from bridge.records import (
    ATTEMPTS,
    BRIDGE_COLLECTIONS,
    MOVEMENTS,
    READINGS,
    AttemptState,
    ReadingState,
    reading_key,
)
from config.settings import TokenizationSettings
from overlay.clock import system_now_ms
from store.pages import pages
from store.port import Document, Find, Insert, Write
from store.sqlite import SqliteStore

A_TRANSACTION = 3
OLD_DAYS = 30
A_COMMIT = 3000
_RAW_BYTES = 1230
_OPEN_SECS = 3 * 86_400


async def fill(folder: Path, size: int) -> None:
    """`size` minted readings of the benchmark's meters, submitted and minted over the last three days."""
    folder.mkdir(parents=True, exist_ok=True)
    store = SqliteStore(folder / "node.db")
    await store.open(BRIDGE_COLLECTIONS)
    try:
        for first in range(0, size, A_COMMIT):
            await store.commit(list(_minted(size, first, min(A_COMMIT, size - first))))
    finally:
        await store.close()


def _minted(size: int, first: int, count: int) -> Iterator[Write]:
    """Readings `first` to `first + count` of `size`, as documents that are like real ones in fields and size."""
    random, now_ms = Random(first), round(time() * 1000)
    start_ms = (int(time()) // INTERVAL_SECS * INTERVAL_SECS - OLD_DAYS * 86_400) * 1000
    for begin in range(first, first + count, A_TRANSACTION):
        signature = random.randbytes(64)
        numbers = range(begin, min(begin + A_TRANSACTION, first + count))
        submitted_ms = now_ms - _OPEN_SECS * 1000 * (size - begin) // size
        rows = [_reading(number, start_ms, submitted_ms, signature) for number in numbers]
        yield from (Insert(READINGS, row) for row in rows)
        keys = [row["_id"] for row in rows]
        yield Insert(ATTEMPTS, _attempt(signature, random.randbytes(_RAW_BYTES), keys, begin))
        for place, row in enumerate(rows):
            yield Insert(MOVEMENTS, _movement(signature, begin, place, row))


def _reading(number: int, start_ms: int, submitted_ms: int, signature: bytes) -> Document:
    meter, begin_ms = number % METERS, start_ms + number // METERS * INTERVAL_SECS * 1000
    amount = kwh(number)
    return {
        "_id": reading_key(serial(meter), begin_ms),
        "meter": serial(meter),
        "wallet": wallet(meter),
        "interval_start_ms": begin_ms,
        "submitted_ms": submitted_ms,
        "open_ms": None,
        "due_ms": None,
        "retry_ms": None,
        "minted_ms": submitted_ms + 45_000,
        "state": ReadingState.MINTED.value,
        "interval_secs": INTERVAL_SECS,
        "kwh": amount,
        "timestamp": "2026-01-01T00:00:00Z",
        "timestamp_ms": begin_ms,
        "units": int(amount.replace(".", "")) * 1000,
        "signature": str(Signature.from_bytes(signature)),
        "public_key": str(meter_key(meter).pubkey()),
        "format": "gridtokenx",
        "name": serial(meter),
        "attempt": signature,
        "attempts": 0,
        "error": None,
        "slot": number,
        "held_for": None,
        "conflicts": 0,
        "measured": {"energy_generated": amount, "energy_consumed": "0.25", "voltage": "230.1", "current": "4.25"},
        "user_id": None,
        "account_id": None,
        "device_id": None,
    }


def _attempt(signature: bytes, raw: bytes, keys: list[bytes], height: int) -> Document:
    return {
        "_id": signature,
        "raw": raw,
        "readings": keys,
        "state": AttemptState.FINAL.value,
        "last_valid_block_height": height,
        "sends": 1,
        "slot": height,
        "error": None,
        "open_ms": None,
    }


def _movement(signature: bytes, slot: int, place: int, row: Document) -> Document:
    address = str(Pubkey.default())
    return {
        "_id": slot.to_bytes(8, "big") + signature + place.to_bytes(6, "big"),
        "kind": "mint",
        "account": row["wallet"],
        "slot": slot,
        "signature": row["signature"],
        "block_time": row["submitted_ms"] // 1000,
        "memos": ["gwx1:reading:" + "2" * 66],
        "mint": address,
        "source": None,
        "destination": row["wallet"],
        "authority": address,
        "units": row["units"],
        "fee": 0,
        "path": [place],
        "owner": row["wallet"],
        "readings": [row["_id"]],
    }


async def times_of_minted(folder: Path) -> list[float]:
    """Seconds from submission to finality of every minted reading, shortest first."""
    store = SqliteStore(folder / "node.db")
    await store.open(BRIDGE_COLLECTIONS)
    try:
        found = [
            (row["minted_ms"] - row["submitted_ms"]) / 1000
            async for page in pages(store, READINGS, Find("minted"))
            for row in page
        ]
    finally:
        await store.close()
    return sorted(found)


async def figures_ms(folder: Path) -> tuple[float, float]:
    """How long the counts behind `/metrics` take in a process that counts for the first time, and then again."""
    store = SqliteStore(folder / "node.db")
    await store.open(BRIDGE_COLLECTIONS)
    try:
        measuring = Measuring(store, TokenizationSettings(), system_now_ms, lambda: next(clock))
        clock = iter(range(0, 10**9, 10**6))
        took = []
        for _ in range(2):
            began = perf_counter()
            await measuring.figures()
            took.append((perf_counter() - began) * 1000)
    finally:
        await store.close()
    return took[0], took[1]
