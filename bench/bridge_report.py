"""The report of bridge campaigns, as Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.bridge_check import UNITS_A_WH, Verdict
from bench.bridge_worker import Kind

_HEAD = (
    "bridge",
    "seed",
    "deposits",
    "issued",
    "locks",
    "released",
    "refunds",
    "held",
    "looks",
    "kills",
    "custody Wh",
    "live Wh",
    "waiting Wh",
    "faults",
    "exact",
)


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one campaign."""

    kind: Kind
    seed: int
    verdict: Verdict
    deaths: Counter[str]
    weather: Counter[str]
    counts: Counter[str]
    secs: float

    @property
    def summary(self) -> str:
        verdict = self.verdict
        told = "exact" if verdict.is_exact else "; ".join(verdict.faults[:3])
        return (
            f"{verdict.deposits} deposits, {verdict.locks} locks, {verdict.held} held, "
            f"{self.deaths.total()} kills, {self.secs:.0f} s: {told}"
        )


def report(results: Sequence[Result]) -> str:
    """Tables of results, and sums of what was done to them."""
    lines = ["| " + " | ".join(_HEAD) + " |", "| --- " * len(_HEAD) + "|", *map(_row, results), ""]
    lines += _sums("Kills, by where", (each.deaths for each in results))
    lines += _sums("Weather", (each.weather for each in results))
    lines += _sums("Done by households and the rogue", (each.counts for each in results))
    lines += _sums("Held, by reason", (each.verdict.holds for each in results))
    lines += _sums("Faults", (each.verdict.kinds for each in results))
    return "\n".join(lines)


def _row(result: Result) -> str:
    verdict = result.verdict
    cells = (
        result.kind,
        result.seed,
        verdict.deposits,
        verdict.issued,
        verdict.locks,
        verdict.released,
        verdict.refunded_in + verdict.refunded_out,
        verdict.held,
        verdict.steps,
        result.deaths.total(),
        f"{verdict.custody_units / UNITS_A_WH:,.6f}".rstrip("0").rstrip("."),
        f"{verdict.live_wh:,}",
        f"{verdict.waiting_units / UNITS_A_WH:,.6f}".rstrip("0").rstrip("."),
        verdict.kinds.total(),
        "yes" if verdict.is_exact else "**no**",
    )
    return "| " + " | ".join(map(str, cells)) + " |"


def _sums(title: str, counters: Iterable[Counter[str]]) -> list[str]:
    total: Counter[str] = sum(counters, Counter())
    told = ", ".join(f"{name} {number:,}" for name, number in sorted(total.items()))
    return [f"{title}: {told or 'none'}.", ""]
