"""A hostile mix against the node, while honest submissions go on at a steady rate.

    python -m bench.hostile [--seconds 20] [--rate 200] [--only deep_chain,diamonds] [--connections 8]

Attackers keep `--connections` connections busy, each request of another kind, and as many more connections
send a body one byte at a time. What counts is how the honest ones fare: p99 under 250 ms is the aim.
"""

from __future__ import annotations

import argparse
import socket
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack
from itertools import cycle
from pathlib import Path
from threading import Event
from typing import Any

from bench import servers
from bench.attacks import ATTACKS
from bench.corpus import Corpus, Part, make_corpus
from bench.load import Load, submit_request
from bench.rounds import Submissions

SLOW_BYTE_SECS = 0.5
SAMPLE_SECS = 0.2
AIM_P99_MS = 250
RAW_MATERIAL = 20_000


def attack(port: int, folder: Path, names: list[str], connections: int, seconds: float) -> dict[str, Any]:
    """Run a mix of attacks in a process of its own; what the node answered."""
    beefs = Corpus(folder).submissions("hostile")
    mix = cycle([ATTACKS[name](beefs) for name in names])
    requests: Iterator[bytes] = (submit_request(beef) for attack in mix if (beef := next(attack, None)) is not None)
    return Load(("127.0.0.1", port), connections).closed(requests, seconds).to_json()


def slow_body(port: int, stop: Event) -> int:
    """Send a body byte by byte until told to stop; how often the node gave up on it."""
    head = submit_request(bytes(100_000))[:400]
    given_up = 0
    while not stop.is_set():
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.settimeout(SLOW_BYTE_SECS)
            connection.sendall(head)
            given_up += _dribble(connection, stop)
    return given_up


def _dribble(connection: socket.socket, stop: Event) -> bool:
    while not stop.wait(SLOW_BYTE_SECS):
        try:
            connection.sendall(b"\0")
            connection.setblocking(False)
            if connection.recv(1) is not None:
                return True
        except BlockingIOError:
            continue
        except OSError:
            return True
    return False


def watch_memory(server: servers.Server, stop: Event) -> float:
    """The most resident memory seen, in MiB."""
    most = 0.0
    while not stop.wait(SAMPLE_SECS):
        most = max(most, server.resident_mib)
    return most


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rate", type=float, default=200.0, help="honest submissions a second")
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--only", help=f"attacks, of: {', '.join(ATTACKS)}, slow; default: all")
    parser.add_argument("--each", action="store_true", help="one attack after the other instead of the mix")
    options = parser.parse_args()
    names = options.only.split(",") if options.only else [*ATTACKS, "slow"]
    runs = [[name] for name in names] if options.each else [names]
    honest = int(options.rate * options.seconds * (len(runs) + 1)) + 1000
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        corpus = make_corpus(folder, [Part("first", honest), Part("hostile", RAW_MATERIAL)])
        headers = stack.enter_context(servers.headers_service(corpus))
        node = stack.enter_context(servers.node(corpus, headers, folder / "node"))
        submissions = Submissions(corpus, "first")
        alone = submissions.run(node, options.seconds, honest, options.rate)
        print(f"undisturbed: p50 {alone['p50_ms']} ms, p99 {alone['p99_ms']} ms, max {alone['max_ms']} ms")
        for run in runs:
            report(node, corpus, submissions, run, options)


def report(
    node: servers.Server, corpus: Corpus, submissions: Submissions, names: list[str], options: argparse.Namespace
) -> None:
    """Let the attacks of `names` loose, and tell how the honest ones fared."""
    stop = Event()
    loud = [name for name in names if name != "slow"]
    with ProcessPoolExecutor(1) as pool, ThreadPoolExecutor(options.connections + 1) as threads:
        memory = threads.submit(watch_memory, node, stop)
        slow = (
            [threads.submit(slow_body, node.port, stop) for _ in range(options.connections)]
            if "slow" in names
            else []
        )
        seconds = options.seconds
        attacks = (
            pool.submit(attack, node.port, corpus.folder, loud, options.connections, seconds) if loud else None
        )
        honest = submissions.run(node, seconds, int(options.rate * seconds) + 1, options.rate)
        stop.set()
        verdict = "within" if honest["p99_ms"] < AIM_P99_MS else "OVER"
        print(f"\n{' '.join(names)}:")
        print(f"  honest: {honest['ok']} of {honest['sent']}, p50 {honest['p50_ms']} ms, p99 {honest['p99_ms']} ms")
        print(f"  ({verdict} {AIM_P99_MS} ms), max {honest['max_ms']} ms, errors {honest['errors'] or 'none'}")
        if attacks is not None:
            answered = attacks.result()
            print(f"  attackers: {answered['ok']} taken, refused {answered['errors']}, p99 {answered['p99_ms']} ms")
        print(
            f"  slow bodies given up: {sum(task.result() for task in slow)}" if slow else "",
            end="\n" if slow else "",
        )
        print(f"  most resident memory: {memory.result():.0f} MiB")


if __name__ == "__main__":
    main()
