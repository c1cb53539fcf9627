"""What a restart must not change: accounts, history, slot numbers; after a clean end and after kill -9."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.signature import Signature

from bridge.cluster.cluster import Cluster
from bridge.cluster.executed import Executed
from bridge.cluster.records import HEADER
from config.errors import MetawattError
from store.port import StoreUnavailable, Write
from store.sqlite import SqliteStore
from tests.bridge.cluster_kit import (
    PROGRAMS,
    SOL,
    Bench,
    Clock,
    TokenBench,
    keypair,
    marker,
    memo,
    opened,
    pay,
    state,
)

_WALLETS = [keypair(f"wallet {number}") for number in range(5)]


class _Life:
    """Random doings on a cluster, the same for a seed."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.touched: set[Pubkey] = set()
        self.tokens: list[TokenBench] = []
        self.sent: list[Signature] = []

    async def begin(self, cluster: Cluster) -> None:
        bench = Bench(cluster)
        await bench.fund()
        await bench.fund(*_WALLETS)
        for number, program in enumerate(PROGRAMS):
            token = await TokenBench.made(bench, program, f"mint {number}")
            await bench.must([token.create(each.pubkey()) for each in _WALLETS])
            self.tokens.append(token)

    async def go_on(self, cluster: Cluster, steps: int) -> None:
        for step in range(steps):
            await self._step(Bench(cluster), step)

    async def _step(self, bench: Bench, step: int) -> None:
        cluster, draw = bench.cluster, self.random.random()
        if draw < 0.25:
            await cluster.advance(self.random.choice([1, 1, 1, 5, 40]))
        elif draw < 0.30 and cluster.slot("processed") > 40:
            await self._fork(cluster)
        else:
            await self._send(bench, step)

    async def _fork(self, cluster: Cluster) -> None:
        try:
            await cluster.fork(self.random.randint(1, 10), drop=self.random.random() < 0.3)
        except MetawattError:
            await cluster.advance()

    async def _send(self, bench: Bench, step: int) -> None:
        wallet, token = self.random.choice(_WALLETS), self.random.choice(self.tokens)
        token = TokenBench(bench, token.program, token.mint)
        units = self.random.randint(1, 10**9)
        _, taken = marker(bench.payer, f"reading {self.random.randint(0, 30)}")
        instructions, signers = self.random.choice(
            [
                ([token.mint_to(wallet.pubkey(), units), memo(f"step {step}")], []),
                ([*taken, token.mint_to(wallet.pubkey(), units)], []),
                ([pay(wallet, self.random.choice(_WALLETS).pubkey(), units)], [wallet]),
                ([pay(wallet, keypair(f"new {step}").pubkey(), SOL * self.random.randint(0, 60))], [wallet]),
            ]
        )
        signature = await bench.send(instructions, *signers)
        executed = await bench.cluster.executed(signature, "processed")
        if executed is not None:
            self.touched.update(executed.keys)
            self.sent.append(signature)


async def _told(cluster: Cluster, signatures: Sequence[Signature]) -> list[Executed | None]:
    return [await cluster.executed(signature, "processed") for signature in signatures]


@pytest.mark.parametrize("seed", range(6))
async def test_nothing_changes_by_a_restart(tmp_path: Path, seed: int) -> None:
    life = _Life(seed)
    async with opened(tmp_path) as cluster:
        await life.begin(cluster)
    for _ in range(3):
        async with opened(tmp_path) as cluster:
            await life.go_on(cluster, 60)
            before = state(cluster, life.touched), await _told(cluster, life.sent), cluster.transaction_count
            last = cluster.slot("processed")
        async with opened(tmp_path) as cluster:
            after = state(cluster, life.touched), await _told(cluster, life.sent), cluster.transaction_count
            assert after == before
            assert cluster.slot("processed") == last + 1
            histories = [await cluster.signatures_for(each.mint.pubkey()) for each in life.tokens]
            await cluster.advance(31)
            assert state(cluster, life.touched, "finalized") == before[0]
            assert [len(await cluster.signatures_for(each.mint.pubkey())) for each in life.tokens] >= [
                len(each) for each in histories
            ]


async def test_the_past_is_still_readable_after_a_restart(tmp_path: Path) -> None:
    target = keypair("target").pubkey()
    async with opened(tmp_path) as cluster:
        bench = Bench(cluster)
        await bench.fund()
        await cluster.advance(40)
        for _ in range(20):
            await bench.must([pay(bench.payer, target, SOL)])
            await cluster.advance()
    async with opened(tmp_path) as cluster:
        for _ in range(25):
            view = cluster.slot("finalized")
            due = sum(1 for each in await cluster.signatures_for(target))
            account = cluster.account(target, "finalized")
            assert (0 if account is None else account.lamports) == due * SOL
            assert all(each.slot <= view for each in await cluster.signatures_for(target))
            await cluster.advance()


async def test_what_landed_before_a_restart_does_not_land_again(tmp_path: Path) -> None:
    target = keypair("target").pubkey()
    async with opened(tmp_path) as cluster:
        bench = Bench(cluster)
        await bench.fund()
        raws = [bench.build([pay(bench.payer, target, SOL), memo(str(number))]) for number in range(3)]
        for raw in raws:
            await cluster.send(raw, skip_preflight=True)
        await cluster.advance(100)
    async with opened(tmp_path) as cluster:
        for raw in raws:
            await cluster.send(raw, skip_preflight=True)
        assert cluster.account(target, "processed").lamports == 3 * SOL


_CHILD = """
import asyncio, sys
from pathlib import Path
from tests.bridge.cluster_kit import *

async def main():
    cluster = cluster_at(Path(sys.argv[1]), slot_ms=5)
    await cluster.open()
    bench = Bench(cluster)
    await bench.fund()
    number = 0
    while True:
        number += 1
        signature = await bench.send([pay(bench.payer, keypair("target").pubkey(), SOL // 1000), memo(str(number))])
        await asyncio.sleep(0.001)
        (status,) = await cluster.statuses([signature], history=False)
        while status is not None and status.commitment == "processed":
            await asyncio.sleep(0.001)
            (status,) = await cluster.statuses([signature], history=False)
        print(cluster.slot("processed"), signature, flush=True)

asyncio.run(main())
"""


async def _killed_after(folder: Path, count: int) -> tuple[int, list[Signature]]:
    """Run a cluster in a process of its own and kill it; the last slot and the confirmed payments it told of."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        _CHILD,
        str(folder),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": "."},
    )
    assert process.stdout is not None
    lines = [(await process.stdout.readline()).split() for _ in range(count)]
    process.send_signal(signal.SIGKILL)
    rest = await process.stdout.read()
    assert await process.wait() == -signal.SIGKILL
    lines += [line.split() for line in rest.splitlines() if len(line.split()) == 2]
    return int(lines[-1][0]), [Signature.from_string(line[1].decode()) for line in lines]


async def test_what_was_confirmed_survives_kill_9(tmp_path: Path) -> None:
    target = keypair("target").pubkey()
    confirmed: list[Signature] = []
    for _ in range(3):
        last, signatures = await _killed_after(tmp_path, 40)
        confirmed += signatures
        async with opened(tmp_path) as cluster:
            assert cluster.slot("processed") > last
            told = await _told(cluster, confirmed)
            assert all(each is not None and each.error is None for each in told)
            history = await cluster.signatures_for(target, commitment="processed")
            assert cluster.account(target, "processed").lamports == len(history) * SOL // 1000
            assert cluster.account(target, "processed").lamports >= len(confirmed) * SOL // 1000


class _WatchedStore(SqliteStore):
    """A store that notes, before each commit, which slot is open and up to where slots are reserved durably."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.cluster: Cluster | None = None
        self.noted: list[tuple[int, int]] = []

    async def commit(self, writes: Sequence[Write]) -> None:
        if self.cluster is not None:
            header = await self.get(HEADER, "chain")
            assert header is not None
            self.noted.append((self.cluster.slot("processed"), header["reserved"]))
        await super().commit(writes)


async def test_no_slot_is_open_that_a_restart_would_open_again(tmp_path: Path) -> None:
    store = _WatchedStore(tmp_path / "solana.db")
    cluster = Cluster(store, network="dev", slot_ms=0, now_ms=Clock())
    await cluster.open()
    store.cluster = cluster
    await cluster.advance(100)
    store.cluster = None
    await cluster.close()
    assert store.noted
    assert all(tip <= reserved for tip, reserved in store.noted)


class _FullStore(SqliteStore):
    """A store that can be told to refuse commits, as a full disk does."""

    is_full = False

    async def commit(self, writes: Sequence[Write]) -> None:
        if self.is_full:
            raise StoreUnavailable("the disk is full")
        await super().commit(writes)


async def test_nothing_is_confirmed_that_could_not_be_stored(tmp_path: Path) -> None:
    store = _FullStore(tmp_path / "solana.db")
    cluster = Cluster(store, network="dev", slot_ms=0, now_ms=Clock())
    await cluster.open()
    bench, wallet = Bench(cluster), Keypair()
    await bench.fund()
    await cluster.advance(3)
    store.is_full = True
    signature = await bench.send([pay(bench.payer, wallet.pubkey(), SOL)])
    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            await cluster.advance()
    (status,) = await cluster.statuses([signature], history=True)
    assert status is not None
    assert status.commitment == "processed"
    store.is_full = False
    await cluster.advance()
    (status,) = await cluster.statuses([signature], history=True)
    assert status is not None
    assert status.commitment == "confirmed"
    await cluster.close()
    async with opened(tmp_path) as again:
        assert again.account(wallet.pubkey(), "processed").lamports == SOL
