"""Forks below finality: what was undone never was, and what lands again is as if it had landed there first."""

from __future__ import annotations

from pathlib import Path

import pytest
from solders.pubkey import Pubkey
from solders.signature import Signature

from bridge.cluster.cluster import Cluster
from bridge.cluster.events import Event, ForkedAway, Landed, SlotOpened
from config.errors import BadRequest
from tests.bridge.cluster_kit import SOL, Bench, TokenBench, keypair, memo, opened, pay, signature_of, signed, state

_TARGETS = [keypair(f"target {number}").pubkey() for number in range(4)]


async def _run(cluster: Cluster, depth: int, left_out: set[int]) -> tuple[Bench, TokenBench, list[bytes]]:
    """`depth` blocks with a mint and a payment each, on a blockhash that was final before; those in
    `left_out` are not sent."""
    bench = Bench(cluster)
    await bench.fund()
    token = await TokenBench.made(bench)
    await bench.must([token.create(each) for each in _TARGETS])
    await cluster.advance(40)
    blockhash = cluster.latest_blockhash("finalized").value
    raws = []
    for number in range(depth):
        target = _TARGETS[number % len(_TARGETS)]
        instructions = [token.mint_to(target, number + 1), pay(bench.payer, target, SOL), memo(f"number {number}")]
        raws.append(signed(instructions, [bench.payer], blockhash))
        if number not in left_out:
            await cluster.send(raws[-1], skip_preflight=True)
        if number < depth - 1:
            await cluster.advance()
    return bench, token, raws


def _addresses(bench: Bench, token: TokenBench) -> list[Pubkey]:
    return [bench.payer.pubkey(), token.mint.pubkey(), *_TARGETS, *(token.address(each) for each in _TARGETS)]


@pytest.mark.parametrize("depth", [1, 2, 7, 30])
@pytest.mark.parametrize("drops", ["none", "some", "all"])
async def test_a_fork_is_as_if_the_dropped_had_never_been(tmp_path: Path, depth: int, drops: str) -> None:
    left_out = {"none": set[int](), "some": set(range(0, depth, 3)), "all": set(range(depth))}[drops]
    async with opened(tmp_path / "forked") as forked, opened(tmp_path / "straight") as straight:
        bench, token, raws = await _run(forked, depth, set())
        dropped = [signature_of(raws[number]) for number in left_out]
        result = await forked.fork(depth, drop=True if drops == "all" else dropped)
        other_bench, other_token, _ = await _run(straight, depth, left_out)
        assert state(forked, _addresses(bench, token)) == state(straight, _addresses(other_bench, other_token))
        assert set(result.vanished) == set(dropped)
        kept = [signature_of(raw) for number, raw in enumerate(raws) if number not in left_out]
        assert list(result.replayed) == kept
        assert forked.transaction_count == straight.transaction_count
        statuses = await forked.statuses(kept + dropped, history=True)
        assert [status.slot if status else None for status in statuses] == (
            [result.slot] * len(kept) + [None] * len(dropped)
        )
        assert [each.signature for each in forked.landed_in(result.slot)] == kept


async def test_the_dropped_may_be_sent_again(tmp_path: Path) -> None:
    async with opened(tmp_path) as cluster:
        _, token, raws = await _run(cluster, 3, set())
        await cluster.fork(3, drop=True)
        assert token.supply() == 0
        for raw in raws:
            await cluster.send(raw, preflight_commitment="processed")
        assert token.supply() == 1 + 2 + 3


@pytest.mark.parametrize("age", [140, 152, 160, 170])
async def test_a_fork_that_makes_a_blockhash_valid_again_lets_nothing_land_twice(tmp_path: Path, age: int) -> None:
    async with opened(tmp_path) as cluster:
        bench = Bench(cluster)
        await bench.fund()
        await cluster.advance(40)
        raw = signed([memo("once")], [bench.payer], cluster.latest_blockhash("processed").value)
        await cluster.send(raw, skip_preflight=True)
        await cluster.advance()
        count = cluster.transaction_count
        await cluster.advance(age)
        await cluster.fork(28)
        await cluster.send(raw, skip_preflight=True)
        await cluster.advance(40)
        assert cluster.transaction_count == count


async def test_an_undone_blockhash_is_no_longer_valid(tmp_path: Path) -> None:
    async with opened(tmp_path) as cluster:
        bench = Bench(cluster)
        await bench.fund()
        await cluster.advance(40)
        raw = bench.build([memo("on a branch")])
        signature = await cluster.send(raw, skip_preflight=True)
        blockhash = cluster.latest_blockhash("processed").value
        await cluster.advance(2)
        result = await cluster.fork(3)
        assert result.vanished == (signature,)
        assert not cluster.is_blockhash_valid(blockhash, "processed")
        assert await cluster.executed(await cluster.send(raw, skip_preflight=True), "processed") is None


async def test_slots_go_on_and_undone_ones_are_skipped(tmp_path: Path) -> None:
    async with opened(tmp_path) as cluster:
        await cluster.advance(39)
        assert cluster.slot("processed") == 40
        result = await cluster.fork(5)
        assert (result.base, result.slots, result.slot) == (35, (36, 37, 38, 39, 40), 41)
        assert cluster.blocks(34, 50, "processed") == [34, 35, 41]
        assert cluster.block_height("processed") == 36
        assert cluster.slot("confirmed") == 35
        assert cluster.commitment_of(38) is None
        block = await cluster.block(41, "processed")
        assert block is not None
        assert block.parent == 35
        result = await cluster.fork(3)
        assert (result.base, result.slots) == (33, (34, 35, 41))
        assert cluster.blocks(30, 50, "processed") == [30, 31, 32, 33, 42]


async def test_what_is_final_is_never_undone(tmp_path: Path) -> None:
    async with opened(tmp_path) as cluster:
        for depth in (0, -1, 31, 1_000):
            with pytest.raises(BadRequest):
                await cluster.fork(depth)
        await cluster.advance(60)
        final = cluster.slot("finalized")
        result = await cluster.fork(30)
        assert cluster.slot("finalized") == result.base == final + 1
        with pytest.raises(BadRequest):
            await cluster.fork(2)
        assert cluster.slot("finalized") == result.base


async def test_a_fork_survives_a_restart(tmp_path: Path) -> None:
    async with opened(tmp_path) as cluster:
        bench, token, raws = await _run(cluster, 5, set())
        result = await cluster.fork(4, drop=[signature_of(raws[2])])
        addresses = _addresses(bench, token)
        before = state(cluster, addresses)
        height = cluster.block_height("processed")
    async with opened(tmp_path) as cluster:
        assert state(cluster, addresses) == before
        assert cluster.block_height("processed") == height + 1
        statuses = await cluster.statuses([signature_of(raw) for raw in raws], history=True)
        assert [status.slot if status else None for status in statuses][1:] == [
            result.slot, None, result.slot, result.slot
        ]  # fmt: skip
        assert cluster.blocks(result.base, result.slot, "processed") == [result.base, result.slot]
        history = await cluster.signatures_for(token.mint.pubkey(), commitment="processed")
        assert signature_of(raws[2]) not in [each.signature for each in history]


async def test_history_after_a_fork_is_of_one_branch(tmp_path: Path) -> None:
    async with opened(tmp_path) as cluster:
        bench, token, raws = await _run(cluster, 6, set())
        await cluster.fork(4, drop=[signature_of(raws[3])])
        kept = [signature_of(raw) for number, raw in enumerate(raws) if number != 3]
        for _ in range(2):
            history = await cluster.signatures_for(token.mint.pubkey(), commitment="processed", limit=5)
            assert [each.signature for each in history] == kept[::-1]
            await cluster.advance(100)
        assert await cluster.executed(signature_of(raws[3])) is None
        assert cluster.account(bench.payer.pubkey(), "finalized") == cluster.account(
            bench.payer.pubkey(), "processed"
        )


async def test_accounts_of_the_abandoned_branch_are_gone_at_every_commitment(tmp_path: Path) -> None:
    async with opened(tmp_path) as cluster:
        bench = Bench(cluster)
        await bench.fund()
        await cluster.advance(40)
        target = keypair("brief").pubkey()
        await bench.must([pay(bench.payer, target, SOL)])
        await cluster.advance(3)
        assert cluster.account(target, "confirmed").lamports == SOL
        await cluster.fork(5)
        await cluster.advance(40)
        assert cluster.account(target, "processed") is None
        assert cluster.account(target, "finalized") is None


async def test_a_fork_is_told_in_order(tmp_path: Path) -> None:
    told: list[Event] = []
    async with opened(tmp_path) as cluster:
        _, _, raws = await _run(cluster, 2, set())
        stop = cluster.subscribe(told.append)
        result = await cluster.fork(2)
        forked, slot, *landed = told
        assert forked == ForkedAway(result)
        assert slot == SlotOpened(result.slot, result.base)
        signatures: list[Signature] = [each.executed.signature for each in landed if isinstance(each, Landed)]
        assert signatures == [signature_of(raw) for raw in raws]
        stop()
        await cluster.advance()
        assert len(told) == 2 + len(raws)
