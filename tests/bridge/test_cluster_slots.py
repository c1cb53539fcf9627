"""Slots, commitments, blockhashes and durable nonces."""

from __future__ import annotations

from pathlib import Path

import pytest
from solders.hash import Hash
from solders.pubkey import Pubkey
from solders.system_program import ID as SYSTEM
from solders.system_program import (
    AdvanceNonceAccountParams,
    CreateAccountParams,
    InitializeNonceAccountParams,
    advance_nonce_account,
    create_account,
    initialize_nonce_account,
)

from bridge.cluster.cluster import Cluster
from bridge.cluster.refusals import PreflightFailed
from bridge.cluster.slots import BLOCKHASH_AGE, Slots
from bridge.solana.rpc import Commitment
from config.errors import ErrorCode, MetawattError
from store.sqlite import SqliteStore
from tests.bridge.cluster_kit import SOL, Bench, Clock, cluster_at, keypair, memo, opened, pay, signed

_NONCE_BYTES = 80


async def test_what_landed_settles_by_its_age(tmp_path: Path) -> None:
    target = keypair("target").pubkey()
    async with opened(tmp_path) as cluster:
        bench = Bench(cluster)
        await bench.fund()
        await cluster.advance(40)
        slot = cluster.slot("processed")
        signature = await bench.send([pay(bench.payer, target, SOL)])
        ages: list[tuple[int, Commitment, int | None]] = [
            (0, "processed", 0), (1, "confirmed", 1), (30, "confirmed", 30), (31, "finalized", None)
        ]  # fmt: skip
        for age, commitment, confirmations in ages:
            await cluster.advance(slot + age - cluster.slot("processed"))
            (status,) = await cluster.statuses([signature], history=False)
            assert status is not None
            assert (status.slot, status.commitment, status.confirmations) == (slot, commitment, confirmations)
            seen = {
                each: cluster.account(target, each) is not None for each in ("processed", "confirmed", "finalized")
            }
            assert seen == {"processed": True, "confirmed": age >= 1, "finalized": age >= 31}
            assert (await cluster.executed(signature, "confirmed") is not None) == (age >= 1)
            assert (await cluster.executed(signature) is not None) == (age >= 31)
            assert len(await cluster.signatures_for(target)) == (age >= 31)


async def test_an_account_is_shown_as_it_was(tmp_path: Path) -> None:
    target = keypair("target").pubkey()
    async with opened(tmp_path) as cluster:
        bench = Bench(cluster)
        await bench.fund()
        for _ in range(60):
            await bench.must([pay(bench.payer, target, SOL // 20)])
            await bench.must([pay(bench.payer, target, 3 * SOL // 20)])
            await cluster.advance()
        held = {each: cluster.account(target, each).lamports for each in ("processed", "confirmed", "finalized")}
        assert held == {"processed": 12 * SOL, "confirmed": 12 * SOL, "finalized": 6 * SOL}


async def test_a_closed_account_is_gone_and_was_there(tmp_path: Path) -> None:
    alice = keypair("alice")
    async with opened(tmp_path) as cluster:
        bench = Bench(cluster)
        await bench.fund()
        await bench.fund(alice, lamports=SOL)
        await cluster.advance(31)
        await bench.must([pay(alice, bench.payer.pubkey(), SOL)], alice)
        assert cluster.account(alice.pubkey(), "processed") is None
        assert cluster.account(alice.pubkey(), "finalized").lamports == SOL


async def test_a_blockhash_can_be_used_for_150_blocks(tmp_path: Path) -> None:
    async with opened(tmp_path) as cluster:
        bench = Bench(cluster)
        await bench.fund()
        named = cluster.latest_blockhash("processed")
        assert named.last_valid_block_height == cluster.block_height("processed") + BLOCKHASH_AGE
        first = signed([memo("in time")], [bench.payer], named.value)
        second = signed([memo("too late")], [bench.payer], named.value)
        await cluster.advance(BLOCKHASH_AGE)
        assert cluster.block_height("processed") == named.last_valid_block_height
        assert cluster.is_blockhash_valid(named.value, "processed")
        assert await cluster.executed(await cluster.send(first, skip_preflight=True), "processed") is not None
        await cluster.advance()
        assert not cluster.is_blockhash_valid(named.value, "processed")
        assert await cluster.executed(await cluster.send(second, skip_preflight=True), "processed") is None
        with pytest.raises(PreflightFailed, match="Blockhash not found") as caught:
            await cluster.send(second, preflight_commitment="processed")
        assert caught.value.simulated.error == "BlockhashNotFound"


async def test_a_blockhash_is_not_known_at_a_commitment_below_its_own(tmp_path: Path) -> None:
    async with opened(tmp_path) as cluster:
        bench = Bench(cluster)
        await bench.fund()
        await cluster.advance(40)
        raw = signed([memo("early")], [bench.payer], cluster.latest_blockhash("confirmed").value)
        with pytest.raises(PreflightFailed, match="Blockhash not found"):
            await cluster.send(raw, preflight_commitment="finalized")
        await cluster.send(raw, preflight_commitment="confirmed")


async def test_slots_do_not_pass_with_transactions(tmp_path: Path) -> None:
    async with opened(tmp_path) as cluster:
        bench = Bench(cluster)
        await bench.fund()
        slot = cluster.slot("processed")
        for number in range(300):
            await bench.must([memo(f"number {number}")])
        assert cluster.slot("processed") == slot
        assert [each.index for each in cluster.landed_in(slot)] == list(range(301))


async def test_slots_pass_with_time(tmp_path: Path) -> None:
    import asyncio

    async with opened(tmp_path, slot_ms=5) as cluster:
        first = cluster.slot("processed")
        async with asyncio.timeout(10):
            while cluster.slot("finalized") <= first:
                await asyncio.sleep(0.005)
        being_written = 1  # a slot that just closed is not confirmed before the journal has it
        behind = cluster.slot("processed") - cluster.slot("confirmed")
        assert 1 <= behind <= 1 + being_written


async def test_blocks_know_their_parents_and_times(tmp_path: Path) -> None:
    clock = Clock()
    async with opened(tmp_path, now_ms=clock) as cluster:
        bench = Bench(cluster)
        await bench.fund()
        clock.now_ms += 5_000
        await cluster.advance()
        done = await bench.must([memo("in a block")])
        block = await cluster.block(done.slot, "processed")
        assert block is not None
        assert (block.slot, block.parent, block.height) == (done.slot, done.slot - 1, done.slot)
        assert block.transactions == (done,)
        assert block.block_time == done.block_time == clock.now_ms // 1000
        parent = await cluster.block(block.parent, "processed")
        assert parent is not None
        assert parent.blockhash == block.previous_blockhash
        assert await cluster.block(done.slot) is None
        assert cluster.blocks(0, 1_000, "processed") == list(range(done.slot + 1))


async def test_a_real_cluster_is_not_pretended(tmp_path: Path) -> None:
    for network in ("main", "test", "mainnet-beta"):
        with pytest.raises(MetawattError) as caught:
            Cluster(SqliteStore(tmp_path / "solana.db"), network=network, now_ms=Clock())
        assert caught.value.code is ErrorCode.SETTINGS_INVALID


async def test_each_chain_has_a_genesis_of_its_own(tmp_path: Path) -> None:
    hashes = set[Hash]()
    for name in ("one", "two", "one"):
        async with opened(tmp_path / name) as cluster:
            hashes.add(cluster.genesis_hash)
    assert len(hashes) == 2


class _Nonce:
    """A durable nonce account of the payer's."""

    def __init__(self, bench: Bench) -> None:
        self.bench, self.account = bench, keypair("nonce")

    async def create(self) -> None:
        payer, address = self.bench.payer.pubkey(), self.account.pubkey()
        created = create_account(
            CreateAccountParams(
                from_pubkey=payer,
                to_pubkey=address,
                lamports=self.bench.cluster.rent_exempt_lamports(_NONCE_BYTES),
                space=_NONCE_BYTES,
                owner=SYSTEM,
            )
        )
        parameters = InitializeNonceAccountParams(nonce_pubkey=address, authority=payer)
        await self.bench.must([created, initialize_nonce_account(parameters)], self.account)

    @property
    def value(self) -> Hash:
        return Hash(self.bench.cluster.account(self.account.pubkey(), "processed").data[40:72])

    def used(self, text: str, target: Pubkey | None = None, lamports: int = 0) -> bytes:
        payer = self.bench.payer
        advance = advance_nonce_account(
            AdvanceNonceAccountParams(nonce_pubkey=self.account.pubkey(), authorized_pubkey=payer.pubkey())
        )
        instructions = [advance, memo(text)]
        if target is not None:
            instructions.append(pay(payer, target, lamports))
        return signed(instructions, [payer], self.value)


async def test_a_durable_nonce_outlives_blockhashes_and_is_used_once(tmp_path: Path) -> None:
    async with opened(tmp_path) as cluster:
        bench = Bench(cluster)
        await bench.fund()
        nonce = _Nonce(bench)
        await nonce.create()
        too_soon = nonce.used("in the block that made the nonce")
        assert await cluster.executed(await cluster.send(too_soon, skip_preflight=True), "processed") is None
        first, second = nonce.used("first"), nonce.used("second")
        await cluster.advance(2 * BLOCKHASH_AGE)
        before = nonce.value
        signature = await cluster.send(first, preflight_commitment="processed")
        assert await cluster.executed(signature, "processed") is not None
        assert nonce.value != before
        await cluster.advance()
        for raw in (first, second):
            with pytest.raises(PreflightFailed):
                await cluster.send(raw, preflight_commitment="processed")
        later = await cluster.send(second, skip_preflight=True)
        assert await cluster.executed(later, "processed") is None


async def test_a_failed_transaction_uses_its_nonce_up(tmp_path: Path) -> None:
    async with opened(tmp_path) as cluster:
        bench = Bench(cluster)
        await bench.fund()
        nonce = _Nonce(bench)
        await nonce.create()
        await cluster.advance()
        before = nonce.value
        raw = nonce.used("fails", keypair("target").pubkey(), 10**15)
        failed = await cluster.executed(await cluster.send(raw, skip_preflight=True), "processed")
        assert failed is not None
        assert failed.error == {"InstructionError": [2, {"Custom": 1}]}
        assert nonce.value != before
        await cluster.advance()
        assert await cluster.executed(await cluster.send(nonce.used("works"), skip_preflight=True), "processed")


async def test_slot_numbers_go_on_after_a_restart(tmp_path: Path) -> None:
    async with opened(tmp_path) as cluster:
        await cluster.advance(20)
        last = cluster.slot("processed")
    async with opened(tmp_path) as cluster:
        assert cluster.slot("processed") == last + 1


async def test_opening_twice_in_a_row_is_no_harm(tmp_path: Path) -> None:
    cluster = cluster_at(tmp_path)
    await cluster.open()
    await cluster.close()
    await cluster.close()


def test_heights_leave_out_skipped_slots() -> None:
    slots = Slots(Hash(bytes(32)), 100, [(10, 19), (50, 50)])
    assert [slots.height(slot) for slot in (9, 20, 49, 51, 100)] == [9, 10, 39, 40, 89]
    assert [slots.at_or_before(slot) for slot in (9, 10, 19, 20, 50, 0)] == [9, 9, 9, 20, 49, 0]
    assert slots.parent(20) == 9
    assert slots.back_from(21, 4) == [21, 20, 9, 8]
    assert not slots.has_block(50)
    assert not slots.has_block(101)


def test_a_wider_skip_takes_the_narrower_ones_in() -> None:
    slots = Slots(Hash(bytes(32)), 100, [(10, 19), (50, 59), (70, 79)])
    assert slots.skip(45, 100) == [50, 70]
    assert slots.open_next() == 44
    assert slots.height(101) == 35
    assert not slots.is_valid(slots.blockhash(46), 101)
    assert slots.is_valid(slots.blockhash(44), 101)
