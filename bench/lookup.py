"""`/lookup`: 20 outputs with their proofs, aggregated: the node against the TypeScript peer.

    python -m bench.lookup [--rounds 5] [--seconds 4] [--stored 5000]

Both servers are given the same certificates first. A question is for a source and a country; there are
fifteen such pairs, asked in turn over 16 connections.
"""

from __future__ import annotations

import argparse
import tempfile
from contextlib import ExitStack
from pathlib import Path

from bench import servers
from bench.corpus import Corpus, Part, make_corpus
from bench.rounds import Submissions, interleave, lookups, median_of, table

FILL_SECS = 300


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--stored", type=int, default=5_000, help="certificates that both hold")
    parser.add_argument("--corpus", type=Path, help="a folder with a corpus that has a part `first`")
    parser.add_argument("--storage", help="the node's storage URI; default: its embedded SQLite")
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        corpus = Corpus(options.corpus) if options.corpus else make_corpus(folder, [Part("first", options.stored)])
        headers = stack.enter_context(servers.headers_service(corpus))
        node = stack.enter_context(servers.node(corpus, headers, folder / "node", options.storage))
        peer = stack.enter_context(servers.peer(corpus, folder / "peer"))
        for server in (node, peer):
            filled = Submissions(corpus, "first").run(server, FILL_SECS, options.stored)
            print(f"  {server.name}: {filled['admitted']:,} certificates stored")
        results = interleave([node, peer], options.rounds, lambda server: lookups(server, options.seconds))
        half = median_of(results["node"], "rate") / 2
        relaxed = interleave([node], 3, lambda server: lookups(server, options.seconds, half))
        print(table("/lookup of 20 outputs, aggregated, closed loop, 16 connections", results))
        print(table(f"/lookup, node, open loop at {half:,.0f} a second", relaxed))
        for name, rounds in results.items():
            mean = sum(r["answer_bytes"] for r in rounds) / max(1, sum(r["ok"] for r in rounds))
            print(f"{name}: an answer is {mean:,.0f} bytes")


if __name__ == "__main__":
    main()
