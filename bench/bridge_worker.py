"""A whole node with a bridge in a process of its own, to be killed: `python -m bench.bridge_worker --help`.

Settings come from the environment, as the node's do. It says "ready PORT" on standard output, and serves until
standard input ends. With `--die-at WHEN:STATE:N` it kills itself with SIGKILL before, or after, the N-th commit
that moves a message into that state. `--clock-ms` is how far its clock is off, `--jump-ms` by how much more after a
while.

Kinds, and what each is without:

    real          nothing
    unmarked      the marker on Solana: that a release was made is in the memo alone
    unrecorded    the record before the send: releases and transactions on BSV are stored only once they were sent
    unaccounted   the accountant's refusal: what a certificate's origin claims is believed
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from time import monotonic, time_ns
from typing import Final, TypeGuard

import uvloop

from api.node import Node
from api.server import Server
from bench.bridge_without import without
from bridge.mirror.records import ISSUES, MESSAGES, RELEASES
from bridge.mirror.states import State
from config.load import load_settings
from config.logging import configure_logging
from overlay.arc import ArcClient
from overlay.records import RAWS, TRANSACTIONS, load_raws
from overlay.transaction import Transaction, split_outpoint
from overlay.wire import to_extended
from store.port import Insert, Patch, Put, Write
from store.sqlite import SqliteStore

JUMP_AFTER_SECS: Final = 1.5


class Kind(StrEnum):
    REAL = "real"
    UNMARKED = "unmarked"
    UNRECORDED = "unrecorded"
    UNACCOUNTED = "unaccounted"


@dataclass(slots=True)
class Doom:
    """Counts commits by the states that they bring, and ends the process at one of them."""

    when: str = ""
    state: State | None = None
    time: int = 1
    taken: Counter[tuple[str, State]] = field(default_factory=Counter)

    @classmethod
    def parse(cls, text: str) -> Doom:
        when, state, time = text.split(":")
        return cls(when, State(state), int(time))

    def at(self, when: str, states: frozenset[State]) -> None:
        for state in states:
            self.taken[when, state] += 1
            if (when, state) == (self.when, self.state) and self.taken[when, state] == self.time:
                os.kill(os.getpid(), signal.SIGKILL)


class DoomedStore(SqliteStore):
    """The node's store, with the steps of its commits."""

    def __init__(self, path: Path, doom: Doom, sender: Sender | None) -> None:
        super().__init__(path, cache_mib=8)
        self._doom = doom
        self._sender = sender

    async def commit(self, writes: Sequence[Write]) -> None:
        states = _states(writes)
        if self._sender is not None:
            await self._sender.send(writes)
        self._doom.at("before", states)
        await super().commit(writes)
        self._doom.at("after", states)


class Sender:
    """Sends what the bridge makes before it is stored: releases, and transactions on BSV."""

    def __init__(self) -> None:
        self.node: Node | None = None

    async def send(self, writes: Sequence[Write]) -> None:
        node = self.node
        if node is None or node.metering is None or node.metering.solana is None:
            return
        inserts = [each for each in writes if isinstance(each, Insert)]
        rpc = node.metering.solana.rpc
        sends = [rpc.send(each.document["raw"]) for each in inserts if each.collection is RELEASES]
        made = {each.document["_id"] for each in inserts if each.collection is ISSUES}
        raws = [each.document["raw"] for each in writes if _is_raw(each, made)]
        await asyncio.gather(*sends, *(self._broadcast(node, raw) for raw in raws), return_exceptions=True)

    async def _broadcast(self, node: Node, raw: bytes) -> None:
        transaction = Transaction.parse(raw)
        parents = await load_raws(node.store, {each.outpoint[:32] for each in transaction.inputs})
        spent = [split_outpoint(each.outpoint) for each in transaction.inputs]
        sources = [Transaction.parse(parents[txid]).outputs[index] for txid, index in spent]
        arc = ArcClient(node.settings.chain.arc_url or "", timeout_secs=5)
        try:
            await arc.broadcast(to_extended(transaction, sources))
        finally:
            await arc.close()


def _is_raw(write: Write, txids: set[bytes]) -> TypeGuard[Insert | Put]:
    if not isinstance(write, Insert | Put) or write.collection not in (RAWS, TRANSACTIONS):
        return False
    return write.document["_id"] in txids and "raw" in write.document


def _states(writes: Sequence[Write]) -> frozenset[State]:
    """The states that a commit brings messages into."""
    found = set()
    for each in writes:
        if isinstance(each, Insert) and each.collection is MESSAGES:
            found.add(State(each.document["state"]))
        elif isinstance(each, Patch) and each.collection is MESSAGES and "state" in each.changes:
            found.add(State(each.changes["state"]))
    return frozenset(found)


class OffClock:
    """The time, as a clock that is off tells it, and that jumps once."""

    def __init__(self, off_ms: int, jump_ms: int) -> None:
        self._off_ms, self._jump_ms = off_ms, jump_ms
        self._jump_at = monotonic() + JUMP_AFTER_SECS

    def __call__(self) -> int:
        jumped_ms = self._jump_ms if monotonic() >= self._jump_at else 0
        return time_ns() // 1_000_000 + self._off_ms + jumped_ms


async def serve(options: argparse.Namespace) -> None:
    settings = load_settings()
    configure_logging(settings.log)
    kind = Kind(options.kind)
    doom = Doom.parse(options.die_at) if options.die_at else Doom()
    sender = Sender() if kind is Kind.UNRECORDED else None
    without(kind.value)
    node = Node(settings, OffClock(options.clock_ms, options.jump_ms))
    node.store = DoomedStore(settings.node.data_dir / "node.db", doom, sender)
    if sender is not None:
        sender.node = node
    server = Server(node)
    await server.start()
    print(f"ready {server.port}", flush=True)
    await asyncio.to_thread(sys.stdin.buffer.read)
    await server.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", choices=list(Kind), default=Kind.REAL)
    parser.add_argument("--die-at", metavar="WHEN:STATE:N")
    parser.add_argument("--clock-ms", type=int, default=0)
    parser.add_argument("--jump-ms", type=int, default=0)
    uvloop.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
