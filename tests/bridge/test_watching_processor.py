"""The processor over the embedded cluster: cursors, lies, lag, forks, gaps, replays, notices."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from solders.pubkey import Pubkey
from solders.signature import Signature

from api.solana.server import SolanaServer
from bridge.cluster.cluster import Cluster
from bridge.records import MOVEMENTS, READINGS, ReadingState
from bridge.solana.client import ClusterClient
from bridge.solana.rpc import Commitment, SeenTransaction
from bridge.watching.cursor import ENOUGH_MISSES, Cursor
from bridge.watching.follower import Role, Watched
from bridge.watching.history import CursorNotMet, History
from bridge.watching.processor import EventProcessor
from config.errors import BadRequest, ErrorCode, Unavailable
from store.port import Conflict, Patch
from store.sqlite import SqliteStore
from tests.bridge.cluster_kit import TokenBench
from tests.bridge.minting_kit import FINAL_SLOTS, Mint
from tests.bridge.watching_kit import ALICE, Post, mint, minted, posted, watched_custody, watched_mint


@pytest.fixture
def slot_ms() -> int:
    return 0


@pytest.fixture
async def post(tmp_path: Path) -> AsyncIterator[Post]:
    async with posted(tmp_path) as post:
        yield post


@pytest.fixture
async def token(post: Post) -> TokenBench:
    token = await TokenBench.made(post.bench)
    await post.bench.must([token.create(ALICE)])
    return token


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


async def test_others_may_be_first_again_and_again(post: Post, token: TokenBench) -> None:
    """The minter settles the same readings at the same time: a lost race is no failed round."""
    await mint(post, token, *range(1, 6))
    races = 0

    async def overtaken(_: object) -> list[Patch]:
        nonlocal races
        races += 1
        return [Patch(MOVEMENTS, b"nothing", {"x": 1}, must_exist=races in (2, 6, 9))]

    processor = EventProcessor(
        post.store, post.rpc, None, [watched_mint(token)], lambda: 0, lambda: None, overtaken
    )
    await processor.catch_up()
    assert await minted(post) == [1, 2, 3, 4, 5]
    assert races > 9


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


# Running


async def test_notices_wake_it_and_a_broken_line_is_made_again(post: Post, token: TokenBench) -> None:
    custody = watched_custody(token.address(ALICE))
    processor = post.processor(watched_mint(token), custody, ws=True, poll_secs=600)
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


# With the minter


async def test_readings_are_minted_by_the_commit_that_records_their_mints(
    cluster: Cluster, solana: SolanaServer, tmp_path: Path
) -> None:
    mint = await Mint.open(cluster, solana.rpc_url, SqliteStore(tmp_path / "minting.db", cache_mib=4))
    try:
        keys = await mint.accept(20)
        minter = mint.minter(auto_mint_enabled=True)
        await minter.round()  # signed and sent
        await cluster.advance(FINAL_SLOTS)
        processor = EventProcessor(
            mint.store,
            mint.rpc,
            solana.ws_url,
            [Watched("mint", mint.mode.mint)],
            mint.clock,
            minter.wake,
            minter.confirmations,
        )
        await processor.catch_up()

        readings = await mint.store.get_many(READINGS, keys)
        movements = (await processor.movements("mint", 100)).documents
        assert {row["state"] for row in readings.values()} == {ReadingState.MINTED}
        assert {key: row["units"] for row in movements for key in row["readings"]} == {
            key: row["units"] for key, row in readings.items()
        }
        assert (await processor.replay(0))["state"] == "done"
        assert {row["state"] for row in (await mint.store.get_many(READINGS, keys)).values()} == {
            ReadingState.MINTED
        }
    finally:
        await mint.close()
