"""Figures of a run of the bridge, from the node's own rows of messages, and from what its processes used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from bridge.mirror.message import Message
from bridge.mirror.records import MESSAGES
from bridge.mirror.states import Direction, State
from store.pages import pages
from store.port import Find, Reader

_EDGE: Final = 10
"""The first and the last part of so many of a run are left out of its rates."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one direction's messages of a run. Rates are those of the middle 80 percent, in messages a second; times
    are from the source's finality until the destination was sent."""

    direction: Direction
    messages: int
    receipted: int
    sent_rate: float
    ended_rate: float
    p50_ms: int
    p95_ms: int
    p99_ms: int
    per_bsv: float
    per_solana: float
    certificates: int

    def row(self) -> str:
        return (
            f"| {self.direction} | {self.messages:,} | {self.receipted:,} | {self.sent_rate:.0f} | "
            f"{self.ended_rate:.0f} | {self.p50_ms:,} | {self.p95_ms:,} | {self.p99_ms:,} | {self.per_bsv:.1f} | "
            f"{self.per_solana:.2f} |"
        )


HEADER: Final = (
    "| way | messages | receipted | sent/s | receipted/s | p50 ms | p95 ms | p99 ms | "
    "certificates a BSV transaction | messages a Solana transaction |\n" + "| --- " * 10 + "|"
)


async def messages_since(reader: Reader, began_ms: int) -> list[Message]:
    """Those that came into being since then."""
    found: list[Message] = []
    async for rows in pages(reader, MESSAGES, Find("seq", descending=True)):
        fresh = [Message.read(row) for row in rows if row["created_ms"] >= began_ms]
        found += fresh
        if not fresh:
            break
    return found


def figures(direction: Direction, messages: Sequence[Message]) -> Figures:
    own = [each for each in messages if each.direction is direction]
    waits = sorted(each.sent_ms - each.final_ms for each in own if each.sent_ms and each.final_ms)
    issuances = [each.facts.get("issuances", ()) for each in own]
    is_in = direction is Direction.IN
    on_bsv = {each.destination_tx if is_in else each.facts.get("completion") for each in own} - {None}
    on_solana = {each.source_tx if is_in else each.destination_tx for each in own} - {None}
    certificates = sum(map(len, issuances)) if is_in else len(own)
    return Figures(
        direction,
        len(own),
        sum(each.state is State.RECEIPTED for each in own),
        _rate([each.sent_ms for each in own if each.sent_ms]),
        _rate([each.ended_ms for each in own if each.ended_ms]),
        _percentile(waits, 50),
        _percentile(waits, 95),
        _percentile(waits, 99),
        certificates / max(1, len(on_bsv)),
        len(own) / max(1, len(on_solana)),
        certificates,
    )


def _percentile(ordered: Sequence[int], percent: int) -> int:
    return ordered[len(ordered) * percent // 100] if ordered else 0


def _rate(times_ms: Sequence[int]) -> float:
    """Of the middle of a run: how it begins and ends tells of the run's edges."""
    ordered = sorted(times_ms)
    cut = len(ordered) // _EDGE
    middle = ordered[cut : len(ordered) - cut]
    if len(middle) < 2 or middle[-1] == middle[0]:
        return 0.0
    return (len(middle) - 1) * 1000 / (middle[-1] - middle[0])


def states(messages: Sequence[Message]) -> Mapping[str, int]:
    """How many are where, and of the held ones why."""
    found: dict[str, int] = {}
    for each in messages:
        name = each.state.value if each.reason is None else f"{each.state.value} {each.reason.code.value}"
        found[name] = found.get(name, 0) + 1
    return found


def cpu_us(before: Mapping[str, float], after: Mapping[str, float], messages: int) -> dict[str, Any]:
    """Microseconds of a processor for a message, by process."""
    return {name: round((after[name] - before[name]) / max(1, messages) * 1e6) for name in after}
