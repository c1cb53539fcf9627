"""What a cluster may do to a minter: drop, answer late or never, deny, fork, lag, fail. Once each, at the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from solders.instruction import AccountMeta, Instruction
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.system_program import TransferParams, transfer

from api.solana.server import SolanaServer
from bridge.cluster.cluster import Cluster
from bridge.minting import lookup
from bridge.minting.minting import Minting
from bridge.minting.outcome import PUT_OFF_MS
from bridge.notices import NoticeKind
from bridge.programs.mode import Facts, Order
from bridge.programs.own import OwnMint
from bridge.programs.packing import Packed
from bridge.programs.signing import signed
from bridge.programs.tokens import mint_to_checked
from bridge.records import ATTEMPTS, READINGS, AttemptState, ReadingState
from bridge.solana.client import ClusterClient
from bridge.solana.rpc import SeenSignature
from config.errors import BadRequest, ErrorCode, MetawattError
from store.port import Conflict, Delete, Insert
from store.sqlite import SqliteStore
from tests.bridge.minting_kit import FINAL_SLOTS, Mint, NoLease, order_of

LAPSED_SLOTS = 150 + 32 + FINAL_SLOTS


@pytest.fixture
def slot_ms() -> int:
    return 0


@pytest.fixture
async def mint(cluster: Cluster, solana: SolanaServer, tmp_path: Path) -> AsyncIterator[Mint]:
    made = await Mint.open(cluster, solana.rpc_url, SqliteStore(tmp_path / "node.db", cache_mib=4))
    yield made
    await made.close()


class Poisoned(OwnMint):
    """The node's own mint, but one meter's mints name the wrong decimals, which the token program refuses."""

    poison = b""

    def instructions(self, order: Order, facts: Facts) -> list[Instruction]:
        found = super().instructions(order, facts)
        if order.key != self.poison:
            return found
        wrong = mint_to_checked(
            self.token_program, self.mint, self.destination(order), self._authority, order.units, 6
        )
        return [*found[:-1], wrong]


def poisoned(mint: Mint, key: bytes) -> Poisoned:
    own = mint.mode
    assert isinstance(own, OwnMint)
    mode = Poisoned(mint.cluster.genesis_hash, own.mint, own.token_program, mint.signer.public, 9)
    mode.poison = key
    return mode


class WithoutPreflight(ClusterClient):
    """A client that has everything taken onto the chain, failures too."""

    async def send(self, raw: bytes, *, skip_preflight: bool = False) -> Signature:
        return await super().send(raw, skip_preflight=True)


# Sending


async def test_a_dropped_transaction_is_sent_again_as_it_is(mint: Mint) -> None:
    await mint.accept(3)
    mint.cluster.faults.set(drop_next=1)
    minter = mint.minter()
    await minter.round()
    (before,) = await mint.attempts()
    await mint.until_minted(minter)
    (after,) = await mint.attempts()
    assert after["raw"] == before["raw"]
    assert after["sends"] == 2
    await mint.check()


async def test_a_lost_answer_is_no_failure(mint: Mint) -> None:
    await mint.accept(3)
    mint.cluster.faults.set(lose_next=1)
    minter = mint.minter()
    await minter.round()
    await mint.until_minted(minter)
    assert len(await mint.attempts()) == 1
    assert minter.measures.transactions["unanswered"] == 1
    await mint.check()


async def test_a_transaction_of_a_clock_that_was_ahead_is_found_though_it_is_old(mint: Mint) -> None:
    keys = await mint.accept(3)
    mint.clock.now_ms += 90_000
    await mint.minter(lease=NoLease()).round()
    mint.clock.now_ms -= 90_000
    await mint.pass_slots(200)
    await mint.minter(lease=NoLease()).round()
    assert await mint.states(keys) == ["minted"] * 3
    await mint.check()


async def test_late_landings(mint: Mint) -> None:
    await mint.accept(9)
    mint.cluster.faults.set(seed=3, late_rate=1.0, late_min_slots=20, late_max_slots=140)
    minter = mint.minter(batch_size=3)
    await minter.round()
    await mint.until_minted(minter, slots=20)
    await mint.check()


async def test_what_never_lands_expires_and_is_signed_anew(mint: Mint) -> None:
    (key,) = await mint.accept(1)
    mint.cluster.faults.set(drop_rate=1.0)
    minter = mint.minter()
    await minter.round()
    await mint.pass_slots(150)
    await minter.round()
    assert len(await mint.attempts()) == 1, "it may land as long as its blockhash is valid"
    await mint.pass_slots(31)
    await minter.round()
    assert len(await mint.attempts()) == 1, "nodes differ by a few blocks"
    mint.cluster.faults.set(drop_rate=0.0)
    await mint.pass_slots(40)
    await minter.round()
    first, second = sorted(await mint.attempts(), key=lambda each: each["last_valid_block_height"])
    assert (first["state"], first["open_ms"]) == (AttemptState.EXPIRED, None)
    row = await mint.row(key)
    assert (row["attempts"], row["attempt"]) == (0, second["_id"]), "the network's failure is not the reading's"
    await mint.until_minted(minter)
    await mint.check()


# Lies


async def test_not_found_is_no_proof(mint: Mint) -> None:
    await mint.accept(12)
    minter = mint.minter()
    await minter.round()
    attempts = await mint.attempts()
    mint.cluster.faults.denied.update(Signature.from_bytes(each["_id"]) for each in attempts)
    await mint.pass_slots(LAPSED_SLOTS)
    for _ in range(3):
        await minter.round()
        await mint.pass_slots(5)
    assert len(await mint.attempts()) == len(attempts), "its guards are there: nothing is signed anew"
    mint.cluster.faults.denied.clear()
    await mint.until_minted(minter)
    await mint.check()


async def test_a_transaction_that_is_final_and_never_told_is_a_finding(mint: Mint, solana: SolanaServer) -> None:
    """As of a node that keeps statuses, and no history: nothing is given up, and the operator hears of it."""
    keys = await mint.accept(3)

    class Untold(ClusterClient):
        async def transaction(self, *_: Any, **__: Any) -> None:
            return None

    rpc = Untold(solana.rpc_url)
    minter = mint.minter(rpc=rpc)
    for _ in range(3):
        await minter.round()
        assert (await minter.health.check_work()).status == "ok"
        await mint.pass_slots()
    assert await mint.states(keys) == ["signed"] * 3
    mint.clock.now_ms += 1_300_000
    await minter.round()
    found = await minter.health.check_work()
    assert found.status == "degraded"
    assert found.message is not None and "on its way" in found.message
    await minter.stop()
    await mint.until_minted(mint.minter())
    assert (await minter.health.check_work()).status == "ok"
    await mint.check()
    await rpc.close()


async def test_denials_at_random_and_lag(mint: Mint) -> None:
    await mint.accept(20)
    mint.cluster.faults.set(seed=5, deny_rate=0.4, lag_slots=8, drop_rate=0.2, lose_rate=0.2)
    minter = mint.minter(batch_size=6)
    await mint.until_minted(minter, rounds=80)
    mint.cluster.faults.set(deny_rate=0.0, lag_slots=0)
    await mint.check()


# Forks


@pytest.mark.parametrize("drop", [False, True])
async def test_a_fork_below_finality(mint: Mint, drop: bool) -> None:
    keys = await mint.accept(8)
    minter = mint.minter()
    await mint.pass_slots(5)
    await minter.round()
    await mint.pass_slots(3)
    await minter.round()
    before = await mint.attempts()
    assert {each["state"] for each in before} == {AttemptState.SEEN}
    await mint.cluster.fork(4, drop)
    await minter.round()
    assert set(await mint.states(keys)) == {ReadingState.SIGNED}
    await mint.until_minted(minter)
    assert len(await mint.attempts()) == len(before)
    await mint.check()


async def test_a_fork_that_takes_the_blockhash_away(mint: Mint) -> None:
    await mint.accept(4)
    minter = mint.minter()
    await mint.pass_slots(2)
    await minter.round()
    await mint.cluster.fork(6, True)
    await mint.until_minted(minter, slots=60)
    await mint.check()


# Failures


@pytest.mark.parametrize("client", [ClusterClient, WithoutPreflight])
async def test_a_poison_reading_holds_nobody_up(
    mint: Mint, solana: SolanaServer, client: type[ClusterClient]
) -> None:
    keys = await mint.accept(6)
    poison, others = keys[2], [key for key in keys if key != keys[2]]
    rpc = client(solana.rpc_url)
    minter = mint.minter(rpc=rpc, mode=poisoned(mint, poison), max_retry_attempts=2)
    for _ in range(12):
        await minter.round()
        await mint.pass_slots(LAPSED_SLOTS, secs=400)
    assert set(await mint.states(others)) == {ReadingState.MINTED}
    dead = await mint.row(poison)
    assert (dead["state"], dead["attempts"], dead["due_ms"]) == (ReadingState.DEAD, 2, None)
    assert "InstructionError" in dead["error"]
    assert [row["_id"] for row in (await minter.retries(10)).documents] == [poison]
    await minter.stop()
    # A person has mended what was wrong.
    mended = mint.minter()
    assert (await mended.requeue(poison)).failures == 0
    await mint.until_minted(mended)
    await mint.check()
    await rpc.close()


async def test_a_failure_is_tried_again_later(mint: Mint, solana: SolanaServer) -> None:
    (key,) = await mint.accept(1)
    rpc = WithoutPreflight(solana.rpc_url)
    mode = poisoned(mint, key)
    minter = mint.minter(rpc=rpc, mode=mode)
    await minter.round()
    await mint.pass_slots()
    await minter.round()
    row = await mint.row(key)
    assert (row["state"], row["attempts"]) == (ReadingState.RETRY, 1)
    assert row["due_ms"] == row["retry_ms"] == mint.clock.now_ms + 5 * 60_000
    mode.poison = b""
    await mint.pass_slots(1, secs=299)
    assert (await minter.round()).readings == 0
    await mint.pass_slots(1, secs=2)
    assert (await minter.round()).readings == 1
    await mint.until_minted(minter)
    await mint.check()
    await rpc.close()


async def test_without_retries_the_first_failure_waits_for_a_person(mint: Mint, solana: SolanaServer) -> None:
    (key,) = await mint.accept(1)
    rpc = WithoutPreflight(solana.rpc_url)
    minter = mint.minter(rpc=rpc, mode=poisoned(mint, key), retry_enabled=False)
    await minter.round()
    await mint.pass_slots()
    await minter.round()
    assert (await mint.row(key))["state"] == ReadingState.DEAD
    with pytest.raises(MetawattError):
        await minter.requeue(b"\0" * 16)
    await rpc.close()


async def test_a_reading_that_cannot_be_ordered_is_held(mint: Mint) -> None:
    keys = await mint.accept(4)
    await mint.change(keys[1], wallet="no address")
    minter = mint.minter()
    await minter.round()
    for _ in range(3):
        await mint.pass_slots()
        await minter.round()
    assert await mint.states(keys) == ["minted", "held", "minted", "minted"]


async def test_a_reading_that_the_mode_refuses_is_held(mint: Mint) -> None:
    class Picky(Poisoned):
        def guard(self, order: Order) -> Pubkey:
            if order.key == self.poison:
                raise BadRequest("this interval cannot be minted", ErrorCode.MINTING_FORBIDS)
            return super().guard(order)

    keys = await mint.accept(4)
    own = mint.mode
    mode = Picky(mint.cluster.genesis_hash, own.mint, own.token_program, mint.signer.public, 9)
    mode.poison = keys[2]
    minter = mint.minter(mode=mode)
    await minter.round()
    for _ in range(3):
        await mint.pass_slots()
        await minter.round()
    assert await mint.states(keys) == ["minted", "minted", "held", "minted"]
    assert "cannot be minted" in (await mint.row(keys[2]))["error"]


# Guards that are there already


async def test_a_lost_database_mints_nothing_twice(mint: Mint) -> None:
    keys = await mint.accept(5)
    minter = mint.minter()
    await mint.until_minted(minter)
    minted = await mint.rows()
    await forget(mint, minted)
    assert (await minter.round()).found == 5
    assert [row["attempt"] for row in await mint.rows()] == [row["attempt"] for row in minted]
    assert not await mint.attempts()
    assert set(await mint.states(keys)) == {ReadingState.MINTED}
    await mint.check()


async def test_a_guard_of_another_amount_holds_the_reading(mint: Mint) -> None:
    (key,) = await mint.accept(1)
    minter = mint.minter()
    await mint.until_minted(minter)
    await forget(mint, await mint.rows(), units=99)
    await minter.round()
    row = await mint.row(key)
    assert (row["state"], row["held_for"]) == (ReadingState.HELD, "minting")
    assert "not 99" in row["error"]
    await minter.requeue(key)
    await minter.round()
    assert (await mint.row(key))["state"] == ReadingState.HELD, "looked at again, and not signed for"
    assert not await mint.attempts()


async def test_a_guard_that_a_crowd_names_is_come_to_the_bottom_of(
    mint: Mint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anybody may name a guard's address, before it is made, too: it costs next to nothing."""
    (key,) = await mint.accept(1)
    await crowd(mint, mint.mode.guard(order_of(await mint.row(key))), 7)
    minter = mint.minter()
    await mint.until_minted(minter)
    await forget(mint, await mint.rows())
    monkeypatch.setattr(lookup, "_MOST_EXAMINED", 3)
    for expected in ("retry", "retry", "minted"):
        await minter.round()
        assert await mint.states([key]) == [expected]
        await mint.pass_slots(1, secs=PUT_OFF_MS / 1000)
    await mint.check()


async def crowd(mint: Mint, address: Pubkey, count: int) -> None:
    """So many final transactions that name an address, and do nothing with it."""
    for number in range(count):
        payer = mint.signer.public
        idle = transfer(TransferParams(from_pubkey=payer, to_pubkey=payer, lamports=number))
        naming = Instruction(idle.program_id, idle.data, [*idle.accounts, AccountMeta(address, False, False)])
        blockhash = await mint.rpc.latest_blockhash()
        made = await signed(Packed((), (naming,), payer), blockhash.value, [mint.signer])
        await mint.rpc.send(bytes(made))
    await mint.pass_slots()


async def test_a_guard_without_a_history_is_looked_at_again_later(mint: Mint, solana: SolanaServer) -> None:
    (key,) = await mint.accept(1)
    first = mint.minter()
    await mint.until_minted(first)
    await first.stop()
    await forget(mint, await mint.rows())

    class Forgetful(ClusterClient):
        async def signatures_for(self, *_: Any, **__: Any) -> list[SeenSignature]:
            return []

    rpc = Forgetful(solana.rpc_url)
    minter = mint.minter(rpc=rpc, lease=NoLease())
    assert (await minter.round()).found == 0
    row = await mint.row(key)
    assert (row["state"], row["attempts"]) == (ReadingState.RETRY, 0)
    assert row["due_ms"] == mint.clock.now_ms + PUT_OFF_MS
    await mint.pass_slots(1, secs=PUT_OFF_MS / 1000)
    await mint.until_minted(mint.minter())
    await mint.check()
    await rpc.close()


async def test_an_attempt_given_up_that_landed_after_all(mint: Mint) -> None:
    """As if everybody had lied about the past: the guards tell, and the first transaction is what counts."""
    keys = await mint.accept(4)
    minter = mint.minter()
    await minter.round()
    landed = await mint.attempts()
    for attempt in landed:
        await mint.store.commit(
            [Delete(ATTEMPTS, attempt["_id"]), Insert(ATTEMPTS, attempt | {"state": "expired", "open_ms": None})]
        )
    for key in keys:
        now_ms = mint.clock.now_ms
        await mint.change(key, state=ReadingState.RETRY, due_ms=now_ms, retry_ms=now_ms)
    await minter.stop()
    second = mint.minter()
    await second.round()  # before the first is final: its guards are not there yet, and this one fails
    await mint.until_minted(second)
    assert {row["attempt"] for row in await mint.rows()} <= {attempt["_id"] for attempt in landed}
    final = [each for each in await mint.attempts() if each["state"] == AttemptState.FINAL]
    assert {each["_id"] for each in final} == {attempt["_id"] for attempt in landed}
    await mint.check()


async def forget(mint: Mint, rows: Sequence[dict[str, Any]], **changes: Any) -> None:
    """The database of before: readings as they were accepted, and no attempts."""
    for row in rows:
        now_ms = row["submitted_ms"]
        accepted = {"state": "accepted", "open_ms": now_ms, "due_ms": now_ms, "minted_ms": None}
        restored = row | accepted | {"attempt": None, "slot": None} | changes
        await mint.store.commit([Delete(READINGS, row["_id"]), Insert(READINGS, restored)])
    await mint.store.commit([Delete(ATTEMPTS, each["_id"]) for each in await mint.attempts()])


# The event processor


async def test_the_event_processor_may_be_first(mint: Mint) -> None:
    keys = await mint.accept(6)
    minter = mint.minter()
    await minter.round()
    await mint.pass_slots()
    for attempt in await mint.attempts():
        await confirm(mint, minter, attempt["_id"])
    assert set(await mint.states(keys)) == {ReadingState.MINTED}
    await minter.round()
    assert not len(minter._context.flights)
    await mint.check()
    assert len(mint.told(NoticeKind.MINTED)) == 6, "told by the minter, once it finds it done"
    for attempt in await mint.attempts():
        assert await confirm(mint, minter, attempt["_id"]) == 0


async def test_the_event_processor_may_be_late_or_find_what_was_given_up(mint: Mint) -> None:
    (key,) = await mint.accept(1)
    minter = mint.minter()
    await minter.round()
    (attempt,) = await mint.attempts()
    await mint.store.commit(
        [Delete(ATTEMPTS, attempt["_id"]), Insert(ATTEMPTS, attempt | {"state": "expired", "open_ms": None})]
    )
    await mint.change(key, state=ReadingState.DEAD)
    await mint.pass_slots()
    assert await confirm(mint, minter, attempt["_id"]) == 2
    await mint.check()
    seen = await mint.rpc.transaction(Signature.from_bytes(attempt["_id"]))
    assert seen is not None
    assert order_of(await mint.row(key)).key in mint.mode.minted([order_of(await mint.row(key))], seen)


async def test_an_end_is_counted_whoever_saw_it_first(mint: Mint) -> None:
    await mint.accept(1)
    minter = mint.minter()
    await minter.start()
    async with asyncio.timeout(20):
        while not (attempts := await mint.attempts()):
            await asyncio.sleep(0.01)
        while not minter.measures.transactions["sent"]:
            await asyncio.sleep(0.01)
        await mint.pass_slots()
        with suppress(Conflict):
            await confirm(mint, minter, attempts[0]["_id"])
        while not minter.measures.readings["minted"]:
            await asyncio.sleep(0.01)
    assert minter.measures.transactions["final"] == 1
    await minter.stop()
    await mint.check()


async def confirm(mint: Mint, minter: Minting, signature: bytes) -> int:
    """What the processor does with a final transaction; the number of writes."""
    seen = await mint.rpc.transaction(Signature.from_bytes(signature))
    assert seen is not None
    writes = await minter.confirmations(seen)
    await mint.store.commit(writes)
    return len(writes)
