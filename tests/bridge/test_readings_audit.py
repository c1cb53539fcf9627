"""The audit of I6: what a minter leaves has no faults, and each fault that is planted is found."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from api.solana.server import SolanaServer
from bridge.audit import check_readings
from bridge.cluster.cluster import Cluster
from bridge.connecting import CLUSTER_KEPT
from bridge.minting.retry import ASKED_MS, NEVER_MS
from bridge.records import ATTEMPTS, CONFIG, CURSORS, MOVEMENTS, READINGS, AttemptState, ReadingState
from bridge.watching.follower import Watched
from bridge.watching.processor import EventProcessor
from store.port import Collection, Delete, Document, Find, Insert, Patch, Put
from store.sqlite import SqliteStore
from tests.bridge.minting_kit import Mint

STRANGE = b"\x07" * 64


class Books:
    """Readings that were minted and seen, some on their way, some that wait; and what is done to them behind the
    minter's back."""

    def __init__(self, mint: Mint) -> None:
        self.mint = mint
        self.store = mint.store
        self.minted: list[bytes] = []
        self.signed: list[bytes] = []
        self.waiting: list[bytes] = []

    async def keep(self) -> None:
        minter = self.mint.minter()
        self.minted = await self.mint.accept(20)
        await self.mint.until_minted(minter)
        await self._watch(minter)
        self.signed = await self.mint.accept(3)
        await minter.round()
        self.waiting = await self.mint.accept(3)
        kept = {"genesis": "", "mint": str(self.mint.mode.mint), "guard": ""}
        await self.store.commit([Insert(CONFIG, {"_id": CLUSTER_KEPT, **kept})])

    async def _watch(self, minter: Any) -> None:
        watched = Watched("mint", self.mint.mode.mint)
        processor = EventProcessor(
            self.store, self.mint.rpc, None, [watched], self.mint.clock, lambda: None, minter.confirmations
        )
        await processor.catch_up()

    async def row(self) -> Document:
        """A minted reading."""
        return await self.mint.row(self.minted[0])

    async def change(self, collection: Collection, key: Any, **changes: Any) -> None:
        await self.store.commit([Patch(collection, key, changes)])

    async def become(self, key: bytes, state: ReadingState, **changes: Any) -> None:
        """A waiting reading in another state, with what that state has."""
        times = {"open_ms": 1, "due_ms": None, "retry_ms": None, "minted_ms": None}
        await self.change(READINGS, key, **(times | {"state": state.value} | changes))

    async def minting_movement(self) -> Document:
        """The movement that minted `row`."""
        for each in (await self.store.find(MOVEMENTS, Find(limit=1000))).documents:
            if self.minted[0] in each["readings"]:
                return each
        raise AssertionError("no movement")

    async def faults(self, **options: Any) -> list[str]:
        return await check_readings(self.store, **options)


@pytest.fixture
def slot_ms() -> int:
    return 0


@pytest.fixture
async def books(cluster: Cluster, solana: SolanaServer, tmp_path: Path) -> AsyncIterator[Books]:
    made = Books(await Mint.open(cluster, solana.rpc_url, SqliteStore(tmp_path / "node.db", cache_mib=4)))
    await made.keep()
    yield made
    await made.mint.close()


async def test_what_a_minter_leaves_has_no_faults(books: Books) -> None:
    assert await books.faults() == []
    states = {row["state"] for row in await books.mint.rows()}
    assert states == {ReadingState.MINTED, ReadingState.SIGNED, ReadingState.ACCEPTED}
    assert await books.store.count(MOVEMENTS) >= 20


async def test_every_state_has_its_times(books: Books) -> None:
    one, two, three = books.waiting
    await books.become(one, ReadingState.RETRY, due_ms=9, retry_ms=9)
    await books.become(two, ReadingState.DEAD, retry_ms=NEVER_MS)
    await books.become(three, ReadingState.HELD)
    assert await books.faults() == []
    await books.become(one, ReadingState.REJECTED, open_ms=None)
    await books.become(two, ReadingState.ACCEPTED, due_ms=ASKED_MS)
    await books.become(three, ReadingState.RETRY, due_ms=ASKED_MS, retry_ms=ASKED_MS)
    assert await books.faults() == []


async def test_what_was_found_on_the_chain_is_no_fault(books: Books) -> None:
    """As after an old backup: the reading's transaction is in the mint's history, and not among the attempts."""
    await books.store.commit([Delete(ATTEMPTS, (await books.row())["attempt"])])
    assert await books.faults() == []


async def test_what_was_never_read_of_the_history_is_not_judged(books: Books) -> None:
    row, mint = await books.row(), str(books.mint.mode.mint)
    await nowhere(books)
    for changes in ({"whole_slot": row["slot"] - 1}, {"whole_slot": 2**40, "skipped": [{"from_slot": 1}]}):
        await books.change(CURSORS, mint, **changes)
        assert await books.faults() == []
    await books.store.commit([Delete(CURSORS, mint)])
    assert await books.faults() == []


async def test_a_reading_that_is_looked_up_again_is_no_fault(books: Books) -> None:
    held = {"open_ms": 1, "minted_ms": None, "state": ReadingState.HELD.value, "held_for": "minting"}
    await books.change(READINGS, books.minted[0], **held)
    assert await books.faults() == []
    asked = {"state": ReadingState.RETRY.value, "due_ms": ASKED_MS, "retry_ms": ASKED_MS, "asked": True}
    await books.change(READINGS, books.minted[0], **asked)
    assert await books.faults() == []


async def test_a_repetition_that_minted_nothing_is_no_fault_where_it_may_be(books: Books) -> None:
    await two_final_transactions(books)
    assert await books.faults(may_repeat=True) == []


# Planting


async def another_key(books: Books) -> None:
    row = await books.mint.row(books.waiting[0])
    await books.store.commit([Insert(READINGS, row | {"_id": b"\x01" * 16})])


async def no_such_state(books: Books) -> None:
    await books.change(READINGS, books.waiting[0], state="lost")


async def accepted_and_never_due(books: Books) -> None:
    await books.change(READINGS, books.waiting[0], due_ms=None)


async def accepted_in_the_retry_queue(books: Books) -> None:
    await books.change(READINGS, books.waiting[0], retry_ms=5)


async def due_and_retried_at_two_times(books: Books) -> None:
    await books.become(books.waiting[0], ReadingState.RETRY, due_ms=5, retry_ms=6)


async def dead_and_due(books: Books) -> None:
    await books.become(books.waiting[0], ReadingState.DEAD, due_ms=5, retry_ms=NEVER_MS)


async def held_and_due(books: Books) -> None:
    await books.become(books.waiting[0], ReadingState.HELD, due_ms=5)


async def rejected_and_open(books: Books) -> None:
    await books.become(books.waiting[0], ReadingState.REJECTED)


async def minted_and_due(books: Books) -> None:
    await books.change(READINGS, books.minted[0], due_ms=5)


async def minted_and_open(books: Books) -> None:
    await books.change(READINGS, books.minted[0], open_ms=5)


async def minted_by_nothing(books: Books) -> None:
    await books.change(READINGS, books.minted[0], attempt=None)


async def minted_nowhere(books: Books) -> None:
    await books.change(READINGS, books.minted[0], slot=None)


async def signed_and_due(books: Books) -> None:
    await books.change(READINGS, books.signed[0], due_ms=5)


async def signed_in_nothing(books: Books) -> None:
    await books.change(READINGS, books.signed[0], attempt=None)


async def signed_in_what_is_lost(books: Books) -> None:
    row = await books.mint.row(books.signed[0])
    await books.store.commit([Delete(ATTEMPTS, row["attempt"])])


async def signed_in_anothers(books: Books) -> None:
    row = await books.mint.row(books.signed[0])
    await books.change(ATTEMPTS, row["attempt"], readings=[])


async def signed_in_what_is_over(books: Books) -> None:
    row = await books.mint.row(books.signed[0])
    await books.change(ATTEMPTS, row["attempt"], state=AttemptState.EXPIRED.value, open_ms=None)


async def minted_by_what_expired(books: Books) -> None:
    await books.change(ATTEMPTS, (await books.row())["attempt"], state=AttemptState.EXPIRED.value)


async def minted_by_anothers(books: Books) -> None:
    row = await books.row()
    attempt = await books.store.get(ATTEMPTS, row["attempt"])
    assert attempt is not None
    others = [key for key in attempt["readings"] if key != row["_id"]]
    await books.change(ATTEMPTS, row["attempt"], readings=others)


async def nowhere(books: Books) -> None:
    """Neither the attempt nor a movement of it, though the history was read beyond it."""
    row = await books.row()
    attempt = await books.store.get(ATTEMPTS, row["attempt"])
    assert attempt is not None
    gone = [
        Delete(MOVEMENTS, each["_id"]) for each in (await books.store.find(MOVEMENTS, Find(limit=1000))).documents
    ]
    await books.store.commit([Delete(ATTEMPTS, row["attempt"]), *gone])
    await books.change(CURSORS, str(books.mint.mode.mint), whole_slot=row["slot"])


async def two_final_transactions(books: Books) -> None:
    row = await books.row()
    attempt = await books.store.get(ATTEMPTS, row["attempt"])
    assert attempt is not None
    await books.store.commit([Insert(ATTEMPTS, attempt | {"_id": STRANGE, "readings": [row["_id"]]})])


async def final_and_not_minted(books: Books) -> None:
    await books.become(books.minted[0], ReadingState.RETRY, due_ms=5, retry_ms=5)


async def final_of_what_is_not_here(books: Books) -> None:
    await books.store.commit([Delete(READINGS, books.minted[0])])


async def over_and_open(books: Books) -> None:
    await books.change(ATTEMPTS, (await books.row())["attempt"], open_ms=5)


async def under_way_and_not_open(books: Books) -> None:
    row = await books.mint.row(books.signed[0])
    await books.change(ATTEMPTS, row["attempt"], open_ms=None)


async def minted_twice_on_the_chain(books: Books) -> None:
    movement = await books.minting_movement()
    again = {"_id": (2**40).to_bytes(8, "big") + STRANGE + bytes(6), "signature": "1" * 64}
    await books.store.commit([Put(MOVEMENTS, movement | again)])


async def minted_otherwise(books: Books) -> None:
    movement = await books.minting_movement()
    await books.change(MOVEMENTS, movement["_id"], units=movement["units"] + 1)


@pytest.mark.parametrize(
    ("plant", "told"),
    [
        (another_key, "does not lie under the key of its meter and interval"),
        (no_such_state, "is in no state that there is: lost"),
        (accepted_and_never_due, "is accepted, and has no due_ms"),
        (accepted_in_the_retry_queue, "is accepted, and has retry_ms"),
        (due_and_retried_at_two_times, "at another time than it is due"),
        (dead_and_due, "is dead, and has due_ms"),
        (held_and_due, "is held, and has due_ms"),
        (rejected_and_open, "is rejected, and has open_ms"),
        (minted_and_due, "is minted, and has due_ms"),
        (minted_and_open, "is minted, and has open_ms"),
        (minted_by_nothing, "is minted, and has no attempt"),
        (minted_nowhere, "is minted, and has no slot"),
        (signed_and_due, "is signed, and has due_ms"),
        (signed_in_nothing, "is signed, and has no attempt"),
        (signed_in_what_is_lost, r"is signed, and \w+ is not stored"),
        (signed_in_anothers, r"is signed, and \w+ does not name it"),
        (signed_in_what_is_over, r"is signed, and \w+ is over: expired"),
        (minted_by_what_expired, r"is minted by \w+, which is not final: expired"),
        (minted_by_anothers, r"is minted by \w+, which does not name it"),
        (nowhere, r"is minted by \w+, which is neither stored nor in the history"),
        (two_final_transactions, r"is in two final transactions: \w+ and \w+"),
        (final_and_not_minted, r"is retry, and \w+, which is final, names it"),
        (final_of_what_is_not_here, r"is not here, and \w+, which is final, names it"),
        (over_and_open, r"I6: \w+ is final, and open"),
        (under_way_and_not_open, r"I6: \w+ is (signed|sent|seen), and not open"),
        (minted_twice_on_the_chain, r"is minted by \w+, and by 1{64} as well"),
        (minted_otherwise, r"is of \d+ base units, and \d+ were minted"),
    ],
)
async def test_each_fault_is_found(books: Books, plant: Callable[[Books], Awaitable[None]], told: str) -> None:
    await plant(books)
    faults = await books.faults()
    assert any(re.search(told, fault) for fault in faults), faults
    assert all(fault.startswith("I6: ") for fault in faults)


async def test_what_is_set_right_before_the_second_look_is_not_told(books: Books) -> None:
    await over_and_open(books)
    looks = 0

    class Busy:
        """A store that the minter goes on with in the midst of the first look."""

        def __getattr__(self, name: str) -> Any:
            return getattr(books.store, name)

        async def find(self, collection: Collection, find: Find) -> Any:
            nonlocal looks
            looks += collection is MOVEMENTS
            page = await books.store.find(collection, find)
            await books.change(ATTEMPTS, (await books.row())["attempt"], open_ms=None if looks else 5)
            return page

    assert await check_readings(Busy()) == []
    assert looks >= 2
