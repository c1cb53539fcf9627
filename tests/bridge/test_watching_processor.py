"""The processor over the embedded cluster: cursors, lies, lag, forks, gaps, replays, notices."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from solders.pubkey import Pubkey
from solders.signature import Signature

from bridge.records import CURSORS, MOVEMENTS
from bridge.solana.client import ClusterClient
from bridge.solana.rpc import Commitment, SeenTransaction
from bridge.watching import follower as followers
from bridge.watching.cursor import ENOUGH_MISSES, Cursor, HistoryGap
from bridge.watching.follower import Role, Watched
from bridge.watching.history import CursorNotMet, History
from bridge.watching.processor import EventProcessor
from config.errors import BadRequest, Busy, ErrorCode, NotFound, Unavailable
from store.port import Conflict, Delete, Insert, Patch
from tests.bridge.cluster_kit import TokenBench, keypair
from tests.bridge.watching_kit import Post, posted, watched_custody, watched_mint

LONG_FINAL_SLOTS = 300
ALICE = keypair("alice").pubkey()


@pytest.fixture
async def post(tmp_path: Path) -> AsyncIterator[Post]:
    async with posted(tmp_path) as post:
        yield post


@pytest.fixture
async def token(post: Post) -> TokenBench:
    token = await TokenBench.made(post.bench)
    await post.bench.must([token.create(ALICE)])
    return token


async def mint(post: Post, token: TokenBench, *units: int, final: bool = True) -> list[Signature]:
    """One transaction for each, in slots of their own."""
    signatures = []
    for each in units:
        signatures.append((await post.bench.must([token.mint_to(ALICE, each)])).signature)
        await post.cluster.advance()
    if final:
        await post.finalize()
    return signatures


async def minted(post: Post) -> list[int]:
    return [row["units"] for row in await post.rows("mint")]


async def forget(post: Post) -> int:
    """The cluster forgets everything up to now; where its history begins."""
    slot = post.cluster.slot("finalized") + 1
    await post.cluster.advance(LONG_FINAL_SLOTS)
    return await post.cluster.prune(slot)


async def eventually(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0.01)


# The cursor


async def test_only_what_is_new_is_applied_and_a_restart_goes_on(post: Post, token: TokenBench) -> None:
    processor = post.processor(watched_mint(token))
    await mint(post, token, 1, 2)

    assert await processor.catch_up() == 4  # with the mint's own making, and Alice's account
    assert await processor.catch_up() == 0

    await mint(post, token, 3)
    restarted = post.processor(watched_mint(token))
    assert await restarted.catch_up() == 1
    assert await minted(post) == [1, 2, 3]
    assert post.woken == 2


async def test_nothing_below_finality_is_applied_and_a_fork_leaves_no_row(post: Post, token: TokenBench) -> None:
    processor = post.processor(watched_mint(token))
    await mint(post, token, 5)
    await mint(post, token, 6, final=False)
    await processor.catch_up()
    assert await minted(post) == [5]

    await post.cluster.fork(3, drop=True)
    await mint(post, token, 7)
    await processor.catch_up()
    assert await minted(post) == [5, 7]


async def test_a_transaction_in_two_histories_is_applied_once(post: Post, token: TokenBench) -> None:
    await mint(post, token, 1)
    processor = post.processor(watched_mint(token), watched_custody(token.address(ALICE)))
    await processor.catch_up()

    assert len(post.told) == len({seen.signature for seen in post.told}) == 3
    assert await minted(post) == [1]
    custody = await post.cursor(token.address(ALICE))
    assert custody is not None
    assert custody["signature"] == bytes(post.told[-1].signature)


async def test_what_is_watched_from_now_on_has_no_past(post: Post, token: TokenBench) -> None:
    await mint(post, token, 1)
    processor = post.processor(replace(watched_mint(token), from_start=False))
    assert await processor.catch_up() == 0

    await mint(post, token, 2)
    assert await processor.catch_up() == 1
    assert await minted(post) == [2]


async def test_a_long_backlog_is_read_page_by_page_in_order(post: Post, token: TokenBench) -> None:
    units = list(range(1, 12))
    await mint(post, token, *units)
    history = History(post.rpc, token.mint.pubkey(), page=3)

    pages = [page async for page in history.after(Cursor.after_slot(-1))]

    assert [len(page) for page in pages] == [1, 3, 3, 3, 3]
    slots = [entry.slot for page in pages for entry in page]
    assert slots == sorted(slots)
    reached = Cursor.after_slot(-1).at(pages[1][1], pages[1][0])
    rest = [page async for page in history.after(reached)]
    assert [entry.signature for page in rest for entry in page] == [
        entry.signature for page in pages for entry in page
    ][3:]


async def test_two_processes_at_once_leave_the_same_rows(post: Post, token: TokenBench) -> None:
    await mint(post, token, *range(1, 30))
    first, second = (post.processor(watched_mint(token)) for _ in range(2))

    await asyncio.gather(first.catch_up(), second.catch_up(), return_exceptions=True)
    await first.catch_up()

    assert await minted(post) == list(range(1, 30))


async def test_writes_of_others_join_the_cursors_commit(post: Post, token: TokenBench) -> None:
    """A write that cannot be done keeps the cursor where it was."""
    (signature,) = await mint(post, token, 1)
    processor = post.processor(watched_mint(token))
    await processor.catch_up()
    await mint(post, token, 2)

    async def impossible(_: object) -> list[Patch]:
        return [Patch(MOVEMENTS, b"nothing", {"x": 1})]

    stubborn = EventProcessor(
        post.store, post.rpc, None, [watched_mint(token)], lambda: 0, lambda: None, impossible
    )
    with pytest.raises(Conflict):
        await stubborn.catch_up()
    cursor = await post.cursor(token.mint.pubkey())
    assert cursor is not None
    assert cursor["signature"] == bytes(signature)
    assert await minted(post) == [1]


# Lies and lag


class Liar(ClusterClient):
    """A node that names transactions in histories, and does not tell them."""

    def __init__(self, rpc_url: str) -> None:
        super().__init__(rpc_url)
        self.hidden: set[Signature] = set()

    async def transaction(
        self, signature: Signature, commitment: Commitment = "finalized"
    ) -> SeenTransaction | None:
        return None if signature in self.hidden else await super().transaction(signature, commitment)


async def test_a_transaction_that_is_not_told_holds_the_cursor(post: Post, token: TokenBench) -> None:
    _, hidden, _ = await mint(post, token, 1, 2, 3)
    post.rpc = liar = Liar(post.server.rpc_url)
    liar.hidden.add(hidden)
    processor = post.processor(watched_mint(token))

    with pytest.raises(Unavailable, match=str(hidden)):
        await processor.catch_up()
    assert await minted(post) == [1]

    liar.hidden.clear()
    await processor.catch_up()
    await liar.close()
    assert await minted(post) == [1, 2, 3]
    assert processor.counts["asked_again"] > 0


@pytest.mark.parametrize("seed", range(3))
async def test_a_cluster_that_often_lies_is_believed_nothing(post: Post, token: TokenBench, seed: int) -> None:
    processor = post.processor(watched_mint(token))
    await mint(post, token, 1)
    await processor.catch_up()
    post.cluster.faults.set(seed=seed)
    units = list(range(2, 22))
    for each in units:
        await mint(post, token, each)
        post.cluster.faults.set(deny_rate=0.2)
        try:
            await processor.catch_up()
        except Unavailable:
            continue
        finally:
            post.cluster.faults.clear()
    await processor.catch_up()

    assert await minted(post) == [1, *units]
    assert processor.problem is None


async def test_a_cluster_that_lags_behind_the_cursor_makes_no_gap(post: Post, token: TokenBench) -> None:
    processor = post.processor(watched_mint(token))
    await mint(post, token, 1)
    await processor.catch_up()
    post.cluster.faults.set(lag_slots=32)
    for _ in range(ENOUGH_MISSES + 2):
        with pytest.raises(CursorNotMet):
            await processor.catch_up()
    post.cluster.faults.clear()
    await mint(post, token, 2)

    await processor.catch_up()
    assert await minted(post) == [1, 2]


async def test_a_cluster_that_is_away_is_told_of(post: Post, token: TokenBench) -> None:
    processor = post.processor(watched_mint(token))
    await post.server.stop()
    with pytest.raises(Unavailable) as failure:
        await processor.catch_up()
    assert failure.value.code is ErrorCode.SOLANA_UNAVAILABLE


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


# Running


async def test_notices_wake_it_and_a_broken_line_is_made_again(post: Post, token: TokenBench) -> None:
    processor = post.processor(watched_mint(token), ws=True, poll_secs=600)
    await processor.start()
    try:
        await eventually(lambda: processor.is_listening)
        await mint(post, token, 1)
        await eventually(lambda: processor.counts["mint"] == 1)

        await post.server.stop()
        await eventually(lambda: not processor.is_listening)
        await post.server.start()
        await eventually(lambda: processor.is_listening)
        await mint(post, token, 2)
        await eventually(lambda: processor.counts["mint"] == 2)
    finally:
        await processor.stop()
    assert await minted(post) == [1, 2]


async def test_without_notices_it_looks_by_itself(post: Post, token: TokenBench) -> None:
    processor = post.processor(watched_mint(token), poll_secs=0.02)
    await processor.start()
    try:
        await eventually(lambda: processor.counts["round_done"] > 1)
        await mint(post, token, 1)
        await eventually(lambda: processor.counts["mint"] == 1)
    finally:
        await processor.stop()


async def test_movements_are_listed_by_kind_newest_first(post: Post, token: TokenBench) -> None:
    await mint(post, token, 1, 2, 3)
    processor = post.processor(watched_mint(token))
    await processor.catch_up()

    page = await processor.movements("mint", 2)
    rest = await processor.movements("mint", 2, page.cursor)

    assert [row["units"] for row in (*page.documents, *rest.documents)] == [3, 2, 1]
    assert (await processor.movements(None, 10)).documents[0]["units"] == 3
    with pytest.raises(BadRequest):
        await processor.movements("theft", 10)
    with pytest.raises(BadRequest):
        await processor.movements("mint", 10, "no cursor")


async def test_standings_tell_where_each_address_is(post: Post, token: TokenBench) -> None:
    program = Watched("registry", Pubkey.new_unique(), Role.PROGRAM)
    processor = post.processor(watched_mint(token), program)
    await mint(post, token, 1)
    await processor.catch_up()

    mint_at, program_at = await processor.standings()

    assert mint_at.signature == post.told[-1].signature
    assert (mint_at.read_slot, program_at.slot) == (await processor.final_slot(), None)
