"""Token buckets and gates, as tables and in races."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.limits import Gate, TokenBuckets, client_of
from config.errors import Busy, ErrorCode


@pytest.mark.parametrize(
    ("remote", "client"),
    [
        (None, ""),
        ("10.0.0.1", "10.0.0.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
    ],
)
def test_who_a_client_is(remote: str | None, client: str) -> None:
    assert client_of(remote) == client


class Clock:
    def __init__(self) -> None:
        self.secs = 1000.0

    def __call__(self) -> float:
        return self.secs


def allowed(buckets: TokenBuckets, client: str) -> bool:
    try:
        buckets.take(client)
    except Busy as busy:
        assert busy.code is ErrorCode.RATE_LIMITED
        assert busy.retry_after_secs > 0
        return False
    return True


def test_a_burst_then_the_rate() -> None:
    clock = Clock()
    buckets = TokenBuckets(per_minute=60, burst=3, now_secs=clock)
    assert [allowed(buckets, "a") for _ in range(4)] == [True, True, True, False]
    clock.secs += 1
    assert [allowed(buckets, "a") for _ in range(2)] == [True, False]


def test_clients_do_not_share_a_bucket() -> None:
    buckets = TokenBuckets(per_minute=60, burst=1, now_secs=Clock())
    assert allowed(buckets, "a")
    assert allowed(buckets, "b")
    assert not allowed(buckets, "a")


def test_retry_after_is_when_there_is_a_token_again() -> None:
    clock = Clock()
    buckets = TokenBuckets(per_minute=6, burst=1, now_secs=clock)
    buckets.take("a")
    with pytest.raises(Busy) as busy:
        buckets.take("a")
    clock.secs += busy.value.retry_after_secs
    assert allowed(buckets, "a")


def test_addresses_are_forgotten_not_hoarded() -> None:
    buckets = TokenBuckets(per_minute=60, burst=1, now_secs=Clock(), clients=10)
    for number in range(1000):
        buckets.take(str(number))
    assert len(buckets._buckets) == 10


@given(st.lists(st.floats(0, 5), max_size=60))
def test_no_client_exceeds_burst_and_rate(pauses: list[float]) -> None:
    clock = Clock()
    buckets = TokenBuckets(per_minute=120, burst=5, now_secs=clock)
    start, taken = clock.secs, 0
    for pause in pauses:
        clock.secs += pause
        taken += allowed(buckets, "a")
        assert taken <= 5 + 2 * (clock.secs - start) + 1e-6


async def test_a_gate_lets_in_waits_in_order_and_refuses() -> None:
    gate = Gate("things", concurrent=2, waiting=2)
    opened, order = asyncio.Event(), list[int]()

    async def work(number: int) -> None:
        async with gate:
            order.append(number)
            await opened.wait()

    tasks = [asyncio.create_task(work(number)) for number in range(5)]
    await asyncio.sleep(0)
    assert (gate.active, gate.waiting, order) == (2, 2, [0, 1])
    with pytest.raises(Busy) as busy:
        await tasks[4]
    assert busy.value.code is ErrorCode.OVERLOADED
    opened.set()
    await asyncio.gather(*tasks[:4])
    assert order == [0, 1, 2, 3]
    assert (gate.active, gate.waiting) == (0, 0)


@given(st.lists(st.sampled_from(["start", "cancel", "finish", "tick"]), max_size=50))
def test_a_gate_never_leaks_a_place(steps: list[str]) -> None:
    async def play() -> None:
        gate = Gate("things", concurrent=2, waiting=3)
        running = 0

        async def work(done: asyncio.Event) -> None:
            nonlocal running
            async with gate:
                running += 1
                assert running <= 2
                try:
                    await done.wait()
                finally:
                    running -= 1

        tasks: list[tuple[asyncio.Task[None], asyncio.Event]] = []
        for step in steps:
            if step == "start":
                done = asyncio.Event()
                tasks.append((asyncio.create_task(work(done)), done))
            elif step == "cancel" and tasks:
                tasks[len(tasks) // 2][0].cancel()
            elif step == "finish" and tasks:
                tasks[0][1].set()
            else:
                await asyncio.sleep(0)
            tasks = [entry for entry in tasks if not entry[0].done()]
        for _, done in tasks:
            done.set()
        await asyncio.gather(*(task for task, _ in tasks), return_exceptions=True)
        assert (gate.active, gate.waiting, running) == (0, 0, 0)

    asyncio.run(play())
