"""Counts and times of the engine: plain numbers, cheap to bump on the way of a submission.

The api room reads them when it is scraped; nothing here knows of Prometheus.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from time import perf_counter
from typing import Final

from overlay.steak import Steak, TopicResult

BUCKETS_SECS: Final = (
    0.0001,
    0.00025,
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
)


class Histogram:
    """How often a time fell below each of `bounds_secs`, and their sum."""

    __slots__ = ("bounds_secs", "counts", "total_secs")

    def __init__(self, bounds_secs: Sequence[float] = BUCKETS_SECS) -> None:
        self.bounds_secs = bounds_secs
        self.counts = [0] * (len(bounds_secs) + 1)
        self.total_secs = 0.0

    def observe(self, secs: float) -> None:
        self.counts[bisect_left(self.bounds_secs, secs)] += 1
        self.total_secs += secs


class Measures:
    """`submissions` by (topic, outcome), where an outcome is admitted, spent, irrelevant, failed or repeated;
    `refusals` by error code; `events` by name (broadcast, proof, evicted, reorg…); `stages` by name."""

    def __init__(self) -> None:
        self.submissions: Counter[tuple[str, str]] = Counter()
        self.refusals: Counter[str] = Counter()
        self.events: Counter[str] = Counter()
        self.stages = {name: Histogram() for name in ("parse", "read", "verify", "judge", "commit", "total")}

    def lap(self, stage: str, since: float) -> float:
        """Record a stage that began at `since` (`perf_counter`), and tell the time now."""
        now = perf_counter()
        self.stages[stage].observe(now - since)
        return now

    def repeated(self, topics: Iterable[str]) -> None:
        """Count a submission that was answered from its receipts."""
        for topic in topics:
            self.submissions[topic, "repeated"] += 1

    def judged(self, results: Steak) -> None:
        """Count what each topic made of a submission."""
        for topic, result in results.items():
            self.submissions[topic, outcome(result)] += 1


def outcome(result: TopicResult) -> str:
    """One word for a topic's result."""
    if result.failed is not None:
        return "failed"
    if result.outputs_to_admit:
        return "admitted"
    return "spent" if result.relevant else "irrelevant"
