"""Histories that the cluster forgot: gaps are seen, told, and left by a person; replays."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from solders.pubkey import Pubkey
from solders.signature import Signature

from bridge.records import CURSORS, MOVEMENTS
from bridge.watching import follower as followers
from bridge.watching.cursor import ENOUGH_MISSES, HistoryGap
from bridge.watching.history import CursorNotMet
from bridge.watching.processor import EventProcessor
from config.errors import Busy, ErrorCode, NotFound
from store.port import Delete, Insert, Patch
from tests.bridge.cluster_kit import TokenBench
from tests.bridge.watching_kit import ALICE, LONG_FINAL_SLOTS, Post, forget, mint, minted, posted, watched_mint


@pytest.fixture
async def post(tmp_path: Path) -> AsyncIterator[Post]:
    async with posted(tmp_path) as post:
        yield post


@pytest.fixture
async def token(post: Post) -> TokenBench:
    token = await TokenBench.made(post.bench)
    await post.bench.must([token.create(ALICE)])
    return token


# Gaps


async def lost(processor: EventProcessor) -> HistoryGap:
    """The gap, which shows after so many misses."""
    for _ in range(ENOUGH_MISSES - 1):
        with pytest.raises(CursorNotMet):
            await processor.catch_up()
    with pytest.raises(HistoryGap) as failure:
        await processor.catch_up()
    return failure.value


async def test_a_history_that_was_forgotten_is_a_gap_until_it_is_skipped(post: Post, token: TokenBench) -> None:
    processor = post.processor(watched_mint(token))
    await mint(post, token, 1)
    await processor.catch_up()
    await mint(post, token, 2, 3)
    first_slot = await forget(post)
    await mint(post, token, 4)

    gap = await lost(processor)
    assert gap.code is ErrorCode.HISTORY_GAP
    assert processor.problem == gap.message
    with pytest.raises(HistoryGap):
        await processor.catch_up()
    assert await minted(post) == [1]

    with pytest.raises(NotFound):
        await processor.skip_gap("custody")
    await processor.skip_gap("mint")
    await processor.catch_up()
    assert await minted(post) == [1, 4]
    assert processor.problem is None
    (standing,) = await processor.standings()
    assert [each["to_slot"] for each in standing.skipped] == [first_slot]


@pytest.mark.parametrize("restarts", [False, True])
async def test_a_gap_closes_once_the_cluster_shows_the_history_again(
    post: Post, token: TokenBench, restarts: bool
) -> None:
    """It had lied for long, or another cluster that keeps more is asked now."""
    processor = post.processor(watched_mint(token))
    await mint(post, token, 1)
    await processor.catch_up()
    await mint(post, token, 2)
    cursor = await post.cursor(token.mint.pubkey())
    assert cursor is not None
    post.cluster.faults.deny(Signature.from_bytes(cursor["signature"]))
    await lost(processor)
    with pytest.raises(HistoryGap):
        await processor.catch_up()

    post.cluster.faults.clear()
    if restarts:
        processor = post.processor(watched_mint(token))
    await processor.catch_up()
    assert processor.problem is None
    assert await minted(post) == [1, 2]
    (standing,) = await processor.standings()
    assert (standing.gap, list(standing.skipped)) == (None, [])


async def test_an_address_that_was_quiet_is_read_on_when_its_past_is_forgotten(
    post: Post, token: TokenBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(followers, "LAG_SLOTS", 0)
    monkeypatch.setattr(followers, "_STORED_EVERY_SLOTS", 10)
    processor = post.processor(watched_mint(token))
    await mint(post, token, 1)
    await processor.catch_up()
    await post.cluster.advance(LONG_FINAL_SLOTS)
    await processor.catch_up()  # it was quiet up to here
    await forget(post)
    await mint(post, token, 2)

    for _ in range(ENOUGH_MISSES - 1):
        with pytest.raises(CursorNotMet):
            await processor.catch_up()
    await processor.catch_up()
    assert await minted(post) == [1, 2]


async def vanish(post: Post, address: Pubkey) -> None:
    """The cursor names a transaction that the cluster never saw, as after a change to another cluster."""
    cursor = await post.cursor(address)
    assert cursor is not None
    other = bytes(Signature.new_unique())
    await post.store.commit([Patch(CURSORS, str(address), {"signature": other})])


async def test_a_replay_closes_a_gap(post: Post, token: TokenBench) -> None:
    await mint(post, token, 1)
    await post.processor(watched_mint(token)).catch_up()
    await vanish(post, token.mint.pubkey())
    await mint(post, token, 2)
    processor = post.processor(watched_mint(token))
    await lost(processor)

    job = await processor.replay(0)

    assert (job["state"], processor.problem) == ("done", None)
    await mint(post, token, 3)
    await processor.catch_up()
    assert await minted(post) == [1, 2, 3]


# Replays


async def test_a_replay_makes_the_same_rows_again_and_takes_false_ones_away(post: Post, token: TokenBench) -> None:
    await mint(post, token, 1, 2, 3)
    processor = post.processor(watched_mint(token))
    await processor.catch_up()
    before, cursor = await post.rows(), await post.cursor(token.mint.pubkey())
    false = before[1] | {"_id": before[1]["_id"][:-6] + b"\x00\x07" * 3, "units": 99}
    await post.store.commit([Delete(MOVEMENTS, before[0]["_id"]), Insert(MOVEMENTS, false)])

    job = await processor.replay(0)

    assert await post.rows() == before
    assert await post.cursor(token.mint.pubkey()) == cursor
    assert (job["state"], job["transactions"], job["error"]) == ("done", 5, None)
    (listed,) = await processor.replays()
    assert listed == job
    assert len(post.told) == 10


async def test_a_replay_from_a_slot_leaves_what_was_before(post: Post, token: TokenBench) -> None:
    _, second, _ = await mint(post, token, 1, 2, 3)
    processor = post.processor(watched_mint(token))
    slot = await processor.slot_of(second)

    assert (await processor.replay(slot))["transactions"] == 2
    assert await minted(post) == [2, 3]
    with pytest.raises(NotFound):
        await processor.slot_of(Signature.new_unique())


async def test_a_replay_beyond_the_clusters_history_is_refused(post: Post, token: TokenBench) -> None:
    await mint(post, token, 1)
    await forget(post)

    with pytest.raises(HistoryGap):
        await post.processor(watched_mint(token)).begin_replay(0)


async def test_one_replay_at_a_time_and_what_a_stop_broke_off_is_told(post: Post, token: TokenBench) -> None:
    await mint(post, token, *range(1, 60))
    processor = post.processor(watched_mint(token))
    await processor.begin_replay(0)
    with pytest.raises(Busy):
        await processor.begin_replay(0)
    while not await processor.replays():
        await asyncio.sleep(0)
    await processor.stop()
    (job,) = await processor.replays()
    assert job["state"] == "running"

    again = post.processor(watched_mint(token))
    await again.start()
    try:
        (job,) = await again.replays()
        assert job["state"] == "interrupted"
        assert (await again.replay(0))["state"] == "done"
        assert await minted(post) == list(range(1, 60))
    finally:
        await again.stop()


async def test_a_replay_outlasts_a_cluster_that_falters(
    post: Post, token: TokenBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridge.watching.replaying._PAUSES_SECS", (0.01,) * 20)
    await mint(post, token, *range(1, 20))
    post.cluster.faults.set(deny_rate=0.3, seed=1)

    job = await post.processor(watched_mint(token)).replay(0)

    assert job["state"] == "done"
    assert await minted(post) == list(range(1, 20))
