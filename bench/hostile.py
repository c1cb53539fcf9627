"""A hostile mix against the node, while honest submissions go on at a steady rate.

    python -m bench.hostile [--seconds 20] [--rate 200] [--only deep_chain,diamonds] [--connections 2]

Each attack keeps `--connections` connections busy, all attacks at once; one of them sends bodies byte by byte.
What counts is how the honest ones fare: p99 under 250 ms is the aim.
"""

from __future__ import annotations

import argparse
import socket
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack
from itertools import chain, islice
from multiprocessing import Manager
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
PREPARED_BYTES = 40_000_000
MOST_PREPARED = 3_000


def attack(
    port: int, folder: Path, names: list[str], connections: int, seconds: float, ready: Event
) -> dict[str, Any]:
    """Run attacks side by side, in a process of its own; what the node answered to each. `ready` is set when
    the first bodies are made, so that making them does not take the node's processor time."""
    beefs = list(Corpus(folder).submissions("hostile"))
    streams = [ATTACKS[name](iter(beefs[number :: len(names)])) for number, name in enumerate(names)]
    prepared = [prepare(stream) for stream in streams]
    ready.set()

    def run(number: int) -> dict[str, Any]:
        bodies = chain(prepared[number], streams[number])
        return Load(("127.0.0.1", port), connections).closed(map(submit_request, bodies), seconds).to_json()

    with ThreadPoolExecutor(len(names)) as threads:
        return dict(zip(names, threads.map(run, range(len(names))), strict=True))


def prepare(stream: Iterator[bytes]) -> list[bytes]:
    """The first bodies of an attack, as many as a bounded memory holds."""
    bodies: list[bytes] = []
    size = 0
    for body in islice(stream, MOST_PREPARED):
        bodies.append(body)
        size += len(body)
        if size > PREPARED_BYTES:
            break
    return bodies


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
    parser.add_argument("--connections", type=int, default=2, help="for each attack")
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
    stop, seconds = Event(), options.seconds
    loud = [name for name in names if name != "slow"]
    with (
        Manager() as manager,
        ProcessPoolExecutor(1) as pool,
        ThreadPoolExecutor(options.connections + 1) as threads,
    ):
        attacks, ready = None, manager.Event()
        if loud:
            given = (node.port, corpus.folder, loud, options.connections, seconds, ready)
            attacks = pool.submit(attack, *given)
            while not ready.wait(SAMPLE_SECS) and not attacks.done():
                pass
        memory = threads.submit(watch_memory, node, stop)
        slow = [threads.submit(slow_body, node.port, stop) for _ in range(options.connections * ("slow" in names))]
        honest = submissions.run(node, seconds, int(options.rate * seconds) + 1, options.rate)
        stop.set()
        given_up = sum(task.result() for task in slow)
        most_mib = memory.result()
        answers = attacks.result() if attacks else {}
    verdict = "within" if honest["p99_ms"] < AIM_P99_MS else "OVER"
    marks = ", ".join(f"{mark} {honest[f'{mark}_ms']} ms" for mark in ("p50", "p99", "max"))
    print(f"\n{' '.join(names)}:")
    print(f"  honest: {honest['ok']} of {honest['sent']}, errors {honest['errors'] or 'none'}")
    print(f"  {marks}: {verdict} {AIM_P99_MS} ms")
    for name, answer in answers.items():
        print(f"  {name}: {answer['ok']} taken, refused {answer['errors']}, cut off {answer['broken']}")
    if slow:
        print(f"  slow bodies that the node gave up: {given_up}")
    print(f"  most resident memory: {most_mib:.0f} MiB")


if __name__ == "__main__":
    main()
