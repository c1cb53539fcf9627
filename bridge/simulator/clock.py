"""A meter's own clock, which is a little off."""

from __future__ import annotations

from dataclasses import dataclass

from overlay.clock import NowMs


@dataclass(frozen=True, slots=True)
class MeterClock:
    """Ahead of the true time by `skew_ms`; behind it where that is negative."""

    now_ms: NowMs
    skew_ms: int = 0

    def read(self) -> int:
        """The time as the meter has it, epoch milliseconds."""
        return self.now_ms() + self.skew_ms

    def secs_until(self, own_ms: int) -> float:
        """True seconds until the meter's clock shows that time; 0 when it has passed."""
        return max(0, own_ms - self.read()) / 1000
