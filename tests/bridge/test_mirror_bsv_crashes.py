"""The end of the process at every commit, and others who work on the same numbers, coins and messages: nothing is
issued twice, and nothing is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from bridge.minting.lease import Lost, StoredLease
from bridge.mirror.book import Book
from bridge.mirror.message import Message
from bridge.mirror.records import AUDIT, ISSUES, LOTS, RECEIPTS
from bridge.mirror.states import Hold, State
from bridge.mirror.to_bsv.destination import BsvDestination
from certificates.lifecycle import Status
from energytag.actions import Kind
from energytag.audit import check_registry
from store.port import StoreUnavailable, Write
from tests.bridge.bsv_kit import CONFIRMATIONS, BsvMirror, Crash, CrashingStore, is_whole, store_at
from tests.bridge.minting_kit import NoLease
from tests.energytag.kit import DEVICE, readings
from tests.overlay.kit import Chain, Clock

_MOST_COMMITS = 12


@pytest.fixture
async def chain(tmp_path: Path) -> AsyncIterator[Chain]:
    made = Chain(tmp_path, Clock())
    await made.open()
    yield made
    await made.close()


@pytest.fixture
async def mirror(tmp_path: Path, chain: Chain) -> AsyncIterator[BsvMirror]:
    made = BsvMirror(chain, store_at(tmp_path), chain.clock)
    await made.open()
    await made.registry.populate()
    yield made
    await made.close()


async def dies(mirror: BsvMirror, step: Callable[[], Awaitable[object]], commit: int, is_after: bool) -> bool:
    """Carry out a step in a process that ends at its nth commit; whether it came so far."""
    store = mirror.store
    assert isinstance(store, CrashingStore)
    store.crash_in, store.is_after = commit, is_after
    try:
        await step()
        return False
    except Crash:
        return True
    finally:
        store.crash_in = None


@pytest.mark.parametrize("is_after", [False, True])
async def test_issuing_that_ends_at_any_commit_is_done_once(tmp_path: Path, chain: Chain, is_after: bool) -> None:
    mirror = BsvMirror(chain, store_at(tmp_path), chain.clock, issues_per_transaction=2)
    await mirror.open()
    await mirror.registry.populate()
    for commit in range(_MOST_COMMITS):
        messages = await mirror.deposits(4, first_hour=4 * commit)
        died = await dies(mirror, partial(mirror.destination.deliver, messages), commit, is_after)
        mirror = await mirror.restarted(store_at(tmp_path))
        left = [each for each in await mirror.now(*messages) if each.state is State.ACCOUNTED]
        await mirror.destination.deliver(left)
        assert set(await mirror.states(*messages)) == {State.DST_SIGNED}
        sums = await mirror.mirrored()
        assert {each.id: sums[each.id] for each in messages} == {each.id: each.wh for each in messages}
        if not died:
            break
    else:
        pytest.fail("it never came to its end")
    assert commit > 1
    starts = sorted(token.issued for _, token in await mirror.tokens())
    assert len({each.start for each in starts}) == len(starts)
    await mirror.registry.treasury.tend()
    assert await check_registry(mirror.store, mirror.registry.keyring) == []
    await mirror.close()


@pytest.mark.parametrize("is_after", [False, True])
async def test_following_and_completing_that_end_at_any_commit(
    tmp_path: Path, chain: Chain, is_after: bool
) -> None:
    mirror = BsvMirror(chain, store_at(tmp_path), chain.clock)
    await mirror.open()
    await mirror.registry.populate()
    messages = await mirror.deposits(2)
    exits = await mirror.locked(2, first_hour=10)
    await mirror.destination.deliver(messages)
    await mirror.mined(CONFIRMATIONS)

    async def to_the_end() -> None:
        await mirror.destination.follow()
        due = [each for each in await mirror.now(*messages, *exits) if each.state is State.DST_FINAL]
        await mirror.destination.complete(due)

    for commit in range(_MOST_COMMITS):
        died = await dies(mirror, to_the_end, commit, is_after)
        mirror = await mirror.restarted(store_at(tmp_path))
        if not died:
            break
    assert commit >= 2
    assert set(await mirror.states(*messages, *exits)) == {State.RECEIPTED}
    assert len(await mirror.rows(RECEIPTS)) == 4
    assert len([row for row in await mirror.rows(LOTS) if row["from"] == "mint"]) == 4
    statuses = [token.bundle.status for _, token in await mirror.tokens() if token.origin is None]
    assert statuses == [Status.WITHDRAWN] * 2
    await mirror.close()


async def test_what_is_nobodys_fault_holds_nobody(mirror: BsvMirror, monkeypatch: pytest.MonkeyPatch) -> None:
    messages = await mirror.deposits(3)
    commit = mirror.store.commit
    refusals = iter(range(2))

    async def refusing(writes: Sequence[Write]) -> None:
        if next(refusals, None) is not None:
            raise StoreUnavailable("the disk is full")
        await commit(writes)

    monkeypatch.setattr(mirror.store, "commit", refusing)
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            await mirror.destination.deliver(messages)
    assert set(await mirror.states(*messages)) == {State.ACCOUNTED}
    await mirror.destination.deliver(messages)
    assert is_whole(await mirror.mirrored(), messages)


# Others at work


async def test_the_registrys_queue_issues_for_the_same_device_meanwhile(mirror: BsvMirror) -> None:
    messages = await mirror.deposits(40)
    issuing = [
        mirror.registry.resolved(Kind.CREATE_MANY, {"device_id": DEVICE, "readings": readings(100 + 3 * n, 3, 10)})
        for n in range(10)
    ]
    await asyncio.gather(*issuing, *(mirror.destination.deliver(messages[n : n + 10]) for n in range(0, 40, 10)))
    left = [each for each in await mirror.now(*messages) if each.state is State.ACCOUNTED]
    await mirror.destination.deliver(left)
    assert is_whole(await mirror.mirrored(), messages)
    ranges = sorted(token.issued for _, token in await mirror.tokens())
    assert [each.start for each in ranges] == list(range(1, 10 * len(ranges), 10))
    assert len(ranges) == 70
    assert await check_registry(mirror.store, mirror.registry.keyring) == []


async def test_whoever_is_first_has_the_interval(mirror: BsvMirror) -> None:
    messages = await mirror.deposits(6)
    request = {"device_id": DEVICE, "readings": readings(2, 1, 10)}
    outcome, _ = await asyncio.gather(
        mirror.registry.act(Kind.CREATE_MANY, request), mirror.destination.deliver(messages)
    )
    held = [each for each in await mirror.now(*messages) if each.state is State.HELD]
    hours = [token.bundle.attributes["production_starting_interval"] for _, token in await mirror.tokens()]
    assert len(set(hours)) == len(hours) == 6
    if outcome.action.error is None:
        assert [(each.id, each.reason.code) for each in held if each.reason is not None] == [
            (messages[2].id, Hold.ISSUED_ELSEWHERE)
        ]
    else:
        assert held == []


async def test_a_message_that_somebody_moved_is_left_alone(mirror: BsvMirror) -> None:
    messages = await mirror.deposits(3)
    async with mirror.book.page() as page:
        page.hold(messages[1], Hold.OPERATOR, "wait")
    await mirror.destination.deliver(messages)
    assert await mirror.states(*messages) == [State.DST_SIGNED, State.HELD, State.DST_SIGNED]
    assert is_whole(await mirror.mirrored(), [messages[0], messages[2]])


async def test_two_workers_on_one_book(mirror: BsvMirror) -> None:
    """Without a lease between them: what holds is versions and the log's head."""
    other = Book(mirror.store, NoLease(), mirror.clock)
    rival = BsvDestination(replace(mirror.ground, book=other), mirror.books, mirror.books, mirror.books)
    messages = await mirror.deposits(20)
    await asyncio.gather(mirror.destination.deliver(messages), rival.deliver(messages))
    left: list[Message] = [each for each in await mirror.now(*messages) if each.state is State.ACCOUNTED]
    await rival.deliver(left)
    assert is_whole(await mirror.mirrored(), messages)
    numbers = [row["_id"] for row in await mirror.rows(AUDIT)]
    assert numbers == list(range(1, len(numbers) + 1))


async def test_who_lost_the_lease_writes_nothing(mirror: BsvMirror) -> None:
    lease = StoredLease(mirror.store, mirror.clock, "one", name="mirror")
    assert await lease.hold()
    ground = replace(mirror.ground, book=Book(mirror.store, lease, mirror.clock))
    sleeper = BsvDestination(ground, mirror.books, mirror.books, mirror.books)
    messages = await mirror.deposits(2)
    mirror.clock.now_ms += 600_000
    assert await StoredLease(mirror.store, mirror.clock, "two", name="mirror").hold()
    with pytest.raises(Lost):
        await sleeper.deliver(messages)
    assert await mirror.mirrored() == {}
    assert await mirror.rows(ISSUES) == []
