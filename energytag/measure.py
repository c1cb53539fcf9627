"""Counts, times and depths of the registry: plain numbers, cheap to bump while actions are carried out.

The api room reads them when it is scraped; nothing here knows of Prometheus.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from energytag.actions import Action
from energytag.delivery import DELIVERIES
from energytag.plan import Issue, Piece
from energytag.records import ACTIONS
from energytag.recurring import RECURRING
from overlay.measure import Histogram
from store.port import Find, Reader

ACTION_BUCKETS_SECS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)


class RegistryMeasures:
    """What one process has done. `actions` by (kind, final state); `seconds` from received to that state;
    `set_aside` those that an operator must look at, `undone` those whose transaction was evicted afterwards;
    `transactions` with the registry's tokens, and `bundles_issued` in them, private ones too."""

    def __init__(self) -> None:
        self.actions: Counter[tuple[str, str]] = Counter()
        self.seconds = Histogram(ACTION_BUCKETS_SECS)
        self.set_aside = 0
        self.undone = 0
        self.transactions = 0
        self.bundles_issued = 0

    def settled(self, action: Action) -> None:
        """Count an action that the queue is done with, unless it waits for a wallet's signature."""
        self.set_aside += action.is_set_aside
        if action.state.is_final and action.completed_ms is not None:
            self.actions[action.kind.value, action.state.value] += 1
            self.seconds.observe(max(0, action.completed_ms - action.requested_ms) / 1000)

    def signed(self, action: Action) -> None:
        """Count an action, and the transaction that a user's wallet has signed for it."""
        self.transactions += 1
        self.settled(action)

    def sent(self, pieces: Iterable[Piece]) -> None:
        """Count a transaction that is committed."""
        self.transactions += 1
        self.bundles_issued += sum(isinstance(piece, Issue) for piece in pieces)


@dataclass(frozen=True, slots=True)
class Backlog:
    """What the registry has before it, whichever process does it: actions in the queue and the age of the oldest,
    outputs that users' wallets have not acknowledged, recurring actions that are due."""

    actions: int
    oldest_ms: int
    deliveries: int
    recurring_due: int


async def backlog(reader: Reader, now_ms: int) -> Backlog:
    """The backlog as it is stored."""
    return Backlog(
        await reader.count(ACTIONS, Find("queued", {"queued": 1})),
        await oldest_ms(reader, now_ms),
        await reader.count(DELIVERIES, Find("waiting")),
        await reader.count(RECURRING, Find("due", upper=now_ms + 1)),
    )


async def oldest_ms(reader: Reader, now_ms: int) -> int:
    """The age of the action that has been in the queue longest, 0 when there is none."""
    page = await reader.find(ACTIONS, Find("queued", {"queued": 1}, limit=1))
    return max((max(0, now_ms - row["requested_ms"]) for row in page.documents), default=0)
