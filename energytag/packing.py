"""Packing: the pieces of several plans, cut into runs, each of which fits one transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from energytag.actions import Action
from energytag.plan import Issue, Move, Notice, Piece, Plan

Topics: TypeAlias = Callable[[Piece], frozenset[str]]
"""The topics that the outputs of a piece are offered to."""


@dataclass(slots=True)
class Planned:
    """An action and its plan. `pieces` are what is left to do of it, each with its number in the plan; some may
    be done when it is `resumed`. `runs` counts the transactions that they were packed into; `resolved` is what
    the action becomes with a transaction that does all of it."""

    action: Action
    plan: Plan
    pieces: Sequence[tuple[int, Piece]]
    resumed: bool = False
    runs: int = 0
    resolved: Action | None = None

    @property
    def is_whole(self) -> bool:
        """Whether one transaction does all of the action."""
        return self.runs == 1 and not self.resumed


@dataclass(slots=True)
class Share:
    """What one run does of one action: `pieces` with consecutive numbers from `first`."""

    planned: Planned
    first: int
    pieces: list[Piece] = field(default_factory=list)


@dataclass(slots=True)
class Run:
    """What goes into one transaction."""

    shares: list[Share] = field(default_factory=list)
    outputs: int = 0
    topics: frozenset[str] = frozenset()

    @property
    def pieces(self) -> list[Piece]:
        return [piece for share in self.shares for piece in share.pieces]

    def add(self, planned: Planned, number: int, piece: Piece, topics: frozenset[str]) -> None:
        last = self.shares[-1] if self.shares else None
        if last is None or last.planned is not planned or last.first + len(last.pieces) != number:
            last = Share(planned, number)
            self.shares.append(last)
            planned.runs += 1
        last.pieces.append(piece)
        self.outputs += piece.outputs
        self.topics |= topics


def pack(planned: Iterable[Planned], topics_of: Topics, most_outputs: int, most_topics: int) -> list[Run]:
    """Runs of at most so many outputs and topics, in order. A piece of more outputs has a run of its own."""
    runs: list[Run] = []
    run = Run()
    for each in planned:
        for number, piece in each.pieces:
            topics = topics_of(piece)
            full = run.outputs + piece.outputs > most_outputs or len(run.topics | topics) > most_topics
            if run.shares and full:
                runs.append(run)
                run = Run()
            run.add(each, number, piece, topics)
    return [*runs, run] if run.shares else runs


def origin_of(piece: Piece) -> tuple[str, str]:
    """Energy source and country of the certificates that a piece is about."""
    match piece:
        case Issue(draft=draft):
            found = draft.attributes
        case Move(holding=holding):
            found = holding.token.bundle.attributes
        case Notice(token=token):
            found = token.bundle.attributes
    return str(found["energy_source"]), str(found["country_of_issuance"])
