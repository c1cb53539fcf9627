"""Meters end to end: signed readings over HTTP into a whole node, and out of it as tokens on Solana.

    python -m bench.meters intake                    readings a second, one by one and in batches
    python -m bench.meters backlog --count 100000    a backlog is minted (--place: where the cluster is)
    python -m bench.meters latency --rate 500        from submission to confirmed token, under a steady load
    python -m bench.meters growth --large 1000000    the same work beside many stored readings and few

Each starts `metawatt serve` on the loopback with its settings and its log as by default, unless told otherwise. By
`--place` the Solana cluster is

    embedded   in the node's one process, on the dev network
    separate   in a process of its own (`metawatt solana`); the node is one process on the dev network
    workers    in a process of its own; the node has two processes, on network `test`, as it is in production

The load comes from a further process (bench/readings.py). What was minted is checked in the end against what was
submitted: to the base unit, by the mint's supply.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from time import perf_counter, sleep, time
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from spl.token.constants import TOKEN_PROGRAM_ID

from bench import servers
from bench.corpus import Part, make_corpus
from bench.meters_stored import figures_ms, fill, times_of_minted
from bench.readings import METERS, kwh, registration
from bench.servers import Server
from bridge.programs.keys import FileSigner
from bridge.programs.setup import create_mint, fund
from bridge.solana.client import ClusterClient

BATCH = 500
LONG_SECS = 1800
LATENCY_CONNECTIONS = 128
_SAMPLE = re.compile(r"^([a-z_]+(?:\{[^}]*\})?) (\S+)$", re.MULTILINE)


class MeteringNode:
    """A node with registered meters, and the load on it. Readings are numbered, none is sent twice."""

    def __init__(self, server: Server, folder: Path, cluster: Server | None) -> None:
        self.server = server
        self.folder = folder
        self.cluster = cluster
        self.start_secs = int(time()) // 86_400 * 86_400 - 6 * 86_400
        self.sent = 0
        self._token = (folder / "admin.token").read_text().strip()

    @property
    def rpc_url(self) -> str:
        return self.server.url + "/dev/solana" if self.cluster is None else self.cluster.url

    @property
    def cpu_secs(self) -> float:
        """Of the node, and of the cluster where that is a process of its own."""
        return self.server.cpu_secs + (0.0 if self.cluster is None else self.cluster.cpu_secs)

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        request = Request(self.server.url + path, data, headers, method=method)
        try:
            with urlopen(request, timeout=60) as reply:
                return json.loads(reply.read())
        except HTTPError as error:
            raise SystemExit(f"{method} {path}: {error.code} {error.read()[:300]!r}") from error

    def rpc(self, method: str, *params: Any) -> Any:
        call = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
        request = Request(self.rpc_url, call, {"Content-Type": "application/json"})
        with urlopen(request, timeout=60) as reply:
            return json.loads(reply.read())["result"]

    def register(self) -> None:
        """All meters, and wait until the cluster is connected."""
        for number in range(METERS):
            self.ask("POST", "/api/meters", registration(number))
        self.await_solana()

    def await_solana(self) -> None:
        while not self.metrics().get("metawatt_solana_websocket"):
            sleep(0.2)

    def configure(self, **changes: Any) -> None:
        """Auto-mint, its interval and its batches."""
        self.ask("PUT", "/api/admin/meters/auto-mint-config", changes)

    def trigger(self) -> None:
        """A poll now; back when it is done."""
        self.ask("POST", "/api/admin/meters/auto-mint-trigger")

    def metrics(self) -> dict[str, float]:
        """By name with labels."""
        with urlopen(self.server.url + "/metrics", timeout=60) as reply:
            return {name: float(value) for name, value in _SAMPLE.findall(reply.read().decode())}

    def load(self, count: int, batch: int = 1, *options: object) -> dict[str, Any]:
        """Submit the next `count` readings; `readings` a second beside what bench/readings.py tells."""
        cpu = self.cpu_secs
        command = [sys.executable, "-m", "bench.readings", self.server.url, "--start", self.start_secs]
        command += ["--first", self.sent, "--count", count, "--batch", batch, *options]
        self.sent += count
        done = subprocess.run([str(each) for each in command], stdout=subprocess.PIPE, text=True, check=True)
        result = dict(json.loads(done.stdout))
        if result["errors"] or result["broken"]:
            print(f"  not all well: {result}", file=sys.stderr)
        result["readings"] = result["rate"] * batch
        result["cpu_us"] = (self.cpu_secs - cpu) / (result["ok"] * batch) * 1e6
        return result

    def demand_accepted(self) -> None:
        """All that was sent was taken; a process of several tells the others of its counts now and then."""
        for _ in range(20):
            accepted = self.metrics()["metawatt_readings_accepted_total"]
            if accepted == self.sent:
                return
            sleep(1)
        raise SystemExit(f"{accepted} accepted of {self.sent}")

    def minted(self) -> dict[str, float]:
        """How many readings are signed, confirmed and final; and transactions signed."""
        metrics = self.metrics()
        return {
            "signed": metrics.get('metawatt_minting_readings_total{outcome="signed"}', 0),
            "confirmed": metrics.get('metawatt_minting_seconds_count{commitment="confirmed"}', 0),
            "final": metrics.get('metawatt_minting_readings_total{outcome="minted"}', 0),
            "transactions": metrics.get('metawatt_minting_transactions_total{event="signed"}', 0),
        }

    def demand_supply(self) -> None:
        """The mint's supply is what all readings are worth: none is lost, none minted twice."""
        mint = self.logged("connected to Solana")["mint"]
        expected = sum(int(kwh(number).replace(".", "")) for number in range(self.sent)) * 1000
        supply = int(self.rpc("getTokenSupply", mint)["value"]["amount"])
        print(f"supply: {supply} base units, expected {expected}", flush=True)
        if supply != expected:
            raise SystemExit("not exactly once")

    def logged(self, event: str) -> dict[str, Any]:
        for line in (self.folder / "node.log").read_text().splitlines():
            if f'"{event}"' in line:
                return dict(json.loads(line))
        raise SystemExit(f"the node did not log {event!r}")


@contextmanager
def running(folder: Path, place: str = "embedded", **settings: object) -> Iterator[MeteringNode]:
    """A node; `settings` by the names of their environment variables."""
    environment = {name: str(value) for name, value in settings.items()}
    with ExitStack() as stack:
        cluster = None
        if place != "embedded":
            cluster = stack.enter_context(servers.solana_cluster(folder / "cluster"))
            environment["METAWATT_SOLANA__RPC_URL"] = cluster.url
            environment["METAWATT_SOLANA__WS_URL"] = f"ws://127.0.0.1:{cluster.port + 1}"
        if cluster is not None and place == "workers":
            corpus = make_corpus(folder / "corpus", [Part("none", 1)])
            headers = stack.enter_context(servers.headers_service(corpus))
            key_file = folder / "minting.json"
            environment |= {
                "METAWATT_NODE__NETWORK": "test",
                "METAWATT_NODE__WORKERS": "2",
                "METAWATT_CHAIN__HEADERS_URL": headers.url,
                "METAWATT_CHAIN__FIRST_HEIGHT": "0",
                "METAWATT_ENGINE__BROADCAST": "false",
                "METAWATT_SOLANA__KEY_FILE": str(key_file),
                "METAWATT_SOLANA__MINT": asyncio.run(_made_mint(cluster.url, key_file)),
            }
        server = stack.enter_context(servers.metering_node(folder, environment))
        yield MeteringNode(server, folder, cluster)


async def _made_mint(rpc_url: str, key_file: Path) -> str:
    """A mint, and a key that can pay for a million readings: there is no faucet but on the dev network."""
    rpc, signer = ClusterClient(rpc_url), FileSigner.load(key_file, make=True)
    try:
        await fund(rpc, signer.public, 1000 * 10**9)
        return str(await create_mint(rpc, signer, token_program=TOKEN_PROGRAM_ID, decimals=9))
    finally:
        await rpc.close()


# Intake


def intake(options: argparse.Namespace, folder: Path) -> None:
    """Rounds of single readings and of batches in turn, with auto-mint off and on."""
    print("| auto-mint | endpoint | readings/s | p50 ms | p99 ms | CPU µs a reading | minted/s meanwhile |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for auto in (False, True):
        with running(folder / f"auto-{auto}", options.place, TOKENIZATION_AUTO_MINT_ENABLED=auto) as node:
            node.register()
            node.load(1000, 1)
            node.load(5000, BATCH)
            if auto:
                node.configure(polling_interval_secs=1, batch_size=options.batch_size)
            results: dict[int, list[dict[str, Any]]] = {1: [], BATCH: []}
            for _ in range(options.rounds):
                for batch, rounds in results.items():
                    rounds.append(_intake_round(node, options, batch))
            for batch, rounds in results.items():
                _tell_intake(auto, batch, rounds)
            node.demand_accepted()


def _intake_round(node: MeteringNode, options: argparse.Namespace, batch: int) -> dict[str, Any]:
    before = node.minted()["signed"]
    result = node.load(options.count, batch, "--connections", options.connections if batch == 1 else 4)
    result["minted"] = (node.minted()["signed"] - before) / result["seconds"]
    return result


def _tell_intake(auto: bool, batch: int, rounds: Sequence[dict[str, Any]]) -> None:
    middle = {
        name: median(each[name] for each in rounds) for name in ("readings", "p50_ms", "p99_ms", "cpu_us", "minted")
    }
    print(
        f"| {'on' if auto else 'off'} | {'single' if batch == 1 else f'batches of {batch}'} | "
        f"{middle['readings']:,.0f} | {middle['p50_ms']:.1f} | {middle['p99_ms']:.1f} | {middle['cpu_us']:.0f} | "
        f"{middle['minted']:,.0f} |   {[round(each['readings']) for each in rounds]}",
        flush=True,
    )


# Backlog


def backlog(options: argparse.Namespace, folder: Path) -> None:
    """A backlog is built up with auto-mint off, then minted."""
    with running(folder, options.place, TOKENIZATION_AUTO_MINT_ENABLED=False) as node:
        node.register()
        handed_in = node.load(options.count, BATCH, "--connections", 4)
        print(f"{options.count:,} readings handed in: {handed_in['readings']:,.0f}/s")
        cpu, began = node.server.cpu_secs, perf_counter()
        cluster_cpu = 0.0 if node.cluster is None else node.cluster.cpu_secs
        node.configure(auto_mint_enabled=True, polling_interval_secs=5, batch_size=options.batch_size)
        reached = _await_minted(node, options.count, began)
        node_us = (node.server.cpu_secs - cpu) / options.count * 1e6
        cluster_us = 0.0 if node.cluster is None else (node.cluster.cpu_secs - cluster_cpu) / options.count * 1e6
        print("| cluster | until | seconds | readings/s |\n| --- | --- | --- | --- |")
        for what, seconds in reached.items():
            print(f"| {options.place} | all {what} | {seconds:.1f} | {options.count / seconds:,.0f} |")
        transactions = node.minted()["transactions"]
        print(
            f"{options.count / transactions:.2f} readings a transaction; CPU a reading: node {node_us:.0f} µs, "
            f"cluster by itself {cluster_us:.0f} µs; resident: node {node.server.resident_mib:.0f} MiB"
            + ("" if node.cluster is None else f", cluster {node.cluster.resident_mib:.0f} MiB")
        )
        node.demand_supply()


def _await_minted(node: MeteringNode, count: int, began: float) -> dict[str, float]:
    """Seconds until all are signed, confirmed and final."""
    reached: dict[str, float] = {}
    while "final" not in reached:
        sleep(1)
        if perf_counter() - began > LONG_SECS:
            raise SystemExit(f"not minted in time: {node.minted()}")
        found = node.minted()
        for what in ("signed", "confirmed", "final"):
            if what not in reached and found[what] >= count:
                reached[what] = perf_counter() - began
    return reached


# Latency


def latency(options: argparse.Namespace, folder: Path) -> None:
    """A steady load with auto-mint on."""
    poll_secs = options.poll_secs
    with running(folder, options.place, TOKENIZATION_POLLING_INTERVAL_SECS=poll_secs) as node:
        node.register()
        count = round(options.rate * options.seconds)
        pace = ("--rate", options.rate, "--seconds", options.seconds)
        handed_in = node.load(count, 1, *pace, "--connections", LATENCY_CONNECTIONS)
        _await_minted(node, count, perf_counter())
        metrics = node.metrics()
        print(
            f"{options.rate:g} readings/s for {options.seconds:g} s, a poll every {poll_secs:g} s; answers: p50 "
            f"{handed_in['p50_ms']} ms, p99 {handed_in['p99_ms']} ms"
        )
        for commitment in ("confirmed", "finalized"):
            print(f"{commitment}: {_percentiles(metrics, commitment)}")
        node.demand_supply()
    seconds = asyncio.run(times_of_minted(folder))
    marks = {percent: seconds[len(seconds) * percent // 100] for percent in (50, 95, 99)}
    print(f"final, each reading as it is stored: {marks} s; longest {seconds[-1]} s")


def _percentiles(metrics: dict[str, float], commitment: str) -> str:
    """The buckets that hold what was seen: each bound with the share of readings within it."""
    pattern = re.compile(r'metawatt_minting_seconds_bucket\{commitment="(\w+)",le="([^"]+)"\}')
    found = {
        match[2]: value
        for name, value in metrics.items()
        if (match := pattern.fullmatch(name)) and match[1] == commitment
    }
    total = found["+Inf"]
    shares = {bound: value / total for bound, value in found.items() if bound != "+Inf"}
    return ", ".join(f"within {bound} s {share:.2%}" for bound, share in shares.items() if share > 0)


# Growth


def growth(options: argparse.Namespace, folder: Path) -> None:
    """Nodes that differ in what is stored, measured in turn; auto-mint is off."""
    stored = {f"{size:,}": size for size in (options.small, options.large)}
    for name, size in stored.items():
        began = perf_counter()
        asyncio.run(fill(folder / name.replace(",", ""), size))
        print(
            f"filled through the store's port: {name} minted readings in {perf_counter() - began:.0f} s", flush=True
        )
    with ExitStack() as stack:
        nodes = {
            name: stack.enter_context(running(folder / name.replace(",", ""), TOKENIZATION_AUTO_MINT_ENABLED=False))
            for name in stored
        }
        found: dict[tuple[str, str], list[float]] = {}
        for node in nodes.values():
            node.register()
            node.load(1000, 1)
        for number in range(options.rounds):
            for name in list(nodes)[:: 1 if number % 2 == 0 else -1]:
                for what, value in _growth_round(nodes[name], options).items():
                    found.setdefault((what, name), []).append(value)
        print(f"| | {' | '.join(nodes)} | ratio |\n| --- | --- | --- | --- |")
        for what in dict.fromkeys(what for what, _ in found):
            few, many = (median(found[what, name]) for name in nodes)
            print(f"| {what} | {few:,.1f} | {many:,.1f} | {many / few:.2f} |")
        for name, node in nodes.items():
            started = f"started in {node.server.started_secs:.2f} s"
            print(f"resident with {name}: {node.server.resident_mib:.0f} MiB; {started}")
            node.demand_supply()
    for name in stored:
        first, again = asyncio.run(figures_ms(folder / name.replace(",", "")))
        print(f"the counts of /metrics with {name}: first {first:.1f} ms, then {again:.1f} ms")


def _growth_round(node: MeteringNode, options: argparse.Namespace) -> dict[str, float]:
    single = node.load(options.count, 1)
    many = node.load(options.count, BATCH, "--connections", 4)
    return {
        "single, readings/s": single["readings"],
        "single, CPU µs": single["cpu_us"],
        "batches, readings/s": many["readings"],
        "batches, CPU µs": many["cpu_us"],
        **_mint_all(node),
    }


def _mint_all(node: MeteringNode) -> dict[str, float]:
    """Mint what was handed in by a poll that is asked for, and ask for another one, which finds nothing."""
    left, cpu, began = node.sent - node.minted()["final"], node.cpu_secs, perf_counter()
    node.trigger()
    polled = perf_counter() - began
    while node.minted()["final"] < node.sent:
        sleep(0.5)
    spent_us = (node.cpu_secs - cpu) / left * 1e6
    began = perf_counter()
    node.trigger()
    return {
        "a poll, ms a reading": polled / left * 1000,
        "minted, seen and final, CPU µs a reading": spent_us,
        "a poll of nothing, ms": (perf_counter() - began) * 1000,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_subparsers(dest="what", required=True)
    for name, run, count in (
        ("intake", intake, 20_000),
        ("backlog", backlog, 100_000),
        ("latency", latency, 0),
        ("growth", growth, 5000),
    ):
        command = what.add_parser(name, help=(run.__doc__ or "").partition("\n")[0])
        command.set_defaults(run=run)
        command.add_argument("--count", type=int, default=count, help="readings (of a round)")
        command.add_argument("--rounds", type=int, default=5)
        command.add_argument("--connections", type=int, default=32)
        command.add_argument("--batch-size", type=int, default=50, help="TOKENIZATION_BATCH_SIZE")
        command.add_argument("--place", choices=("embedded", "separate", "workers"), default="embedded")
        command.add_argument("--rate", type=float, default=500, help="readings a second")
        command.add_argument("--seconds", type=float, default=150)
        command.add_argument("--poll-secs", type=float, default=60)
        command.add_argument("--small", type=int, default=10_000)
        command.add_argument("--large", type=int, default=1_000_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="metawatt-bench-") as folder:
        options.run(options, Path(folder))


if __name__ == "__main__":
    main()
