"""What follows from a reading's failure: another try later, or none without a person. A decision, no action."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from bridge.records import ReadingState
from config.settings import TokenizationSettings

NEVER_MS: Final = 2**62
"""`retry_ms` of a dead reading: it stands last in the retry queue, and is not due."""
ASKED_MS: Final = 0
"""`due_ms` of a reading that a person asked for: before all others, and with auto-mint off, too."""
_MINUTE_MS: Final = 60_000


@dataclass(frozen=True, slots=True)
class Retry:
    """Where a reading goes; `due_ms` is None when it waits for a person."""

    state: ReadingState
    due_ms: int | None
    retry_ms: int


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Delays double from `initial_delay_ms` up to `longest_delay_ms`; after `most_attempts` failures, or after the
    first one where retries are switched off, the reading is dead."""

    is_enabled: bool
    most_attempts: int
    initial_delay_ms: int
    longest_delay_ms: int

    @classmethod
    def of(cls, settings: TokenizationSettings) -> RetryPolicy:
        return cls(
            settings.retry_enabled,
            settings.max_retry_attempts,
            round(settings.initial_retry_delay_minutes * _MINUTE_MS),
            round(settings.max_retry_delay_minutes * _MINUTE_MS),
        )

    def after(self, failures: int, now_ms: int) -> Retry:
        """What follows from the `failures`-th failure, 1 for the first."""
        if not self.is_enabled or failures >= self.most_attempts:
            return Retry(ReadingState.DEAD, None, NEVER_MS)
        due_ms = now_ms + self.delay_ms(failures)
        return Retry(ReadingState.RETRY, due_ms, due_ms)

    def delay_ms(self, failures: int) -> int:
        # Beyond 2**40 of any initial delay the bound has long been met.
        return min(self.initial_delay_ms << min(failures - 1, 40), self.longest_delay_ms)
