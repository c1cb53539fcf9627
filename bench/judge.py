"""Microseconds to read and to judge one certificate: `python bench/judge.py`.

Every figure is the best of many short rounds on one core. "Fresh" means that nothing is remembered: the script
is decoded, the issuer's key derived and the signature verified, as for every new issuance.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

from certificates.canonical import canonical
from certificates.document import parse_object
from certificates.policy import Issuer, Policy
from certificates.token import Token, decode_fields
from overlay import pushdrop
from overlay.topic import Coin, Submission
from overlay.transaction import Input, Output, Transaction, txid_from_hex
from topics import keychain
from topics.certificates import CertificateTopic, read_script
from topics.names import certificate_topic

VECTORS = json.loads((Path(__file__).parents[1] / "tests/certificates/vectors.json").read_text())
VECTOR = VECTORS["tokens"][0]
SCRIPT = bytes.fromhex(VECTOR["script"])
POLICY = Policy((Issuer(bytes.fromhex(VECTORS["keys"]["issuer"]), "Example"),))


def micros(work: Callable[[], object], rounds: int, runs: int) -> float:
    """Best round, in microseconds a run."""
    best = float("inf")
    for _ in range(rounds):
        started = perf_counter()
        for _ in range(runs):
            work()
        best = min(best, perf_counter() - started)
    return best / runs * 1e6


def issuance() -> Submission:
    funding = VECTOR["funding"]
    spent = Input(txid_from_hex(funding["txid"]), funding["vout"], b"", 0xFFFFFFFF)
    return Submission("tm_metawatt_gc", Transaction(bytes(32), b"", 1, (spent,), (Output(1, SCRIPT),), 0))


def transfer() -> Submission:
    return Submission("tm_metawatt_gc", issuance().transaction, (Coin(0, bytes(32), 0, 1, SCRIPT),))


def forget() -> None:
    read_script.cache_clear()
    keychain.forget()


def judged(topics: list[CertificateTopic], submission: Submission) -> Callable[[], object]:
    async def judge() -> None:
        for topic in topics:
            await topic.judge(submission)

    def run() -> None:
        forget()
        try:
            judge().send(None)
        except StopIteration:
            return

    return run


def measure(rounds: int, runs: int) -> dict[str, float]:
    """Figures by name."""
    script = pushdrop.decode(SCRIPT)
    assert script is not None
    token = decode_fields(script.locking_key, script.fields)
    assert isinstance(token, Token)
    document = parse_object(script.fields[0])
    one = CertificateTopic(certificate_topic(), POLICY)
    four = [one, *(CertificateTopic(certificate_topic(*each), POLICY) for each in PAIRS)]
    assert asyncio.run(one.judge(issuance())).outputs_to_admit == (0,)
    assert asyncio.run(one.judge(transfer())).coins_to_retain == (0,)
    works: dict[str, Callable[[], object]] = {
        "pushdrop.decode": lambda: pushdrop.decode(SCRIPT),
        "decode_fields": lambda: decode_fields(script.locking_key, script.fields),
        "canonical of f0": lambda: canonical(document),
        "judge a fresh issuance": judged([one], issuance()),
        "judge a fresh issuance in 4 topics": judged(four, issuance()),
        "judge a fresh transfer": judged([one], transfer()),
    }
    return {name: micros(work, rounds, runs) for name, work in works.items()}


PAIRS = (("solar_pv", None), (None, "de"), ("solar_pv", "de"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=150)
    parser.add_argument("--runs", type=int, default=50)
    options = parser.parse_args()
    for name, figure in measure(options.rounds, options.runs).items():
        print(f"{name:<36}{figure:8.1f} µs")


if __name__ == "__main__":
    main()
