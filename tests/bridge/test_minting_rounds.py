"""Minting on the embedded cluster: from due to final, and what goes wrong on the way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from api.solana.server import SolanaServer
from bridge.cluster.cluster import Cluster
from bridge.minting.config import MintingConfig
from bridge.minting.polls import PollResult
from bridge.minting.retry import NEVER_MS
from bridge.notices import NoticeKind
from bridge.records import READINGS, AttemptState, ReadingState
from config.errors import BadRequest, ErrorCode, NotFound, Unavailable
from store.port import Find
from store.sqlite import SqliteStore
from tests.bridge.minting_kit import Clock, Mint, signatures, slots_passing, wallet


@pytest.fixture
def slot_ms() -> int:
    return 0


@pytest.fixture
async def mint(cluster: Cluster, solana: SolanaServer, tmp_path: Path) -> AsyncIterator[Mint]:
    made = await Mint.open(cluster, solana.rpc_url, SqliteStore(tmp_path / "node.db", cache_mib=4))
    yield made
    await made.close()


async def test_due_readings_are_minted(mint: Mint) -> None:
    keys = await mint.accept(40)
    minter = mint.minter()
    result = await minter.round()
    assert result.readings == 40
    assert set(await mint.states(keys)) == {ReadingState.SIGNED}
    await mint.until_minted(minter)
    await mint.check()
    told = mint.told(NoticeKind.MINTED)
    assert len(told) == 40
    assert told[0].body["commitment"] == "finalized"
    assert sum(notice.body["tokens_minted"] for notice in told) == await mint.supply()
    (batch,) = mint.told(NoticeKind.BATCH_DONE)
    assert batch.body["total_readings"] == batch.body["successful_mints"] == 40
    assert batch.body["failed_mints"] == 0
    assert minter.measures.units == await mint.supply()
    assert all(each["state"] == AttemptState.FINAL for each in await mint.attempts())


async def test_what_landed_is_final_before_it_is_minted(mint: Mint) -> None:
    (key,) = await mint.accept(1)
    minter = mint.minter()
    await minter.round()
    await mint.pass_slots(10)
    await minter.round()
    assert (await mint.row(key))["state"] == ReadingState.SIGNED
    (attempt,) = await mint.attempts()
    assert (attempt["state"], attempt["sends"]) == (AttemptState.SEEN, 1)
    status = await minter.status(key)
    assert status.attempt is AttemptState.SEEN
    assert minter.measures.confirmed_secs.counts[2] == 1
    await mint.until_minted(minter)
    await mint.check()


async def test_a_batch_is_bounded_and_rounds_repeat(mint: Mint) -> None:
    await mint.accept(30)
    minter = mint.minter(batch_size=8, max_transactions_per_batch=2)
    result = await minter.round()
    assert result.readings == 30
    assert result.transactions >= 4
    await mint.until_minted(minter)
    assert len(mint.told(NoticeKind.BATCH_DONE)) >= 4
    await mint.check()


async def test_auto_mint_off_waits_for_a_person(mint: Mint) -> None:
    first, second, third = await mint.accept(3)
    minter = mint.minter(auto_mint_enabled=False)
    assert (await minter.round()).readings == 0
    status = await minter.mint_reading(second, wait_secs=0.01)
    assert status.state is ReadingState.ACCEPTED
    assert (await minter.round()).readings == 1
    assert await mint.states([first, second, third]) == ["accepted", "signed", "accepted"]
    assert await minter.poll_now(wait_secs=0.01) == PollResult(is_finished=False)
    assert (await minter.round()).readings == 2
    result = await minter.poll_now(wait_secs=0.01)
    assert not result.is_finished
    await mint.until_minted(minter)
    await mint.check()
    assert (await minter.mint_reading(first)).state is ReadingState.MINTED


async def test_the_configuration_outlives_the_process(mint: Mint) -> None:
    minter = mint.minter()
    assert await minter.config() == MintingConfig(True, 60.0, 50)
    changed = await minter.set_config(auto_mint_enabled=False, batch_size=7)
    assert changed == MintingConfig(False, 60.0, 7)
    await minter.set_config(polling_interval_secs=5)
    assert await mint.minter().config() == MintingConfig(False, 5, 7)
    for wrong in ({"batch_size": 0}, {"batch_size": 10_001}, {"polling_interval_secs": 0.01}):
        with pytest.raises(BadRequest) as refused:
            await minter.set_config(**wrong)  # type: ignore[arg-type]
        assert refused.value.code is ErrorCode.INVALID_FIELD
    await mint.accept(1)
    assert (await minter.round()).readings == 0


async def test_the_interval_is_the_one_in_force_whoever_changed_it(mint: Mint) -> None:
    minter = mint.minter(polling_interval_secs=3600)
    await minter._turn()
    (key,) = await mint.accept(1)
    mint.clock.now_ms += 11_000
    await minter._turn()
    assert await mint.states([key]) == ["accepted"]
    await mint.minter().set_config(polling_interval_secs=10)
    await minter._turn()
    assert await mint.states([key]) == ["signed"]


async def test_a_clock_that_goes_back_puts_no_poll_off(mint: Mint) -> None:
    minter = mint.minter(polling_interval_secs=60)
    await minter._turn()
    mint.clock.now_ms -= 3_600_000
    (key,) = await mint.accept(1)
    await minter._turn()
    assert await mint.states([key]) == ["signed"]


class Ticking(Clock):
    """Time passes with each look at it."""

    def __call__(self) -> int:
        self.now_ms += 400
        return self.now_ms


async def test_a_long_poll_heeds_the_switch_on_the_way(mint: Mint) -> None:
    keys = await mint.accept(60)
    mint.clock = Ticking()
    minter = mint.minter(batch_size=2)
    assert await minter._turn() == 0.0, "it goes on at once"
    signed = (await mint.states(keys)).count("signed")
    assert 0 < signed < 60
    await mint.minter().set_config(auto_mint_enabled=False)
    await minter._turn()
    assert (await mint.states(keys)).count("signed") == signed
    assert await minter.poll_now(wait_secs=0.01) == PollResult(is_finished=False)
    await minter._turn()
    assert 0 < (await mint.states(keys)).count("accepted") < 60 - signed
    while await minter._turn() == 0.0:
        pass
    assert (await mint.states(keys)).count("accepted") == 0
    result = await minter._polls.outcome(1, 0.01)
    assert (result.readings, result.waiting, result.is_finished) == (60 - signed, 0, True)


async def test_lists_are_paged(mint: Mint) -> None:
    keys = await mint.accept(5)
    minter = mint.minter(auto_mint_enabled=False)
    first = await minter.unminted(3)
    second = await minter.unminted(3, first.cursor)
    assert [row["_id"] for row in (*first.documents, *second.documents)] == sorted(keys)
    assert second.cursor is None
    assert (await minter.retries(3)).documents == []
    with pytest.raises(NotFound):
        await minter.status(b"\0" * 16)


async def test_a_backfill_makes_old_readings_due(mint: Mint) -> None:
    keys = await mint.accept(6)
    for key in keys[:4]:
        await mint.change(key, due_ms=None, state=ReadingState.DEAD, retry_ms=NEVER_MS, attempts=10)
    rows = [await mint.row(key) for key in keys]
    minter = mint.minter(auto_mint_enabled=False)
    until_ms = rows[3]["interval_start_ms"]
    job = await minter.backfill(0, until_ms)
    assert (await minter.backfill_status(job))["state"] == "running"
    # Another process carries it out.
    other = mint.minter(auto_mint_enabled=False)
    assert (await other.round()).readings == 3
    status = await minter.backfill_status(job)
    assert (status["state"], status["examined"], status["made_due"]) == ("done", 3, 3)
    narrow = await minter.backfill(0, 2**40, meter=rows[4]["meter"])
    by_wallet = await minter.backfill(0, 2**40, wallet=rows[3]["wallet"])
    assert (await other.round()).readings == 3
    assert (await minter.backfill_status(narrow))["made_due"] == 1
    assert (await minter.backfill_status(by_wallet))["state"] == "done"
    await mint.until_minted(other)
    await mint.check()
    with pytest.raises(BadRequest):
        await minter.backfill(5, 5)
    with pytest.raises(NotFound):
        await minter.backfill_status("none")


async def test_a_token_account_is_made_once(mint: Mint) -> None:
    minter = mint.minter()
    async with slots_passing(mint.cluster):
        made = await minter.initialize_token_account(str(wallet(9)))
        again = await minter.initialize_token_account(str(wallet(9)))
    assert made.signature is not None
    assert (again.address, again.signature) == (made.address, None)
    with pytest.raises(BadRequest):
        await minter.initialize_token_account("no address")


async def test_in_the_background_until_it_is_stopped(mint: Mint) -> None:
    keys = await mint.accept(12)
    minter = mint.minter()
    await minter.start()
    try:
        async with slots_passing(mint.cluster):
            status = await minter.mint_reading(keys[5], wait_secs=20)
            result = await minter.poll_now(wait_secs=20)
            async with asyncio.timeout(20):
                while await mint.store.count(READINGS, Find("open")):
                    mint.clock.now_ms += 500
                    minter.wake()
                    await asyncio.sleep(0.05)
    finally:
        await minter.stop()
    assert status.state is ReadingState.MINTED
    assert status.signature in signatures(await mint.rows())
    assert result.is_finished
    await mint.pass_slots()
    await mint.check()
    assert (await minter.health.check_work()).status == "ok"


async def test_a_payer_without_sol_signs_nothing(cluster: Cluster, solana: SolanaServer, tmp_path: Path) -> None:
    poor = await Mint.open(cluster, solana.rpc_url, SqliteStore(tmp_path / "poor.db"), lamports=10_000_000)
    try:
        (key, *_) = await poor.accept(20)
        minter = poor.minter()
        with pytest.raises(Unavailable, match="too few for what is due"):
            await minter.round()
        assert (await poor.row(key))["state"] == ReadingState.ACCEPTED
        assert not await poor.attempts()
        assert (await minter.health.check_funds()).status == "degraded"
        await minter.stop()
        rich = poor.minter(has_faucet=True)
        with pytest.raises(Unavailable):
            await rich.round()
        await poor.pass_slots(secs=10)
        await poor.until_minted(rich)
        assert (await rich.health.check_funds()).status == "ok"
        await poor.check()
    finally:
        await poor.close()
