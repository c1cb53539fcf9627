"""The registry's audit: a sound registry has no faults, and each fault that is planted is found."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from basket.coins import FUND_COINS
from certificates.ranges import Range
from energytag.actions import Kind
from energytag.audit import check_registry
from energytag.imports import prepare
from energytag.intervals import HOUR_MS, interval_key, interval_row, series_key, start_of
from energytag.records import BASKET, INTERVALS, NUMBERS
from energytag.storage_records import ALLOCATIONS, SCRS, SDRS
from lookup.records import CERTIFICATES
from overlay.records import SPENDS
from store.port import Collection, Delete, Document, Find, Insert, Patch, Put
from tests.energytag.kit import ACCOUNT, DEVICE, OTHER_ACCOUNT, RegistryNode, moment, readings
from tests.energytag.storage_kit import Battery, body, bundle
from tests.energytag.test_imports import body as import_body
from tests.energytag.test_imports import foreign

SERIES = series_key(DEVICE, "electricity")


class Books:
    """A registry of which every collection has something, and what is done to it behind its back."""

    def __init__(self, node: RegistryNode) -> None:
        self.node = node
        self.store = node.store

    async def keep(self) -> None:
        battery = Battery(self.node)
        await battery.open()
        await self.node.issue(10, 3)
        await self.withdraw(10)
        await self.node.resolved(Kind.TRANSFER, body(target_account_id=OTHER_ACCOUNT, certificate_quantity=300))
        kept = {"device_id": DEVICE, "readings": readings(20, 2), "broadcast": False}
        await self.node.resolved(Kind.CREATE_MANY, kept)
        for hour in (0, 1):
            await battery.charged(hour, 600)
        await battery.discharged(2, 900)
        await battery.done(Kind.ISSUE_SDGC, bundle(2, 900))
        request = await prepare(self.node.registry.ground, import_body(foreign(1)))
        await self.node.resolved(Kind.IMPORT, request)
        await self.node.registry.stop()

    async def withdraw(self, hour: int) -> None:
        period = {"certificate_period_start": moment(hour), "certificate_period_end": moment(hour + 1)}
        await self.node.resolved(Kind.WITHDRAW, body(**period))

    async def first(self, collection: Collection, place: int = 0) -> Document:
        return (await self.store.find(collection, Find(limit=100))).documents[place]

    async def change(self, collection: Collection, place: int = 0, **changes: Any) -> None:
        row = await self.first(collection, place)
        await self.store.commit([Patch(collection, row["_id"], changes)])

    async def lose(self, collection: Collection, place: int = 0) -> None:
        row = await self.first(collection, place)
        await self.store.commit([Delete(collection, row["_id"])])

    async def faults(self) -> list[str]:
        return await check_registry(self.store, self.node.keyring)


@pytest.fixture
async def books(registry: RegistryNode) -> AsyncIterator[Books]:
    made = Books(registry)
    await made.keep()
    yield made


async def test_a_sound_registry_has_no_faults(books: Books) -> None:
    assert await books.faults() == []
    for collection in (INTERVALS, NUMBERS, BASKET, FUND_COINS, SCRS, SDRS, ALLOCATIONS):
        assert await books.store.count(collection) > 0


# Planting


async def a_guard_lost(books: Books) -> None:
    await books.lose(INTERVALS)


async def a_guard_that_says_another_end(books: Books) -> None:
    await books.change(INTERVALS, 1, end=(await books.first(INTERVALS, 1))["end"] - HOUR_MS // 2)


async def a_guard_with_other_numbers(books: Books) -> None:
    await books.change(INTERVALS, start=77)


async def a_guard_of_nothing(books: Books) -> None:
    interval = (900 * HOUR_MS, 901 * HOUR_MS)
    row = interval_row(SERIES, interval, "00000000-0000-8000-8000-000000000000", Range(1, 2), "")
    await books.store.commit([Insert(INTERVALS, row)])


async def guards_that_overlap(books: Books) -> None:
    row = await books.first(INTERVALS)
    middle = interval_key(row["_id"][:16], start_of(row) + HOUR_MS // 2)
    await books.store.commit([Put(INTERVALS, row | {"_id": middle})])


async def a_next_number_too_low(books: Books) -> None:
    await books.store.commit([Patch(NUMBERS, SERIES, {"next": 1})])


async def a_next_number_too_high(books: Books) -> None:
    await books.store.commit([Patch(NUMBERS, SERIES, {"next": 999_999})])


async def a_series_lost(books: Books) -> None:
    await books.store.commit([Delete(NUMBERS, SERIES)])


async def a_token_not_in_the_basket(books: Books) -> None:
    for row in (await books.store.find(BASKET, Find(limit=100))).documents:
        if await books.store.get(CERTIFICATES, row["_id"]) is not None:
            await books.store.commit([Delete(BASKET, row["_id"])])
            return


async def a_spent_token_in_the_basket(books: Books) -> None:
    async for record in records(books):
        if not record["live"]:
            row = {"_id": record["_id"], "account_id": ACCOUNT, "key_id": "x", "sender": b"anyone"}
            await books.store.commit([Put(BASKET, row)])
            return


async def records(books: Books) -> AsyncIterator[Document]:
    for record in (await books.store.find(CERTIFICATES, Find(limit=100))).documents:
        yield record


async def a_key_that_does_not_unlock(books: Books) -> None:
    async for record in records(books):
        if record["live"] and await books.store.get(BASKET, record["_id"]) is not None:
            await books.store.commit([Patch(BASKET, record["_id"], {"key_id": "another"})])
            return


async def a_coin_of_no_transaction(books: Books) -> None:
    coin = await live_coin(books)
    await books.store.commit([Put(FUND_COINS, coin | {"_id": b"\x01" * 36})])


async def a_coin_that_is_spent(books: Books) -> None:
    coin = await live_coin(books)
    await books.store.commit([Put(SPENDS, {"_id": coin["_id"], "txid": b"\x01" * 32, "input": 0, "kept": []})])


async def live_coin(books: Books) -> Document:
    return (await books.store.find(FUND_COINS, Find("live", limit=1))).documents[0]


async def a_charge_backed_by_what_is_not_cancelled(books: Books) -> None:
    scr = await books.first(SCRS)
    await books.change(SCRS, last_number=scr["last_number"] + 1000)


async def charges_backed_alike(books: Books) -> None:
    scr = await books.first(SCRS)
    changes = {name: scr[name] for name in ("backing", "first_number", "last_number")}
    await books.change(SCRS, 1, **changes)


async def a_charge_with_more_left_than_there_is(books: Books) -> None:
    await books.change(SCRS, left="601")


async def a_charge_taken_beyond_its_energy(books: Books) -> None:
    row = await books.first(ALLOCATIONS)
    await books.change(ALLOCATIONS, input="700")
    await books.store.commit([Patch(SCRS, row["_id"].partition("/")[0], {"left": "-100"})])


async def a_charge_that_is_open_though_used_up(books: Books) -> None:
    for place in range(2):
        if (await books.first(SCRS, place))["open"] is None:
            await books.change(SCRS, place, open="x")
            return


async def an_allocation_lost(books: Books) -> None:
    await books.lose(ALLOCATIONS)


async def an_allocation_of_other_output(books: Books) -> None:
    await books.change(ALLOCATIONS, output="1/3")


async def a_discharge_that_names_other_charges(books: Books) -> None:
    await books.change(SDRS, scrs=[])


async def a_charge_lost(books: Books) -> None:
    await books.lose(SCRS)


async def a_discharge_lost(books: Books) -> None:
    await books.lose(SDRS)


Plant = Callable[[Books], Awaitable[None]]
PLANTED: list[tuple[Plant, str]] = [
    (a_guard_lost, "R1: issuance .* has no guard"),
    (a_guard_that_says_another_end, "R1: the guard of issuance .* says another interval"),
    (a_guard_with_other_numbers, "R1: the guard of issuance .* or other numbers"),
    (a_guard_of_nothing, "R1: issuance .* has a guard, and is not in the index"),
    (guards_that_overlap, "R1: issuances .* overlap in time"),
    (a_next_number_too_low, "R2: series .* the next is 1"),
    (a_next_number_too_high, "R2: series .* the next is 999999"),
    (a_series_lost, "R2: series .* has no next number"),
    (a_token_not_in_the_basket, "R3: .* is not in the basket"),
    (a_spent_token_in_the_basket, "R3: the basket has .*, which is spent"),
    (a_key_that_does_not_unlock, "R3: the basket's key does not unlock"),
    (a_coin_of_no_transaction, "R4: coin .* is of a transaction that is not kept"),
    (a_coin_that_is_spent, "R4: coin .* is spent"),
    (a_charge_backed_by_what_is_not_cancelled, "R5: charge .* which are not cancelled"),
    (charges_backed_alike, "R5: charges .* are backed by the same certificates"),
    (a_charge_with_more_left_than_there_is, "R6: discharges take .* 601 Wh are left; it has 600 Wh"),
    (a_charge_taken_beyond_its_energy, "R6: discharges take 700 Wh .* -100 Wh are left"),
    (a_charge_that_is_open_though_used_up, "R6: charge .* is not open|R6: charge .* is open"),
    (an_allocation_lost, "R6: .* Wh of discharge .* are covered by charges; it has 900 Wh"),
    (an_allocation_of_other_output, "R6: .* are covered by charges; it has 900 Wh"),
    (a_discharge_that_names_other_charges, "R6: discharge .* draws on other charges than it says"),
    (a_charge_lost, "R6: there is no charge"),
    (a_discharge_lost, "R6: there is no discharge"),
]


@pytest.mark.parametrize(("plant", "fault"), PLANTED, ids=lambda value: getattr(value, "__name__", ""))
async def test_a_fault_is_found(books: Books, plant: Plant, fault: str) -> None:
    await plant(books)
    faults = await books.faults()
    assert any(re.match(fault, each) for each in faults), faults


async def test_a_fault_that_is_gone_at_a_second_look_is_none(books: Books) -> None:
    reader = _Mending(books)
    assert await check_registry(reader, books.node.keyring) == []  # type: ignore[arg-type]
    assert reader.looks == 2


class _Mending:
    """A reader of a registry in use: at the first look a discharge is not there yet."""

    def __init__(self, books: Books) -> None:
        self._store = books.store
        self.looks = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def find(self, collection: Collection, find: Find) -> Any:
        if collection is SDRS:
            self.looks += 1
        page = await self._store.find(collection, find)
        if collection is SDRS and self.looks == 1:
            page.documents.clear()
        return page
