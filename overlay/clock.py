"""Time and order, injected: nothing in this room asks the operating system for the time by itself."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import TypeAlias

NowMs: TypeAlias = Callable[[], int]

_PROCESS_BITS = 10
_COUNTER_BITS = 12


def system_now_ms() -> int:
    """Milliseconds since the epoch, UTC."""
    return time.time_ns() // 1_000_000


class Sequence:
    """Numbers that grow: 41 bits of milliseconds, 10 of this process's own, 12 of a counter; 63 in all.

    On one process they never repeat, nor go back when the clock does. Two processes that share a database
    differ by their own bits, which are drawn at start; who sorts by a number breaks ties by key.
    """

    def __init__(self, now_ms: NowMs, process: int | None = None) -> None:
        self._now_ms = now_ms
        self._process = (secrets.randbits(_PROCESS_BITS) if process is None else process) << _COUNTER_BITS
        self._last_ms = 0
        self._counter = 0

    def next(self) -> int:
        now_ms = self._now_ms()
        if now_ms > self._last_ms:
            self._last_ms, self._counter = now_ms, 0
        else:
            self._counter += 1
            if self._counter >> _COUNTER_BITS:
                self._last_ms, self._counter = self._last_ms + 1, 0
        return (self._last_ms << _PROCESS_BITS + _COUNTER_BITS) | self._process | self._counter


def drawn_ms(number: int) -> int:
    """When a number of a `Sequence` was drawn, epoch milliseconds; in a burst up to a little later."""
    return number >> _PROCESS_BITS + _COUNTER_BITS
