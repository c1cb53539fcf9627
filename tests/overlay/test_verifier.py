"""The worker process: the same verdicts as inline, and whatever a script does, the node goes on."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path
from time import perf_counter

import pytest

from config.errors import BadRequest, Busy, ErrorCode, MetawattError
from overlay.builder import make_transaction
from overlay.envelope import parse_envelope
from overlay.frames import framed
from overlay.pushdrop import encode_push, lock
from overlay.transaction import Input, Output, Transaction
from overlay.verifier import ScriptWorker, Verifier
from overlay.verify import SpendJob, VerifyLimits, run
from overlay.verify_worker import encode_jobs
from tests.overlay.envelopes import FINAL, KEY, LOCK, Blocks, beef, funding, pay, pay_from, unlock
from tests.processes import helpers, kill_helpers

COSTLY, INVALID = ErrorCode.SCRIPT_TOO_COSTLY, ErrorCode.SCRIPT_INVALID
MOST_LAG_SECS = 0.5
MEMORY_MIB = 512
MODULE = "overlay.verify_worker"


def job(locking: bytes, unlocking: bytes = b"", outputs: tuple[Output, ...] = (Output(1, LOCK),)) -> SpendJob:
    spent = Input(b"\x01" * 32, 0, unlocking, FINAL)
    return SpendJob(make_transaction([spent], list(outputs)), (Output(1_000, locking),))


TRUE, FALSE = job(b"\x51"), job(b"\x00")


@asynccontextmanager
async def worker_of(timeout_secs: float = 5, waiting: int = 64) -> AsyncIterator[ScriptWorker]:
    worker = ScriptWorker(timeout_secs, waiting, MEMORY_MIB)
    try:
        yield worker
    finally:
        await worker.close()


@pytest.fixture
async def worker() -> AsyncIterator[ScriptWorker]:
    async with worker_of() as made:
        yield made


@pytest.fixture
async def hasty() -> AsyncIterator[ScriptWorker]:
    """A worker that waits for one second."""
    async with worker_of(1) as made:
        await made.run([TRUE])
        yield made


async def verdict(awaitable: Awaitable[None]) -> ErrorCode | None:
    try:
        await awaitable
    except MetawattError as refusal:
        return refusal.code
    return None


async def lag_while(awaitable: Awaitable[ErrorCode | None]) -> tuple[ErrorCode | None, float]:
    """A verdict, and how long the event loop stood still at most meanwhile, in seconds."""
    task = asyncio.ensure_future(awaitable)
    most = 0.0
    while not task.done():
        since = perf_counter()
        await asyncio.sleep(0.005)
        most = max(most, perf_counter() - since - 0.005)
    return task.result(), most


def worker_pid() -> int:
    [pid] = helpers(MODULE)
    return pid


# Verdicts


async def test_envelopes_get_the_same_verdict_in_the_worker_and_inline() -> None:
    blocks = Blocks()
    funds = funding([10_000, 10_000])
    [mined] = blocks.mine(funds)
    free, shut = pay(funds, 10, lock=b"\x51"), pay(funds, 10, lock=b"\x00")
    token = pay(funds, 10, lock=lock(KEY.public, [b"a", b"b"]))
    cases = [
        ([pay(funds, 9_000)], None),
        ([free, unlock(free, b"")], None),
        ([shut, unlock(shut, b"")], INVALID),
        ([token, unlock(token, encode_push(b"no signature"))], INVALID),
        ([unlock(funds, b"")], INVALID),
        ([pay(funds, 10_001)], ErrorCode.VALUE_NOT_CONSERVED),
    ]
    inline = Verifier(blocks, VerifyLimits())
    outside = Verifier(blocks, VerifyLimits(inline_sigops=0))
    for transactions, expected in cases:
        data = beef([mined, *((transaction, None) for transaction in transactions)])
        assert await verdict(inline.verify(parse_envelope(data))) == expected
        assert await verdict(outside.verify(parse_envelope(data))) == expected
    await inline.close()
    await outside.close()


async def test_many_inputs_go_to_the_worker() -> None:
    blocks = Blocks()
    funds = funding([100] * 200)
    [mined] = blocks.mine(funds)
    spend = pay_from([(funds, index) for index in range(200)], 20_000)
    verifier = Verifier(blocks)
    assert await verdict(verifier.verify(parse_envelope(beef([mined, (spend, None)])))) is None
    await verifier.close()


def random_script(chance: random.Random) -> bytes:
    """Mostly opcodes, some pushes, some noise."""
    parts = []
    for _ in range(chance.randrange(1, 40)):
        kind = chance.random()
        if kind < 0.35:
            parts.append(encode_push(chance.randbytes(chance.choice((0, 1, 1, 2, 4, 5, 20, 33, 71)))))
        elif kind < 0.95:
            parts.append(bytes((chance.choice((chance.randrange(0x4F, 0xBA), 0x51, 0x52, 0x76, 0x63, 0x68)),)))
        else:
            parts.append(chance.randbytes(chance.randrange(1, 9)))
    return b"".join(parts)


async def test_random_scripts_get_a_verdict_and_harm_nobody(worker: ScriptWorker) -> None:
    """Whether or not one brings down its process, each is answered, and the answers are those of inline runs
    (but for what is costly, which is not tried here)."""
    chance = random.Random(20_260_601)
    seen: dict[ErrorCode | None, int] = {}
    for _ in range(3_000):
        made = job(random_script(chance), encode_push(chance.randbytes(chance.randrange(9))) * chance.randrange(4))
        code = await verdict(worker.run([made]))
        seen[code] = seen.get(code, 0) + 1
    assert set(seen) <= {None, INVALID, COSTLY}
    assert seen[INVALID] > 1_000
    assert await verdict(worker.run([TRUE])) is None
    assert await verdict(worker.run([FALSE])) is INVALID


# Cost

DUPLICATED = b"\x76"
GROWING: dict[str, SpendJob] = {
    "a number squared again and again": job(encode_push(b"\x7f" * 500) + b"\x76\x95" * 30),
    "a string joined to itself again and again": job(encode_push(b"a" * 500) + b"\x76\x7e" * 40),
    "a string padded to 2 GiB": job(b"\x01\x7f" + encode_push((2**31 - 1).to_bytes(4, "little")) + b"\x80"),
    "a number shifted ever further": job(
        encode_push(b"\x7f" * 1_000) + (encode_push((2**30).to_bytes(5, "little")) + b"\x98") * 50
    ),
    "100 kB on the stack 300,000 times": job(encode_push(b"a" * 100_000) + b"\x76" * 300_000),
    "200 kB hashed 20,000 times": job(encode_push(b"a" * 200_000) + b"\x76\xa8\x75" * 20_000),
    "240,000 branches in one another": job(b"\x51\x63" * 240_000),
    "200 kB divided 1,000 times": job(
        encode_push(b"\x7f" * 200_000) + (b"\x76" + encode_push(b"\x03" * 1_00) + b"\x96\x75") * 1_000
    ),
}


@pytest.mark.parametrize("made", GROWING.values(), ids=GROWING.keys())
async def test_costly_scripts_are_bounded_and_stop_nobody(hasty: ScriptWorker, made: SpendJob) -> None:
    since = perf_counter()
    code, lag = await lag_while(verdict(hasty.run([made])))
    assert code in (COSTLY, INVALID)
    assert perf_counter() - since < 10
    assert lag < MOST_LAG_SECS
    assert await verdict(hasty.run([TRUE])) is None
    assert await verdict(hasty.run([FALSE])) is INVALID


@pytest.mark.parametrize("name", ["a string joined to itself again and again", "100 kB on the stack 300,000 times"])
async def test_what_needs_too_much_memory_is_too_costly(worker: ScriptWorker, name: str) -> None:
    assert await verdict(worker.run([GROWING[name]])) is COSTLY
    assert await verdict(worker.run([TRUE])) is None


async def test_what_takes_too_long_is_too_costly(hasty: ScriptWorker) -> None:
    first = worker_pid()
    assert await verdict(hasty.run([GROWING["a number squared again and again"]])) is COSTLY
    assert await verdict(hasty.run([TRUE])) is None
    assert worker_pid() != first
    assert not Path(f"/proc/{first}").exists()


async def test_a_signature_checked_10_000_times_stops_nobody(hasty: ScriptWorker) -> None:
    loop = b"\x6e\xac\x75" * 10_000
    made = job(loop + b"\x6d\x51", encode_push(b"\x30\x06\x02\x01\x01\x02\x01\x01\x41") + encode_push(KEY.public))
    code, lag = await lag_while(verdict(hasty.run([made])))
    assert code in (COSTLY, INVALID)
    assert lag < MOST_LAG_SECS


async def test_pushes_of_nearly_2_mb_are_refused_before_they_run() -> None:
    blocks = Blocks()
    funds = funding([10], lock=b"\x01\x01" * 950_000)
    [mined] = blocks.mine(funds)
    verifier = Verifier(blocks)
    data = beef([mined, (unlock(funds, b""), None)])
    code, lag = await lag_while(verdict(verifier.verify(parse_envelope(data))))
    assert (code, lag < MOST_LAG_SECS) == (COSTLY, True)
    await verifier.close()


async def test_memory_of_the_worker_is_bounded(worker: ScriptWorker) -> None:
    await worker.run([TRUE])
    limits = Path(f"/proc/{worker_pid()}/limits").read_text()
    [line] = [line for line in limits.splitlines() if line.startswith("Max address space")]
    assert line.split()[3:5] == [str(MEMORY_MIB << 20)] * 2


# What happens to the process


SLOW = job(encode_push(b"a" * 200_000) + b"\x76\xa8\x75" * 500)


async def test_a_job_whose_worker_is_killed_is_run_again(worker: ScriptWorker) -> None:
    await worker.run([TRUE])
    first = worker_pid()
    running = asyncio.ensure_future(verdict(worker.run([SLOW])))
    await asyncio.sleep(0.1)
    os.kill(first, signal.SIGKILL)
    assert await running is None
    assert worker_pid() != first


async def test_a_job_that_costs_two_workers_is_refused(worker: ScriptWorker) -> None:
    await worker.run([TRUE])
    killed: set[int] = set()
    running = asyncio.ensure_future(verdict(worker.run([GROWING["a number squared again and again"]])))
    while not running.done():
        await asyncio.sleep(0.2)
        killed.update(kill_helpers(MODULE))
    assert await running is COSTLY
    assert len(killed) == 2
    assert await verdict(worker.run([TRUE])) is None


async def test_a_worker_that_is_killed_between_jobs_is_not_missed(worker: ScriptWorker) -> None:
    await worker.run([TRUE])
    kill_helpers(MODULE)
    assert await verdict(worker.run([FALSE])) is INVALID


async def test_a_submission_that_is_given_up_does_not_answer_the_next(worker: ScriptWorker) -> None:
    await worker.run([TRUE])
    running = asyncio.ensure_future(worker.run([GROWING["200 kB hashed 20,000 times"]]))
    await asyncio.sleep(0.1)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert await verdict(worker.run([FALSE])) is INVALID
    assert await verdict(worker.run([TRUE])) is None


async def test_one_that_waits_can_be_given_up(worker: ScriptWorker) -> None:
    running = asyncio.ensure_future(verdict(worker.run([SLOW])))
    await asyncio.sleep(0.05)
    waiting = asyncio.ensure_future(worker.run([FALSE]))
    await asyncio.sleep(0.05)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await running is None
    assert await verdict(worker.run([FALSE])) is INVALID


async def test_too_many_that_wait_are_told_to_come_back() -> None:
    async with worker_of(waiting=2) as worker:
        running = [asyncio.ensure_future(verdict(worker.run([TRUE]))) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(Busy) as refusal:
            await worker.run([TRUE])
        assert refusal.value.retry_after_secs > 0
        assert [await task for task in running] == [None, None]
        assert await verdict(worker.run([TRUE])) is None


async def test_answers_go_to_those_who_asked(worker: ScriptWorker) -> None:
    jobs = [TRUE if number % 3 else FALSE for number in range(30)]
    codes = await asyncio.gather(*(verdict(worker.run([one])) for one in jobs))
    assert codes == [None if number % 3 else INVALID for number in range(30)]


async def test_closing_ends_the_process(worker: ScriptWorker) -> None:
    await worker.run([TRUE])
    pid = worker_pid()
    await worker.close()
    assert not Path(f"/proc/{pid}").exists()
    await worker.close()


async def test_a_worker_whose_node_has_died_ends_by_itself() -> None:
    """Also in the middle of a script that would run for hours."""
    process = await _orphan(GROWING["a number squared again and again"])
    async with asyncio.timeout(10):
        await process.wait()


async def _orphan(made: SpendJob) -> asyncio.subprocess.Process:
    command = (sys.executable, "-m", MODULE, str(MEMORY_MIB), "1")
    process = await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(framed(encode_jobs([made])))
    await process.stdin.drain()
    process.stdin.close()
    return process


def test_the_wire_keeps_everything() -> None:
    made = job(b"\x51", b"\x52", (Output(2**40, b"\x00" * 300), Output(0, b"")))
    assert Transaction.parse(made.transaction.raw) == made.transaction
    assert encode_jobs([made]) != encode_jobs([job(b"\x51")])
    with pytest.raises(BadRequest):
        run(job(b"\x00"))
