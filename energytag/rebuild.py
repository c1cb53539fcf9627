"""Rebuilding the registry from the overlay and the log of actions.

    log      directory, readings, storage records, recurring actions: what each resolved action left behind
    overlay  numbers and intervals of what was issued, and the basket: how each live token is locked

What is not in either is lost with the store: the log and the overlay's transactions are what a backup must have.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from basket.keyring import Keyring
from certificates.ranges import Range, merge
from config.errors import NotFound
from energytag import rebuild_directory, rebuild_measurements, rebuild_storage
from energytag.accounts import holder_of
from energytag.actions import Action
from energytag.compose import ANYONE, lock_for
from energytag.consumption import CONSUMPTION
from energytag.imports import IMPORTED
from energytag.intervals import interval_row, series_key
from energytag.measurements import MEASUREMENTS
from energytag.plan import Holder
from energytag.rebuild_imports import Imports
from energytag.rebuild_recurring import Series
from energytag.records import ACTION_PARTS, ACTIONS, BASKET, DIRECTORY, INTERVALS, NUMBERS
from energytag.recurring import RECURRING
from energytag.storage_records import COLLECTIONS as STORAGE_RECORDS
from lookup.records import CERTIFICATES
from lookup.standing import applying, notices_for
from overlay.records import RAWS
from overlay.transaction import Transaction, split_outpoint
from store.port import Collection, Delete, Document, Find, Insert, Key, Put, Store, Write

Progress: TypeAlias = Callable[[int, int], None]
Log: TypeAlias = Callable[[Action], Sequence[Write]]

_BATCH: Final = 500
_LOGS: Final[tuple[Log, ...]] = (
    rebuild_directory.writes_of,
    rebuild_measurements.writes_of,
    rebuild_storage.writes_of,
)
_LOGGED: Final[tuple[Collection, ...]] = (
    *DIRECTORY,
    MEASUREMENTS,
    CONSUMPTION,
    RECURRING,
    IMPORTED,
    *STORAGE_RECORDS,
)
_DERIVED: Final[tuple[Collection, ...]] = (INTERVALS, NUMBERS, BASKET)


async def rebuild(store: Store, keyring: Keyring, progress: Progress | None = None) -> int:
    """Build the registry's collections anew; how many certificate records were read. The index `ls_metawatt` must
    be whole, and no node may be at work. An interrupted rebuild is simply begun again."""
    for collection in (*_LOGGED, *_DERIVED):
        await _empty(store, collection)
    series, imports = Series(), Imports()
    async for documents in _pages(store, ACTIONS, "seq"):
        actions = [Action.read(document) for document in documents]
        await store.commit([write for action in actions for log in _LOGS for write in log(action)])
        series.take(actions)
        imports.take(actions)
    writes = [*series.writes(), *await imports.writes(store)]
    for start in range(0, len(writes), _BATCH):
        await store.commit(writes[start : start + _BATCH])
    await store.commit(await rebuild_storage.issued_writes(store))
    return await _Overlay(store, keyring, await _unfinished(store)).rebuild(progress)


async def _unfinished(store: Store) -> dict[bytes, str]:
    """The action, by transaction, of actions that are not all done."""
    actions: dict[bytes, str] = {}
    async for documents in _pages(store, ACTION_PARTS, None):
        for row in documents:
            digits = row["_id"][:16].hex()
            action_id = f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
            actions[bytes.fromhex(row["txid"])[::-1]] = action_id
    return actions


@dataclass(slots=True)
class _Number:
    next: int = 1
    last_end_ms: int = 0


class _Overlay:
    """One pass over the records of certificates."""

    def __init__(self, store: Store, keyring: Keyring, unfinished: Mapping[bytes, str]) -> None:
        self._store = store
        self._keyring = keyring
        self._unfinished = unfinished
        self._numbers: dict[bytes, _Number] = {}
        self._holders: dict[str, Holder | None] = {}

    async def rebuild(self, progress: Progress | None) -> int:
        total, done = await self._store.count(CERTIFICATES), 0
        async for records in _pages(self._store, CERTIFICATES, None):
            await self._store.commit(await self._writes_for([each for each in records if not each["unissued"]]))
            done += len(records)
            if progress is not None:
                progress(done, max(done, total))
        for key, number in self._numbers.items():
            row = {"_id": key, "next": number.next, "last_end_ms": number.last_end_ms}
            await self._store.commit([Insert(NUMBERS, row)])
        return done

    async def _writes_for(self, records: Sequence[Document]) -> list[Write]:
        firsts = await self._first_inputs({record["_id"][:32] for record in records})
        withdrawn = await self._withdrawn(records)
        writes: list[Write] = []
        for record in records:
            if record["issuer"] == self._keyring.identity:
                writes += self._issued(record, withdrawn)
            if record["live"]:
                writes += await self._held(record, firsts[record["_id"][:32]])
        return writes

    async def _first_inputs(self, txids: Iterable[bytes]) -> dict[Key, bytes]:
        raws = await self._store.get_many(RAWS, list(txids))
        return {txid: Transaction.parse(row["raw"]).inputs[0].outpoint for txid, row in raws.items()}

    async def _withdrawn(self, records: Sequence[Document]) -> set[str]:
        """Issuances that were withdrawn whole."""
        notices = await notices_for(records, self._store)
        whole = set()
        for record in records:
            issued = Range(record["issued_start"], record["issued_end"])
            found = applying({**record, "range_start": issued.start, "range_end": issued.end}, notices)
            if merge(notice.range for notice in found) == [issued]:
                whole.add(record["issuance_id"])
        return whole

    def _issued(self, record: Document, withdrawn: set[str]) -> list[Write]:
        """The numbers that an issuance took, and its interval, unless that is free again."""
        series = series_key(record["device_id"], record["energy_carrier"])
        issued = Range(record["issued_start"], record["issued_end"])
        number = self._numbers.setdefault(series, _Number())
        interval = record["period_start"] * 1000, record["period_end"] * 1000
        number.next = max(number.next, issued.end + 1)
        number.last_end_ms = max(number.last_end_ms, interval[1])
        if record["issuance_id"] in withdrawn:
            return []
        action_id = self._unfinished.get(record["_id"][:32], "")
        return [Put(INTERVALS, interval_row(series, interval, record["issuance_id"], issued, action_id))]

    async def _held(self, record: Document, first_input: bytes) -> list[Write]:
        """The basket's row of a live token that the node can unlock."""
        holder = await self._holder(record["account_id"])
        if holder is None or not holder.is_custodial:
            return []
        _, index = split_outpoint(record["_id"])
        for is_open in (False, True):
            lock = lock_for(holder, first_input, index, self._keyring, is_open=is_open)
            if lock.owner_key == record["owner_key"]:
                sender = ANYONE if is_open else lock.sender
                row = {"_id": record["_id"], "account_id": holder.account_id, "key_id": lock.key_id}
                return [Insert(BASKET, row | {"sender": sender})]
        return []

    async def _holder(self, account_id: str) -> Holder | None:
        if account_id not in self._holders:
            try:
                self._holders[account_id] = await holder_of(self._store, self._keyring, account_id)
            except NotFound:
                self._holders[account_id] = None
        return self._holders[account_id]


async def _pages(store: Store, collection: Collection, index: str | None) -> AsyncIterator[list[Document]]:
    after = None
    while True:
        page = await store.find(collection, Find(index=index, limit=_BATCH, after=after))
        yield page.documents
        after = page.last
        if after is None:
            return


async def _empty(store: Store, collection: Collection) -> None:
    async for documents in _pages(store, collection, None):
        await store.commit([Delete(collection, document["_id"]) for document in documents])
