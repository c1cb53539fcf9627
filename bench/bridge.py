"""The bridge end to end: tokens to certificates, certificates to tokens, and both at once.

    python -m bench.bridge in --count 6000 --rate 200       deposits at a steady rate (--transfers in a transaction)
    python -m bench.bridge in --count 6000 --backlog        paused until all have come, then as fast as it goes
    python -m bench.bridge out --count 6000 --rate 200      certificates that are locked through the registry
    python -m bench.bridge both --count 6000 --rate 200
    python -m bench.bridge growth --large 1000000           the same work beside many past messages and few, in turn

Real processes on the loopback: the BSV dev chain, `metawatt solana`, `metawatt serve` with the bridge on, and the
load (bench/bridge_load.py); all share the machine's processors. Readings are minted first, so that there are
tokens and lots; for `out` their certificates are made first, too. Rates and times are from the node's own rows of
messages; that nothing is missing is seen in the end, when all are RECEIPTED and parity, recomputed from both
chains, is exact.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, nullcontext
from pathlib import Path
from time import time
from typing import Any, Final

from bench.bridge_figures import HEADER, Figures, cpu_us, figures, messages_since, states
from bench.bridge_load import A_MESSAGE_WH
from bench.bridge_stored import fill
from bench.bridge_world import Terms, World, world
from bridge.mirror.message import Message
from bridge.mirror.records import MESSAGES
from bridge.mirror.states import Direction
from store.port import Find

_SPARE: Final = 1.1
_SETUP_RATE: Final = 150.0


class Runs:
    """Runs of load on one world. Loads are numbered, none is sent twice."""

    def __init__(self, made: World, options: argparse.Namespace) -> None:
        self.world = made
        self._options = options
        self._first = {"deposits": 0, "locks": 0}

    async def tokens(self, messages: int) -> None:
        await self.world.measure(round(messages * A_MESSAGE_WH * _SPARE))

    async def load(self, what: str, count: int, rate: float | None) -> dict[str, Any]:
        """One load process; what it says."""
        command = [sys.executable, "-m", "bench.bridge_load", what, str(self.world.folder)]
        if what == "locks":
            assert self.world.node is not None
            command += [self.world.node.url, "--bundles", str(self._options.bundles)]
        else:
            command += ["--transfers", str(self._options.transfers)]
        command += ["--count", str(count), "--first", str(self._first[what])]
        command += [] if rate is None else ["--rate", str(rate)]
        self._first[what] += count
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        told, _ = await process.communicate()
        result: dict[str, Any] = json.loads(told)
        if result["refusals"]:
            print(f"  not all well: {what} {result['refusals']}", file=sys.stderr)
        return result

    async def run(
        self, whats: Sequence[str], count: int, rate: float | None, *, tells: bool = True
    ) -> list[Figures]:
        """So many messages of each kind at once, until all have ended."""
        began_ms = round(time() * 1000)
        before, past = self._cpu(), await self.world.store.count(MESSAGES, Find("seq"))
        if self._options.backlog:
            await self.world.pause()
        loads = await asyncio.gather(*(self.load(what, count, rate) for what in whats))
        awaited = past + sum(each["messages"] for each in loads)
        if self._options.backlog:
            await self.world.resume(awaited)
            before = self._cpu()
        ways = [Direction.IN if what == "deposits" else Direction.OUT for what in whats]
        wanted = {way: each["messages"] for way, each in zip(ways, loads, strict=True)}
        found = await self._ended(awaited, began_ms, wanted)
        told = [figures(way, found) for way in ways]
        if tells:
            self._tell(told, loads, before, found)
        return told

    async def _ended(self, awaited: int, began_ms: int, wanted: Mapping[Direction, int]) -> list[Message]:
        """The messages of a run once all have ended. Locks may be of more certificates than were asked for."""
        while True:
            await self.world.rest(awaited)
            found = await messages_since(self.world.store, began_ms)
            lacking = sum(
                max(0, count - sum(each.direction is way for each in found)) for way, count in wanted.items()
            )
            if not lacking:
                return found
            awaited = await self.world.store.count(MESSAGES, Find("seq")) + lacking

    def _tell(
        self,
        told: Sequence[Figures],
        loads: Sequence[dict[str, Any]],
        before: dict[str, float],
        found: Sequence[Message],
    ) -> None:
        print(HEADER)
        for each in told:
            print(each.row())
        offered = ", ".join(f"{each['messages']:,} at {each['rate']:.0f}/s" for each in loads)
        used = cpu_us(before, self._cpu(), len(found))
        used["load"] = round(sum(each["cpu_secs"] for each in loads) / max(1, len(found)) * 1e6)
        print(f"offered: {offered}; states {dict(states(found))}")
        print(f"CPU µs a message: {used}; resident MiB: {self._resident()}", flush=True)

    def _cpu(self) -> dict[str, float]:
        return {name: server.cpu_secs for name, server in self._servers()}

    def _resident(self) -> dict[str, int]:
        return {name: round(server.resident_mib) for name, server in self._servers()}

    def _servers(self) -> list[tuple[str, Any]]:
        made = self.world
        return [("node", made.node), ("Solana", made.solana), ("BSV", made.bsv)]

    async def quiet(self, whats: Sequence[str], count: int) -> None:
        backlog, self._options.backlog = self._options.backlog, False
        await self.run(whats, count, _SETUP_RATE, tells=False)
        self._options.backlog = backlog

    async def certificates(self, messages: int) -> None:
        """Some for locks, made by deposits at a rate that they are known to be made at."""
        await self.tokens(messages)
        await self.quiet(["deposits"], messages)


async def one_way(options: argparse.Namespace, folder: Path, whats: Sequence[str]) -> None:
    """Load of some kinds at once on a world of its own."""
    async with world(folder, _terms(options)) as made:
        runs = Runs(made, options)
        if "locks" in whats:
            await runs.certificates(round(options.count * _SPARE))
            print(f"certificates are there: {await made.demand_parity()}", flush=True)
        if "deposits" in whats:
            await runs.tokens(options.count)
        for _ in range(options.rounds):
            await runs.run(whats, options.count // options.rounds, options.rate)
        print(await made.demand_parity(), flush=True)
        if options.hold:
            print(f"node {made.node and made.node.process.pid} at {made.node and made.node.url}", flush=True)


def _terms(options: argparse.Namespace) -> Terms:
    settings = dict(each.split("=", 1) for each in options.settings)
    return Terms(
        options.confirmations, options.block_secs, options.slot_ms, options.accounts, options.witness, settings
    )


# Growth


async def growth(options: argparse.Namespace, folder: Path) -> None:
    """Two worlds, one of which has many past messages; the same work on both in turn."""
    async with AsyncExitStack() as stack:
        few = Runs(await stack.enter_async_context(world(folder / "few", _terms(options))), options)
        many = Runs(await stack.enter_async_context(world(folder / "many", _terms(options))), options)
        for each in (few, many):
            await each.certificates(options.count * (options.rounds + 2))
            await each.tokens(options.count * (options.rounds + 1))
            await each.quiet(["locks"], options.count // 4)
        await many.world.stop()
        secs = await fill(many.world.folder, options.large)
        print(f"{options.large:,} past messages written in {secs:.0f} s", flush=True)
        await many.world.start()
        assert many.world.node is not None
        for each in (few, many):
            await each.quiet(["deposits", "locks"], options.count // 4)
        print(f"the node is ready after {many.world.node.started_secs:.1f} s", flush=True)
        for number in range(options.rounds):
            for name, each in (("few", few), ("many", many)):
                print(f"\nround {number + 1}, {name}", flush=True)
                await each.run(["deposits", "locks"], options.count, options.rate)
        for name, each in (("few", few), ("many", many)):
            print(f"{name}: {await each.world.demand_parity()}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_subparsers(dest="what", required=True)
    ways = {"in": ["deposits"], "out": ["locks"], "both": ["deposits", "locks"], "growth": []}
    for name, whats in ways.items():
        command = what.add_parser(name)
        command.set_defaults(whats=whats)
        command.add_argument("--count", type=int, default=6000, help="messages each way")
        command.add_argument("--rate", type=float, help="messages a second each way; default: all at once")
        command.add_argument(
            "--backlog", action="store_true", help="paused until all have come, then at full speed"
        )
        command.add_argument("--rounds", type=int, default=1 if whats else 3)
        command.add_argument("--transfers", type=int, default=1, help="deposits in one transaction on Solana")
        command.add_argument("--bundles", type=int, default=20, help="times 100 Wh that one action locks")
        command.add_argument("--accounts", type=int, default=50)
        command.add_argument("--confirmations", type=int, default=6)
        command.add_argument("--block-secs", type=float, default=2.0)
        command.add_argument("--slot-ms", type=int, default=400)
        command.add_argument("--witness", action="store_true", help="a second endpoint must tell the same")
        command.add_argument("--large", type=int, default=1_000_000, help="past messages")
        command.add_argument("--settings", nargs="*", default=[], metavar="METAWATT_…=VALUE")
        command.add_argument("--data-dir", type=Path, help="where it all is kept; default: nowhere")
        command.add_argument("--hold", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    kept = nullcontext(str(options.data_dir)) if options.data_dir else tempfile.TemporaryDirectory(prefix="bridge-")
    with kept as name:
        folder = Path(name)
        asyncio.run(one_way(options, folder, options.whats) if options.whats else growth(options, folder))


if __name__ == "__main__":
    main()
