"""How much may cross in a window: a bucket a direction, refilled steadily, and by what crosses the other way.

A message that finds too little in the bucket waits, and the bucket knows how much waits: who comes later leaves
that much in it, so that those that wait pass in the order in which they came, and none is overtaken for ever by
smaller ones. What passes is taken when it passes: however long messages waited, no more than a full bucket goes at
once. A message of more than the whole bucket needs a full one, and empties it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from bridge.mirror.records import MIRROR
from bridge.mirror.states import Direction
from config.settings import BridgeSettings
from overlay.clock import NowMs
from store.port import Document, Reader

MS_AN_HOUR: Final = 3_600_000


def limit_key(direction: Direction) -> str:
    """The key of a direction's bucket in `records.MIRROR`."""
    return f"limit:{direction.value}"


@dataclass(frozen=True, slots=True)
class Bucket:
    """Immutable. `level` is what is in it at `at_ms`, in Wh × `window_ms`, so that a millisecond refills exactly
    `capacity_wh` of it. `waiting_wh` is what messages wait for."""

    capacity_wh: int
    window_ms: int
    level: int
    at_ms: int
    waiting_wh: int = 0

    @classmethod
    def full(cls, capacity_wh: int, window_ms: int, now_ms: int) -> Bucket:
        return cls(capacity_wh, window_ms, capacity_wh * window_ms, now_ms)

    @classmethod
    def read(cls, row: Document | None, capacity_wh: int, window_ms: int, now_ms: int) -> Bucket:
        """The bucket of a stored row, with the capacity and window that are set now."""
        if row is None:
            return cls.full(capacity_wh, window_ms, now_ms)
        level = row["level_wh"] * window_ms + min(row["fraction"], window_ms - 1)
        return cls(capacity_wh, window_ms, level, row["at_ms"], row["waiting_wh"]).at(now_ms)

    def document(self) -> Document:
        level_wh, fraction = divmod(self.level, self.window_ms)
        return {"level_wh": level_wh, "fraction": fraction, "at_ms": self.at_ms, "waiting_wh": self.waiting_wh}

    def at(self, now_ms: int) -> Bucket:
        """Later, and fuller. A clock that was set back refills nothing."""
        elapsed_ms = max(0, now_ms - self.at_ms)
        level = min(self._full, self.level + elapsed_ms * self.capacity_wh)
        return replace(self, level=level, at_ms=now_ms)

    @property
    def left_wh(self) -> int:
        """What may cross at once, and leave enough to those that wait."""
        return max(0, self.level // self.window_ms - self.waiting_wh)

    def need_wh(self, wh: int) -> int:
        """What a message of so much takes."""
        return min(wh, self.capacity_wh)

    def wait_ms(self, wh: int, ahead_wh: int | None = None) -> int:
        """How long until so much may cross, when `ahead_wh` cross before, by default all that wait; 0 for at
        once."""
        before_wh = self.waiting_wh if ahead_wh is None else ahead_wh
        lacking = (before_wh + self.need_wh(wh)) * self.window_ms - self.level
        return max(0, -(-lacking // self.capacity_wh))

    def taken(self, wh: int) -> Bucket:
        return replace(self, level=self.level - self.need_wh(wh) * self.window_ms)

    def refilled(self, wh: int) -> Bucket:
        return replace(self, level=min(self._full, self.level + self.need_wh(wh) * self.window_ms))

    def awaited(self, wh: int) -> Bucket:
        """With so much more that waits; less, where `wh` is negative."""
        return replace(self, waiting_wh=max(0, self.waiting_wh + wh))

    @property
    def _full(self) -> int:
        return self.capacity_wh * self.window_ms


@dataclass(frozen=True, slots=True)
class Headroom:
    """What a direction has room for. `bucket` is None where there is no bound."""

    direction: Direction
    bucket: Bucket | None
    large_wh: int
    large_delay_ms: int

    @property
    def capacity_wh(self) -> int | None:
        return None if self.bucket is None else self.bucket.capacity_wh

    @property
    def left_wh(self) -> int | None:
        """What may cross at once; None where there is no bound."""
        return None if self.bucket is None else self.bucket.left_wh

    @property
    def waiting_wh(self) -> int:
        """What waits for its turn already."""
        return 0 if self.bucket is None else self.bucket.waiting_wh

    def wait_ms(self, wh: int) -> int:
        """How long a message of so much would wait, if nothing else came: the delay of large ones, then its turn.
        Beyond that, nothing is promised."""
        delay_ms = self.large_delay_ms if wh >= self.large_wh else 0
        if self.bucket is None:
            return delay_ms
        return delay_ms + self.bucket.at(self.bucket.at_ms + delay_ms).wait_ms(wh)


class Limits:
    """The buckets of both directions as the settings have them."""

    def __init__(self, reader: Reader, settings: BridgeSettings, now_ms: NowMs) -> None:
        self._reader = reader
        self._now_ms = now_ms
        self._window_ms = max(1, round(settings.limit_window_hours * MS_AN_HOUR))
        self._capacities: Mapping[Direction, int] = {
            Direction.IN: settings.limit_in_wh,
            Direction.OUT: settings.limit_out_wh,
        }
        self.large_wh = settings.large_wh
        self.large_delay_ms = round(settings.large_delay_secs * 1000)

    def is_bounded(self, direction: Direction) -> bool:
        return self._capacities[direction] > 0

    def bucket(self, direction: Direction, row: Document | None, now_ms: int) -> Bucket:
        """The bucket of a stored row, or a full one."""
        return Bucket.read(row, self._capacities[direction], self._window_ms, now_ms)

    async def headroom(self, direction: Direction) -> Headroom:
        """What there is room for now."""
        bucket = None
        if self.is_bounded(direction):
            row = await self._reader.get(MIRROR, limit_key(direction))
            bucket = self.bucket(direction, row, self._now_ms())
        return Headroom(direction, bucket, self.large_wh, self.large_delay_ms)
