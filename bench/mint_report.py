"""A minting campaign's report, in Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from bench.mint_check import Verdict
from bench.mint_processes import AT_RANDOM
from bench.mint_worker import DECIMALS, Kind, Step

_WEATHER: Final = {
    "dropped": "dropped",
    "late": "landed late",
    "lost": "answers lost",
    "denied": '"not found" lies',
    "denied for long": "denied for long",
    "forks": "forks",
    "forked away": "forked away",
    "landed again": "landed again",
}
_WITHOUT: Final = {
    Kind.REAL: "lease",
    Kind.UNMARKED: "lease, marker",
    Kind.UNRECORDED: "lease, record before the send",
    Kind.BARE: "lease, marker, record before the send",
    Kind.NAIVE: "all of it",
    Kind.ALONE: "all of it",
}


@dataclass(frozen=True, slots=True)
class Result:
    """One campaign."""

    kind: Kind
    seed: int
    verdict: Verdict
    deaths: Counter[str]
    weather: Counter[str]
    secs: float

    @property
    def summary(self) -> str:
        verdict = self.verdict
        return (
            f"{verdict.readings} readings, {verdict.double} minted more than once, {verdict.lost} never, "
            f"{'exact' if verdict.is_exact else 'NOT exact'}; {self.deaths.total()} kills, {self.secs:.0f} s"
        )


def report(results: Sequence[Result]) -> str:
    """Tables of what was minted, of what went wrong on purpose, and of deaths; then the first faults found."""
    parts = [_minted(results), _broken(results), _deaths(results), *_faults(results)]
    return "\n\n".join(parts) + "\n"


def _minted(results: Sequence[Result]) -> str:
    head = (
        "worker | without | seed | readings | mints | failed tx | double | lost | wrong | hidden "
        "| supply − owed, tokens | books right | exact"
    )

    def row(each: Result) -> list[str]:
        found = each.verdict
        difference = (found.supply_units - found.owed_units) / 10**DECIMALS
        books = found.readings - found.unfinished - found.misbooked
        counts = [found.readings, found.mints, found.failed_transactions, found.double, found.lost]
        wrong = found.wrong + found.stray + found.unmarked + found.misrecorded
        exact = "yes" if found.is_exact else "**no**"
        return [
            *(each.kind, _WITHOUT[each.kind], str(each.seed), *(f"{count:,}" for count in counts)),
            *(f"{wrong:,}", f"{found.hidden:,}", f"{difference:+,.6f}" if difference else "0", f"{books:,}", exact),
        ]

    return _table(head.split(" | "), map(row, results))


def _broken(results: Sequence[Result]) -> str:
    return _table(["worker", "seed", *_WEATHER.values()], _counts(results, _WEATHER, lambda each: each.weather))


def _deaths(results: Sequence[Result]) -> str:
    steps = [*Step, AT_RANDOM]
    return _table(["kill -9", "seed", *steps], _counts(results, steps, lambda each: each.deaths))


def _counts(
    results: Sequence[Result], names: Sequence[str] | dict[str, str], of: Callable[[Result], Counter[str]]
) -> Iterator[list[str]]:
    for each in results:
        yield [each.kind, str(each.seed), *(f"{of(each)[name]:,}" for name in names)]


def _faults(results: Sequence[Result]) -> Iterator[str]:
    for each in results:
        if each.kind is Kind.REAL and each.verdict.faults:
            lines = "\n".join(f"- {fault}" for fault in each.verdict.faults)
            yield f"Faults of the {each.kind} worker, seed {each.seed}:\n\n{lines}"


def _table(head: Sequence[str], rows: Iterator[list[str]] | map[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
