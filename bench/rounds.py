"""Interleaved rounds: each server in turn, over and over, so that what disturbs the machine disturbs all."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

from bench.corpus import Corpus
from bench.servers import Server

Measure = Callable[[Server], dict[str, Any]]


def run_load(*arguments: object) -> dict[str, Any]:
    """`python -m bench.load …` in a process of its own; its answer."""
    command = [sys.executable, "-m", "bench.load", *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(done.stdout))


class Submissions:
    """Feeds each server the submissions of a part, none twice."""

    def __init__(self, corpus: Corpus, part: str, connections: int = 16) -> None:
        self._corpus = corpus
        self._part = part
        self._connections = connections
        self._used: dict[str, int] = {}

    def run(self, server: Server, seconds: float, most: int, rate: float | None = None) -> dict[str, Any]:
        used = self._used.get(server.name, 0)
        arguments: list[object] = ["submit", server.url, self._corpus.folder, self._part]
        arguments += ["--skip", used, "--most", most, "--seconds", seconds, "--connections", self._connections]
        if rate is not None:
            arguments += ["--rate", rate]
        result = run_load(*arguments)
        self._used[server.name] = used + result["sent"]
        if result["errors"] or result["broken"] or result["admitted"] != result["ok"]:
            print(f"  {server.name}: not all well: {result}", file=sys.stderr)
        return result


def lookups(server: Server, seconds: float, rate: float | None = None, connections: int = 16) -> dict[str, Any]:
    """Lookups of 20 outputs, aggregated."""
    arguments: list[object] = ["lookup", server.url, "--seconds", seconds, "--connections", connections]
    if rate is not None:
        arguments += ["--rate", rate]
    return run_load(*arguments)


def interleave(servers: Sequence[Server], rounds: int, measure: Measure) -> dict[str, list[dict[str, Any]]]:
    """The results of `rounds` rounds by server; every other round goes the other way round."""
    results: dict[str, list[dict[str, Any]]] = {server.name: [] for server in servers}
    for number in range(rounds):
        for server in servers if number % 2 == 0 else reversed(servers):
            before = server.cpu_secs
            result = measure(server)
            result["cpu_us"] = (server.cpu_secs - before) / max(1, result["ok"]) * 1e6
            results[server.name].append(result)
            print(f"  round {number + 1}, {server.name}: {result['rate']:,.0f} a second, p99 {result['p99_ms']} ms")
    return results


def median_of(results: Sequence[dict[str, Any]], what: str) -> float:
    return float(median(result[what] for result in results))


def table(title: str, results: dict[str, list[dict[str, Any]]]) -> str:
    """Medians by server, and how the first compares with the second."""
    columns = ("p50_ms", "p90_ms", "p99_ms", "max_ms", "cpu_us")
    lines = [f"\n{title}", "| | req/s | p50 ms | p90 ms | p99 ms | max ms | CPU µs a request |", "| --- " * 7 + "|"]
    for name, rounds in results.items():
        marks = [f"{median_of(rounds, column):,.2f}" for column in columns if column in rounds[0]]
        lines.append(f"| {name} | {median_of(rounds, 'rate'):,.0f} | {' | '.join(marks)} |")
    rates = [median_of(rounds, "rate") for rounds in results.values()]
    if len(rates) == 2 and rates[1]:
        lines.append(f"\nratio of the medians: {rates[0] / rates[1]:.2f}")
    return "\n".join(lines)
