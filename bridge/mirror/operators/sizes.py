"""What there is of the mirror at one moment, counted in the store by whichever process is asked.

It is counted over the index of what is open: a message that has ended costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Final

from bridge.mirror.alarms import Alarm, standing
from bridge.mirror.book import HEAD, head_of
from bridge.mirror.message import UNITS_PER_WH
from bridge.mirror.pauses import Pauses
from bridge.mirror.records import COMMANDS, MESSAGES, MIRROR
from bridge.mirror.states import Direction, State
from overlay.clock import NowMs
from store.port import Find, Store

_FRESH_SECS: Final = 5.0
# Counting may take one part in so many of the time.
_SHARE: Final = 50
_SAMPLE: Final = 1000


@dataclass(frozen=True, slots=True)
class Queue:
    """Messages of one direction that are open, in one state."""

    direction: Direction
    state: State
    messages: int
    wh: int


@dataclass(frozen=True, slots=True)
class MirrorFigures:
    """What there is at one moment. `queues` has only what is not empty; `oldest_secs` is the age of each
    direction's oldest message that is neither ended nor held; `alarms` has how many of each kind stand."""

    queues: tuple[Queue, ...]
    oldest_secs: Mapping[Direction, float]
    paused: Mapping[Direction, bool]
    alarms: Mapping[Alarm, int]
    entries: int
    commands: int

    @property
    def held(self) -> dict[Direction, int]:
        """Messages that wait for a person, by direction."""
        found = dict.fromkeys(Direction, 0)
        for queue in self.queues:
            if queue.state is State.HELD:
                found[queue.direction] += queue.messages
        return found


class MirrorMeasuring:
    """Counts when it is asked, at most every five seconds, and more rarely where counting takes long."""

    def __init__(self, store: Store, now_ms: NowMs, clock_secs: Callable[[], float] = monotonic) -> None:
        self._store = store
        self._pauses = Pauses(store)
        self._now_ms = now_ms
        self._clock_secs = clock_secs
        self._figures: MirrorFigures | None = None
        self._fresh_until_secs = 0.0

    async def figures(self) -> MirrorFigures:
        """Those of a moment ago, or new ones."""
        if self._figures is None or self._clock_secs() >= self._fresh_until_secs:
            began_secs = self._clock_secs()
            self._figures = await measured(self._store, self._pauses, self._now_ms())
            ended_secs = self._clock_secs()
            self._fresh_until_secs = ended_secs + max(_FRESH_SECS, _SHARE * (ended_secs - began_secs))
        return self._figures


async def measured(store: Store, pauses: Pauses, now_ms: int) -> MirrorFigures:
    """The figures of now."""
    queues = await _queues(store)
    head = head_of(await store.get(MIRROR, HEAD))
    paused = await pauses.all()
    return MirrorFigures(
        queues=queues,
        oldest_secs=await _oldest_secs(store, now_ms),
        paused={each: each in paused for each in Direction},
        alarms=await _alarms(store),
        entries=head.number,
        commands=await store.count(COMMANDS, Find("open")),
    )


async def _alarms(store: Store) -> dict[Alarm, int]:
    counts = dict.fromkeys(Alarm, 0)
    for row in await standing(store):
        counts[Alarm(row["alarm"])] += 1
    return counts


async def _queues(store: Store) -> tuple[Queue, ...]:
    rows = await store.aggregate(MESSAGES, Find("open"), ("direction", "state"), "units")
    return tuple(
        Queue(Direction(str(row.group[0])), State(str(row.group[1])), row.count, row.total // UNITS_PER_WH)
        for row in rows
    )


async def _oldest_secs(store: Store, now_ms: int) -> dict[Direction, float]:
    """Among the oldest that are open: behind so many that are held, nobody looks."""
    found = dict.fromkeys(Direction, 0.0)
    page = await store.find(MESSAGES, Find("open", lower=0, limit=_SAMPLE))
    for row in reversed(page.documents):
        if row["state"] != State.HELD:
            found[Direction(row["direction"])] = max(0, now_ms - row["open_ms"]) / 1000
    return found
