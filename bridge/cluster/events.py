"""What the cluster tells those who subscribe, on the event loop, in order, and before `send` answers.

A transaction is told once, when it lands (processed); who wants it at a later commitment waits for the
`SlotOpened` whose `confirmed` or `root` has reached its slot, and asks the cluster whether it is still there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from bridge.cluster.executed import Executed, Forked


@dataclass(frozen=True, slots=True)
class Landed:
    """A transaction landed in the tip's block; `executed.changed` are the accounts that it changed."""

    executed: Executed


@dataclass(frozen=True, slots=True)
class SlotOpened:
    """The tip is a new slot. `parent` is the slot of the block before."""

    slot: int
    parent: int


@dataclass(frozen=True, slots=True)
class Confirmed:
    """Every block up to `slot` is confirmed (and durable), every one up to `root` is final."""

    slot: int
    root: int


@dataclass(frozen=True, slots=True)
class ForkedAway:
    """Blocks were undone; then comes `SlotOpened`, and a `Landed` for each transaction that landed again."""

    forked: Forked


Event: TypeAlias = Landed | SlotOpened | Confirmed | ForkedAway
Listener: TypeAlias = Callable[[Event], None]
