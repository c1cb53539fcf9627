"""`/submit`: the node against the TypeScript peer, in interleaved rounds.

    python -m bench.submit [--rounds 5] [--seconds 4] [--storage URI | --mongodb-wire] [--without-peer]

Distinct BEEFs of a mined parent and a child with one certificate output, 16 connections, full SPV and
scripts on both sides. Then the node alone at half the rate that it reached, in an open loop.
"""

from __future__ import annotations

import argparse
import tempfile
from contextlib import ExitStack
from pathlib import Path

from bench import servers
from bench.corpus import Corpus, Part, make_corpus
from bench.rounds import Submissions, interleave, median_of, table

MOST_RATE = {"node": 12_000, "peer": 2_000}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--count", type=int, default=200_000, help="submissions to prepare")
    parser.add_argument("--corpus", type=Path, help="a folder with a corpus that has a part `first`")
    parser.add_argument("--storage", help="the node's storage URI; default: its embedded SQLite")
    parser.add_argument("--mongodb-wire", action="store_true", help="store in a MongoDB-wire server made for this")
    parser.add_argument("--without-peer", action="store_true")
    parser.add_argument("--verify-issuer", action="store_true", help="let the peer check issuers' signatures too")
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        corpus = Corpus(options.corpus) if options.corpus else make_corpus(folder, [Part("first", options.count)])
        headers = stack.enter_context(servers.headers_service(corpus))
        storage = options.storage
        if options.mongodb_wire:
            storage = stack.enter_context(servers.mongodb_wire(folder / "mongodb"))
        node = stack.enter_context(servers.node(corpus, headers, folder / "node", storage))
        rivals = [node]
        if not options.without_peer:
            arguments = ["--verify-issuer"] if options.verify_issuer else []
            rivals.append(stack.enter_context(servers.peer(corpus, folder / "peer", arguments)))
        submissions = Submissions(corpus, "first")
        seconds = options.seconds
        results = interleave(
            rivals,
            options.rounds,
            lambda server: submissions.run(server, seconds, int(MOST_RATE[server.name] * seconds)),
        )
        half = median_of(results["node"], "rate") / 2
        relaxed = interleave(
            [node], 3, lambda server: submissions.run(server, seconds, int(half * seconds) + 1, half)
        )
        print(table("/submit, closed loop, 16 connections", results))
        print(table(f"/submit, node, open loop at {half:,.0f} a second", relaxed))
        print(f"\nnode: {node.resident_mib:.0f} MiB resident")


if __name__ == "__main__":
    main()
