"""Growth: the node with 10,000 outputs against the node with 1,000,000, side by side in interleaved rounds.

    python -m bench.growth [--large 1000000] [--small 10000] [--rounds 5] [--seconds 2] [--keep FOLDER]

Certificates of 400 devices of three sources in five countries, hour by hour, are submitted through the front
door, a hundred to a transaction. Then single submissions and lookups of 20 outputs are measured on both, and
memory; at last the large node is stopped and started again for its start-up time.
"""

from __future__ import annotations

import argparse
import tempfile
from contextlib import ExitStack
from pathlib import Path
from time import perf_counter

from bench import servers
from bench.corpus import Corpus, Part, make_corpus
from bench.rounds import Submissions, interleave, lookups, median_of, table
from bench.servers import Server

BATCH = 100
FILL_SECS = 600
MOST_RATE = 8_000


def fill(server: Server, corpus: Corpus, part: str, count: int) -> None:
    """Submit every submission of a part, in runs of bounded time."""
    submissions = Submissions(corpus, part)
    started, done = perf_counter(), 0
    while done < count and perf_counter() - started < 6 * FILL_SECS:
        result = submissions.run(server, FILL_SECS, min(2_000, count - done))
        done += result["sent"]
        if not result["ok"]:
            raise SystemExit(f"the node takes nothing: {result}")
    seconds = perf_counter() - started
    print(f"  {server.name}: {done * BATCH:,} outputs in {seconds:.0f} s, {server.resident_mib:.0f} MiB resident")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", type=int, default=10_000)
    parser.add_argument("--large", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--keep", type=Path, help="folder for corpus and databases; default: a temporary one")
    options = parser.parse_args()
    small, large = options.small // BATCH, options.large // BATCH
    probes = int(options.rounds * options.seconds * MOST_RATE)
    with ExitStack() as stack:
        folder = options.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        parts = [Part("probe", probes), Part("small", small, BATCH), Part("large", large, BATCH)]
        corpus = make_corpus(folder / "corpus", parts)
        headers = stack.enter_context(servers.headers_service(corpus))
        minor = stack.enter_context(servers.node(corpus, headers, folder / "small"))
        with servers.node(corpus, headers, folder / "large") as major:
            minor.name, major.name = f"{options.small:,}", f"{options.large:,}"
            fill(minor, corpus, "small", small)
            fill(major, corpus, "large", large)
            compare([major, minor], corpus, options.rounds, options.seconds)
            print(f"\nresident with {minor.name}: {minor.resident_mib:.0f} MiB")
            print(f"resident with {major.name}: {major.resident_mib:.0f} MiB")
            with servers.node(corpus, headers, folder / "empty") as empty:
                print(f"start-up with an empty store: {empty.started_secs:.2f} s")
        size = sum(file.stat().st_size for file in (folder / "large").glob("node.db*"))
        with servers.node(corpus, headers, folder / "large") as again:
            print(f"start-up with {options.large:,} outputs: {again.started_secs:.2f} s")
            print(f"resident after that: {again.resident_mib:.0f} MiB; on disk: {size / 2**20:,.0f} MiB")


def compare(nodes: list[Server], corpus: Corpus, rounds: int, seconds: float) -> None:
    """Measure both nodes, and how much slower the large one is."""
    submissions = Submissions(corpus, "probe")
    most = int(seconds * MOST_RATE)
    submitted = interleave(nodes, rounds, lambda server: submissions.run(server, seconds, most))
    looked_up = interleave(nodes, rounds, lambda server: lookups(server, seconds))
    for title, results in (("/submit", submitted), ("/lookup of 20 outputs, aggregated", looked_up)):
        print(table(f"{title}, closed loop, 16 connections", results))
        large, little = (median_of(results[server.name], "rate") for server in nodes)
        print(f"the small node's rate over the large one's: {little / large:.2f}")


if __name__ == "__main__":
    main()
