"""How often a meter may submit: a bucket of tokens for each, in a bounded memory."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from config.errors import Busy, ErrorCode
from config.settings import MeterSettings

_METERS: Final = 100_000
_MINUTE_MS: Final = 60_000


class MeterRates:
    """Buckets of the meters that were seen last; one that is forgotten is full again. Tokens are counted in
    60,000ths, so that a millisecond adds a whole number of them."""

    def __init__(self, settings: MeterSettings, meters: int = _METERS) -> None:
        self._per_minute = settings.readings_per_minute
        self._full = settings.burst_readings * _MINUTE_MS
        self._meters = meters
        self._buckets: OrderedDict[str, tuple[int, int]] = OrderedDict()

    def take(self, serial: str, now_ms: int) -> None:
        """Take a token; `Busy(RATE_LIMITED)` with the time until there is one."""
        if not self._per_minute:
            return
        left, then_ms = self._buckets.get(serial, (self._full, now_ms))
        left = min(self._full, left + max(0, now_ms - then_ms) * self._per_minute)
        allowed = left >= _MINUTE_MS
        self._remember(serial, left - _MINUTE_MS if allowed else left, now_ms)
        if not allowed:
            wait_secs = (_MINUTE_MS - left) / self._per_minute / 1000
            raise Busy(f"Meter {serial} submits too many readings", ErrorCode.RATE_LIMITED, wait_secs)

    def give_back(self, serial: str) -> None:
        """A token that was taken for a reading which was here already: whoever replays a meter's readings does
        not use up what it may submit."""
        held = self._buckets.get(serial)
        if held is not None:
            self._buckets[serial] = (min(self._full, held[0] + _MINUTE_MS), held[1])

    def _remember(self, serial: str, left: int, now_ms: int) -> None:
        self._buckets[serial] = (left, now_ms)
        self._buckets.move_to_end(serial)
        if len(self._buckets) > self._meters:
            self._buckets.popitem(last=False)
