"""Counts and times of the minter: plain numbers of one process; what is stored is counted in the store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final

from overlay.measure import Histogram
from store.port import Document

LATENCY_BUCKETS_SECS: Final = (0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 90.0, 120.0, 180.0, 300.0, 900.0, 3600.0)


class MintingMeasures:
    """`readings` by what became of them: signed, minted, found (of those, by a transaction that was looked up),
    failed, dead, again, put_off, held. `transactions` by what happened: signed, sent, resent, refused, unanswered,
    final, failed, expired. `rounds` by their end: done, put_off, failed, lost. `units` minted. Times from a
    reading's submission until its transaction was seen confirmed, and final."""

    def __init__(self) -> None:
        self.readings: Counter[str] = Counter()
        self.transactions: Counter[str] = Counter()
        self.rounds: Counter[str] = Counter()
        self.units = 0
        self.confirmed_secs = Histogram(LATENCY_BUCKETS_SECS)
        self.final_secs = Histogram(LATENCY_BUCKETS_SECS)

    def confirmed(self, rows: Iterable[Document], now_ms: int) -> None:
        for row in rows:
            self.confirmed_secs.observe(_age_secs(row, now_ms))

    def minted(self, rows: Iterable[Document], now_ms: int) -> None:
        for row in rows:
            self.readings["minted"] += 1
            self.units += row["units"]
            self.final_secs.observe(_age_secs(row, now_ms))


def _age_secs(row: Document, now_ms: int) -> float:
    submitted_ms: int = row["submitted_ms"]
    return max(0, now_ms - submitted_ms) / 1000
