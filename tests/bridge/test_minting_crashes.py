"""A minter dies at every step, and several work at once: each reading is still minted exactly once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from api.solana.server import SolanaServer
from bridge.cluster.cluster import Cluster
from bridge.minting.lease import MOST_SKEW_MS, NAME, TERM_MS, Lost, StoredLease
from bridge.minting.minting import Minting
from bridge.records import ATTEMPTS, LEASES, READINGS
from config.errors import MetawattError
from store.port import Conflict, Find, Store, StoreUnavailable, Write
from store.sqlite import SqliteStore
from tests.bridge.minting_kit import Crash, Mint, NoLease, Steps


@pytest.fixture
def slot_ms() -> int:
    return 0


@pytest.fixture
async def mint(cluster: Cluster, solana: SolanaServer, tmp_path: Path) -> AsyncIterator[Mint]:
    made = await Mint.open(cluster, solana.rpc_url, SqliteStore(tmp_path / "node.db", cache_mib=4))
    yield made
    await made.close()


async def live(mint: Mint, minter: Minting, slots: int) -> bool:
    """Rounds until all is minted; False when the minter died on the way."""
    try:
        await mint.until_minted(minter, slots=slots)
    except Crash:
        return False
    return True


@pytest.mark.parametrize("fault", ["none", "drop", "lose", "fork"])
async def test_a_crash_at_every_step(mint: Mint, fault: str) -> None:
    """The points are all awaits on the store and the cluster, before and after each: before and after the signed
    transactions are stored, before and after each send, and so on to the commit of what was found final."""
    mint.settings = {"max_transactions_per_batch": 3}
    crash_at = 0
    survived = False
    while not survived:
        crash_at += 1 if fault == "none" else 3
        await mint.accept(5)
        if fault in ("drop", "lose"):
            mint.cluster.faults.set(**{f"{fault}_next": 1})  # type: ignore[arg-type]
        doomed = mint.minter(lease=NoLease(), steps=Steps(crash_at))
        survived = await live(mint, doomed, slots=12)
        if fault == "fork":
            await mint.cluster.fork(6, True)
        await mint.until_minted(mint.minter(lease=NoLease()), slots=12)
        mint.cluster.faults.set(drop_next=0, lose_next=0)
    assert crash_at > 25
    await mint.check()


async def test_crash_after_crash(mint: Mint) -> None:
    """Each successor dies, too, a little later than the one before; the last one finishes."""
    await mint.accept(7)
    for crash_at in range(1, 30, 2):
        doomed = mint.minter(lease=NoLease(), steps=Steps(crash_at))
        if await live(mint, doomed, slots=3):
            break
        await mint.pass_slots(2)
    await mint.until_minted(mint.minter())
    await mint.check()


# Several at once


async def test_two_workers_without_a_lease(mint: Mint) -> None:
    await mint.accept(60)
    workers = [mint.minter(lease=NoLease(), batch_size=9) for _ in range(3)]
    for _ in range(40):
        await asyncio.gather(*(worker.round() for worker in workers))
        await mint.pass_slots(7)
        if not await mint.store.count(READINGS, Find("open")):
            break
    await mint.pass_slots()
    await mint.check()


async def test_two_workers_on_stores_that_know_nothing_of_each_other(
    mint: Mint, solana: SolanaServer, tmp_path: Path
) -> None:
    """A restored backup beside the original: only the guards on the chain are common to both."""
    await mint.accept(20)
    other = Mint(mint.cluster, mint.rpc, SqliteStore(tmp_path / "copy.db", cache_mib=4), mint.signer, mint.mode)
    await other.store.open((READINGS, *_others()))
    await other.accept(20)
    assert [row["_id"] for row in await other.rows()] == [row["_id"] for row in await mint.rows()]
    for _ in range(14):
        await asyncio.gather(mint.minter(lease=NoLease()).round(), other.minter(lease=NoLease()).round())
        await mint.pass_slots(12)
        other.clock.now_ms = mint.clock.now_ms
    await mint.check()
    await other.check()
    assert [row["attempt"] for row in await other.rows()] == [row["attempt"] for row in await mint.rows()]
    await other.store.close()


def _others() -> list[object]:
    from bridge.records import BRIDGE_COLLECTIONS

    return [each for each in BRIDGE_COLLECTIONS if each is not READINGS]


class Unsure:
    """A store whose answer to the commit of signed transactions is lost: it is durable all the same."""

    def __init__(self, store: Store, answer: MetawattError) -> None:
        self._store = store
        self._answer: MetawattError | None = answer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def commit(self, writes: Sequence[Write]) -> None:
        await self._store.commit(writes)
        if self._answer is not None and any(write.collection is ATTEMPTS for write in writes):
            answer, self._answer = self._answer, None
            raise answer


@pytest.mark.parametrize(
    "answer", [StoreUnavailable("no answer"), Conflict("it is there already")], ids=["none", "of a repetition"]
)
async def test_transactions_that_were_stored_without_an_answer_are_sent(mint: Mint, answer: MetawattError) -> None:
    keys = await mint.accept(5)
    certain = mint.store
    mint.store = Unsure(certain, answer)
    minter = mint.minter()
    mint.store = certain
    await minter._safe_turn()
    assert await mint.states(keys) == ["signed"] * 5
    for _ in range(3):
        await minter._safe_turn()
        await mint.pass_slots()
    assert await mint.states(keys) == ["minted"] * 5
    await mint.check()


# The lease


async def test_one_holder_at_a_time(mint: Mint) -> None:
    first, second = (StoredLease(mint.store, mint.clock) for _ in range(2))
    assert await first.hold()
    assert not await second.hold()
    mint.clock.now_ms += TERM_MS - 1
    assert await first.hold(), "renewed"
    mint.clock.now_ms += TERM_MS - 1
    assert not await second.hold()
    mint.clock.now_ms += 1
    assert await second.hold()
    assert (first.term, second.term) == (1, 2)
    with pytest.raises(Lost):
        await first.demand()
    assert not await first.hold()
    await second.release()
    assert await first.hold()
    assert first.term == 3


async def test_a_holder_that_slept_through_anothers_term_starts_anew(mint: Mint) -> None:
    """It had the lease, and has it again; in between, another one left a transaction behind."""
    sleeper = mint.minter()
    assert await sleeper._turn() >= 0
    mint.clock.now_ms += TERM_MS
    keys = await mint.accept(3)
    other = mint.minter()
    await other.round()
    mint.clock.now_ms += TERM_MS
    await mint.pass_slots()
    await sleeper._turn()
    assert await mint.states(keys) == ["minted"] * 3
    await mint.check()


async def test_a_term_of_a_clock_that_was_wrong_binds_nobody(mint: Mint) -> None:
    """It was an hour ahead when its holder died."""
    mint.clock.now_ms += 3_600_000
    ahead, after = (StoredLease(mint.store, mint.clock) for _ in range(2))
    assert await ahead.hold()
    mint.clock.now_ms -= MOST_SKEW_MS
    assert not await after.hold(), "clocks may differ by so much"
    mint.clock.now_ms -= 3_600_000 - MOST_SKEW_MS
    assert await after.hold()
    with pytest.raises(Lost):
        await ahead.demand()


async def test_many_ask_at_once_and_one_is_given_it(mint: Mint) -> None:
    leases = [StoredLease(mint.store, mint.clock) for _ in range(8)]
    assert sum(await asyncio.gather(*(lease.hold() for lease in leases))) == 1
    mint.clock.now_ms += TERM_MS
    assert sum(await asyncio.gather(*(lease.hold() for lease in leases))) == 1


async def test_a_holder_that_was_fenced_out_stores_nothing(mint: Mint) -> None:
    """It is stopped between its look at the readings and its commit, for longer than its term."""
    keys = await mint.accept(5)
    sleeper = mint.minter()
    await sleeper.round()
    await mint.accept(5)
    mint.clock.now_ms += TERM_MS
    successor = StoredLease(mint.store, mint.clock)
    # The sleeper holds what it believes to be its lease until it asks for its term again.
    sleeper._lease._held = type(sleeper._lease._held)(1, mint.clock.now_ms + TERM_MS)  # type: ignore[attr-defined]
    assert await successor.hold()
    before = await mint.attempts()
    with pytest.raises(Lost):
        await sleeper.round()
    assert await mint.attempts() == before
    row = await mint.store.get(LEASES, NAME)
    assert row is not None and row["fence"] == 2
    await successor.release()
    await mint.until_minted(mint.minter())
    assert set(await mint.states(keys)) == {"minted"}
    await mint.check()


async def test_a_holder_that_renews_from_several_places_at_once_keeps_its_lease(mint: Mint) -> None:
    lease = StoredLease(mint.store, mint.clock)
    assert await lease.hold()
    term = lease.term
    for _ in range(5):
        mint.clock.now_ms += TERM_MS // 2
        assert all(await asyncio.gather(*(lease.hold() for _ in range(8))))
        assert lease.term == term


async def test_a_clock_that_goes_back_does_not_keep_its_holder_from_renewing(mint: Mint) -> None:
    lease = StoredLease(mint.store, mint.clock)
    assert await lease.hold()
    mint.clock.now_ms -= 120_000
    assert await lease.hold()
    row = await mint.store.get(LEASES, NAME)
    assert row is not None and row["until_ms"] == mint.clock.now_ms + TERM_MS


async def test_who_waits_goes_by_what_it_sees_whatever_the_holders_clock_says(
    mint: Mint, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, waiting = (StoredLease(mint.store, mint.clock) for _ in range(2))
    mint.clock.now_ms += 240_000
    assert await gone.hold()
    mint.clock.now_ms -= 240_000
    assert not await waiting.hold()
    now_secs = time.monotonic()
    monkeypatch.setattr("bridge.minting.lease.monotonic", lambda: now_secs + TERM_MS / 1000)
    assert await waiting.hold()
