"""When a meter sends something again, decided apart from sending it."""

from __future__ import annotations

from typing import Final

TRIES: Final = 3
BACKOFF_SECS: Final = 1.0
LONGEST_PAUSE_SECS: Final = 60.0
_WORTH_A_RETRY: Final = frozenset({408, 429})
"""Of what is the caller's fault (4xx): that it came too late, or too often."""


def is_passing(status: int | None) -> bool:
    """Whether what went wrong may go well another time; `status` is None when there was no answer at all."""
    return status is None or status >= 500 or status in _WORTH_A_RETRY


def pause_secs(attempt: int, status: int | None, retry_after_secs: float | None = None) -> float | None:
    """How long to wait after an attempt, counted from 1, that ended so; None when there is to be no further one.

    A server that asks for a longer wait than `LONGEST_PAUSE_SECS` is not asked again before that is over, which
    is left to the meter's backlog.
    """
    if attempt >= TRIES or not is_passing(status):
        return None
    pause = max(BACKOFF_SECS * attempt, retry_after_secs or 0.0)
    return pause if pause <= LONGEST_PAUSE_SECS else None
