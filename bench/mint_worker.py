"""A minter in a process of its own, to be killed: `python -m bench.mint_worker --help`.

It says "ready" on standard output, and mints until standard input ends. With `--die-at STEP:N` it kills itself
with SIGKILL when it comes to that step for the N-th time: no handler runs, as with any other kill -9.

Kinds of workers, and what each is without:

    real          nothing: the node's minter and event processor, but without the lease
    unmarked      the marker on the chain
    unrecorded    the record before the send: the attempt is stored only once it was sent
    bare          both
    naive         bench/naive_minter.py
    naive-alone   the same, one process at a time
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, TypeGuard

from solders.pubkey import Pubkey
from solders.system_program import ID as SYSTEM_PROGRAM_ID
from spl.token.constants import TOKEN_PROGRAM_ID

from bench.naive_minter import NaiveMinter
from bridge.minting.minting import Minting
from bridge.programs.attribution import explained
from bridge.programs.instructions import Kind as Movement
from bridge.programs.keys import FileSigner
from bridge.programs.mode import Facts, Order
from bridge.programs.own import OwnMint
from bridge.records import ATTEMPTS, BRIDGE_COLLECTIONS, READINGS, ReadingState
from bridge.solana.client import ClusterClient
from bridge.solana.rpc import SeenTransaction
from bridge.watching.follower import Watched
from bridge.watching.processor import EventProcessor
from bridge.watching.rows import memos
from config.errors import MetawattError
from config.logging import configure_logging
from config.settings import LogSettings, SolanaSettings, TokenizationSettings
from overlay.clock import system_now_ms
from store.port import Insert, Patch, Write
from store.sqlite import SqliteStore

DECIMALS: Final = 9
_RETRY_MINUTES: Final = 0.02
_POLL_SECS: Final = 0.25
_WATCH_SECS: Final = 0.5


class Kind(StrEnum):
    REAL = "real"
    UNMARKED = "unmarked"
    UNRECORDED = "unrecorded"
    BARE = "bare"
    NAIVE = "naive"
    ALONE = "naive-alone"

    @property
    def is_naive(self) -> bool:
        return self in (Kind.NAIVE, Kind.ALONE)

    @property
    def workers(self) -> int:
        """How many work at once."""
        return 1 if self is Kind.ALONE else 2

    @property
    def has_markers(self) -> bool:
        return self in (Kind.REAL, Kind.UNRECORDED)

    @property
    def sends_first(self) -> bool:
        return self in (Kind.UNRECORDED, Kind.BARE)

    @property
    def steps(self) -> tuple[Step, ...]:
        """Where it may be told to die: the naive one stores no attempt."""
        return tuple(each for each in Step if not self.is_naive or "attempt" not in each)


class Step(StrEnum):
    """Where a worker can be told to die."""

    BEFORE_ATTEMPT = "before-attempt"  # the commit of the signed transactions
    AFTER_ATTEMPT = "after-attempt"
    BEFORE_SEND = "before-send"
    AFTER_SEND = "after-send"
    BEFORE_SETTLE = "before-settle"  # the commit that marks readings minted
    AFTER_SETTLE = "after-settle"


@dataclass(slots=True)
class Doom:
    """Counts steps, and ends the process at one of them."""

    step: Step | None = None
    time: int = 1
    taken: Counter[Step] = field(default_factory=Counter)

    @classmethod
    def parse(cls, text: str) -> Doom:
        step, _, time = text.partition(":")
        return cls(Step(step), int(time or 1))

    def at(self, step: Step) -> None:
        self.taken[step] += 1
        if step is self.step and self.taken[step] == self.time:
            os.kill(os.getpid(), signal.SIGKILL)


class DoomedStore(SqliteStore):
    """The node's store, with the steps of its commits. `first` is done before an attempt is committed."""

    def __init__(self, path: Path, doom: Doom, first: Callable[[bytes], Any] | None = None) -> None:
        super().__init__(path, cache_mib=4)
        self._doom = doom
        self._first = first

    async def commit(self, writes: Sequence[Write]) -> None:
        attempts = [each.document["raw"] for each in writes if _is_attempt(each)]
        if attempts and self._first is not None:
            await asyncio.gather(*map(self._first, attempts))
        before, after = _steps_of(writes, has_attempts=bool(attempts))
        if before is None or after is None:
            await super().commit(writes)
            return
        self._doom.at(before)
        await super().commit(writes)
        self._doom.at(after)


def _is_attempt(write: Write) -> TypeGuard[Insert]:
    return isinstance(write, Insert) and write.collection is ATTEMPTS


def _steps_of(writes: Sequence[Write], *, has_attempts: bool) -> tuple[Step | None, Step | None]:
    if has_attempts:
        return Step.BEFORE_ATTEMPT, Step.AFTER_ATTEMPT
    if any(isinstance(each, Patch) and _settles(each) for each in writes):
        return Step.BEFORE_SETTLE, Step.AFTER_SETTLE
    return None, None


def _settles(patch: Patch) -> bool:
    return patch.collection is READINGS and patch.changes.get("state") == ReadingState.MINTED


class DoomedClient(ClusterClient):
    """The node's client of the cluster, with the steps of its sends."""

    def __init__(self, rpc_url: str, doom: Doom) -> None:
        super().__init__(rpc_url)
        self._doom = doom

    async def send(self, raw: bytes, *, skip_preflight: bool = False) -> Any:
        self._doom.at(Step.BEFORE_SEND)
        signature = await super().send(raw, skip_preflight=skip_preflight)
        self._doom.at(Step.AFTER_SEND)
        return signature

    async def send_anyhow(self, raw: bytes) -> None:
        """For workers that send before they store."""
        try:
            await self.send(raw)
        except MetawattError as error:
            logging.getLogger("unrecorded").warning("not sent: %s", error)


class Unmarked(OwnMint):
    """The node's own mint without markers: which mint was for which reading is in the memo alone."""

    def instructions(self, order: Order, facts: Facts) -> list[Any]:
        return [each for each in super().instructions(order, facts) if each.program_id != SYSTEM_PROGRAM_ID]

    def minted(self, orders: Sequence[Order], seen: SeenTransaction) -> dict[bytes, int]:
        told = explained(seen, self.mint)
        mints = [one for one in told.instructions if one.kind is Movement.MINT] if told else []
        wanted = {bytes(self.memo([order]).data).decode().rpartition(":")[2]: order for order in orders}
        named = [each for memo in memos(seen) for each in memo.rpartition(":")[2].split(",")]
        return {
            wanted[name].key: one.units
            for name, one in zip(named, mints, strict=True)
            if name in wanted and one.destination == self.destination(wanted[name])
        }


class NoLease:
    """Everybody may mint at once: what holds then is the rows' states and the guards on the chain."""

    term = 1

    async def hold(self) -> bool:
        return True

    def guard(self) -> list[Write]:
        return []

    async def demand(self) -> None:
        """Nothing can be lost."""

    async def release(self) -> None:
        """Nothing is held."""


async def work(options: argparse.Namespace) -> None:
    kind, doom = Kind(options.worker), Doom.parse(options.die_at) if options.die_at else Doom()
    rpc = DoomedClient(options.rpc_url, doom)
    store = DoomedStore(options.store, doom, rpc.send_anyhow if kind.sends_first else None)
    await store.open(BRIDGE_COLLECTIONS)
    signer = FileSigner.load(options.key)
    way = OwnMint if kind.has_markers else Unmarked
    mint = Pubkey.from_string(options.mint)
    mode = way(await _genesis(rpc), mint, TOKEN_PROGRAM_ID, signer.public, DECIMALS)
    print("ready", flush=True)
    if kind.is_naive:
        naive = NaiveMinter(store, rpc, mode, signer, DECIMALS, options.slot_ms, system_now_ms)
        await _until_told(asyncio.create_task(naive.run()))
    else:
        await _mint(store, rpc, mode, signer, options.ws_url)
    await rpc.close()
    await store.close()


async def _mint(
    store: SqliteStore, rpc: DoomedClient, mode: OwnMint, signer: FileSigner, ws_url: str | None
) -> None:
    """As the node does."""
    minting = _minting(store, rpc, mode, signer)
    watched = [Watched("mint", mode.mint)]
    on_final = minting.confirmations
    watching = EventProcessor(
        store, rpc, ws_url, watched, system_now_ms, minting.wake, on_final, poll_secs=_WATCH_SECS
    )
    await minting.start()
    await watching.start()
    await _until_told()
    await watching.stop()
    await minting.stop()


async def _genesis(rpc: ClusterClient) -> Any:
    """Asked until the cluster answers: a start while its answers are lost is a start, too."""
    while True:
        try:
            return await rpc.genesis_hash()
        except MetawattError:
            await asyncio.sleep(0.1)


def _minting(store: SqliteStore, rpc: ClusterClient, mode: OwnMint, signer: FileSigner) -> Minting:
    tokens = TokenizationSettings(
        polling_interval_secs=_POLL_SECS,
        initial_retry_delay_minutes=_RETRY_MINUTES,
        max_retry_delay_minutes=2 * _RETRY_MINUTES,
    )
    return Minting(store, rpc, mode, signer, tokens, SolanaSettings(), system_now_ms, lease=NoLease())


async def _until_told(task: asyncio.Task[None] | None = None) -> None:
    """Until standard input ends, which it also does when whoever started this one is gone."""
    ended = asyncio.create_task(asyncio.to_thread(sys.stdin.buffer.read))
    await asyncio.wait([ended, task] if task else [ended], return_when=asyncio.FIRST_COMPLETED)
    if task is not None:
        if task.done():
            task.result()
        task.cancel()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worker", choices=list(Kind), default=Kind.REAL)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--key", type=Path, required=True)
    parser.add_argument("--rpc-url", required=True)
    parser.add_argument("--ws-url")
    parser.add_argument("--mint", required=True)
    parser.add_argument("--slot-ms", type=int, required=True)
    parser.add_argument("--die-at", metavar="STEP:N")
    configure_logging(LogSettings(level="warning"))
    asyncio.run(work(parser.parse_args()))


if __name__ == "__main__":
    main()
