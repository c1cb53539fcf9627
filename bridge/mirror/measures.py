"""Counts and times of the mirror: plain numbers of one process, the one that works."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final

from bridge.mirror.message import Message
from bridge.mirror.states import ENDED, Direction, State
from overlay.measure import Histogram

LATENCY_BUCKETS_SECS: Final = (0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 3600.0, 14400.0)


class MirrorMeasures:
    """`edges` by direction and the state that was reached; `ended_wh` by direction and the state that ended it.
    Times from a source's finality until the destination was sent the first time, and until the end."""

    def __init__(self) -> None:
        self.edges: Counter[tuple[str, str]] = Counter()
        self.ended_wh: Counter[tuple[str, str]] = Counter()
        self.sent_secs = {each.value: Histogram(LATENCY_BUCKETS_SECS) for each in Direction}
        self.ended_secs = {each.value: Histogram(LATENCY_BUCKETS_SECS) for each in Direction}

    def moved(self, steps: Iterable[tuple[Message, State]], now_ms: int) -> None:
        """Steps that were committed: messages as they are now, and the state that each step reached."""
        for message, reached in steps:
            way = message.direction.value
            self.edges[way, reached.value] += 1
            if reached is State.DST_SENT and message.attempt <= 1 and message.final_ms is not None:
                self.sent_secs[way].observe(max(0, now_ms - message.final_ms) / 1000)
            if reached in ENDED:
                self.ended_wh[way, reached.value] += message.wh
                if message.final_ms is not None:
                    self.ended_secs[way].observe(max(0, now_ms - message.final_ms) / 1000)
