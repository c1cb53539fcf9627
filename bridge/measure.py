"""What there is to know of readings and mints at one moment, counted in the store by whichever process is asked.

Nothing here costs more because more is stored. What is open is added up over the index of what is open; times are
those of the newest readings minted; and what came in is counted once for every minute, over the index of when it
came, and remembered: a minute that is over changes no more.

A reading is `overdue` when it had two poll intervals (two minutes at least) and is not minted. The success of an
hour is that of the 60 whole minutes which ended so long ago: the share of what was submitted in them that is minted
by now. Younger readings have not failed; they wait for their poll.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, nan
from time import monotonic
from typing import Final

from bridge.minting.config import ConfigShelf, MintingConfig
from bridge.records import ATTEMPTS, CONFLICTS, MOVEMENTS, READINGS, ReadingState
from config.settings import TokenizationSettings
from overlay.clock import NowMs
from store.port import Find, Reader, Store, Total

HOUR_MINUTES: Final = 60
LEAST_GRACE_SECS: Final = 120.0
SAMPLE: Final = 1000
"""Minted readings whose times are looked at: the newest of the last hour."""
_MINUTE_MS: Final = 60_000
_HOUR_MS: Final = HOUR_MINUTES * _MINUTE_MS
_FRESH_SECS: Final = 10.0
# Counting may take one part in so many of the time.
_SHARE: Final = 50


@dataclass(frozen=True, slots=True)
class Figures:
    """Numbers of readings, but where the name says otherwise. `success_ratio` (0 to 1) and the times from
    submission to finality are NaN where nothing was submitted, or minted, that they could tell of. `transactions`
    are on their way; `unexplained` are those that did to the watched mint what their instructions do not say."""

    is_auto: bool
    unminted: int
    overdue: int
    oldest_secs: float
    retries: int
    retry_attempts_mean: float
    retry_attempts_max: int
    dead: int
    held: int
    conflicts: int
    transactions: int
    unexplained: int
    success_ratio: float
    latency_mean_secs: float
    latency_p95_secs: float


class Measuring:
    """Counts when it is asked, at most every ten seconds, and more rarely where counting takes long."""

    def __init__(
        self,
        store: Store,
        settings: TokenizationSettings,
        now_ms: NowMs,
        clock_secs: Callable[[], float] = monotonic,
    ) -> None:
        self._store = store
        self._shelf = ConfigShelf(store, settings)
        self._now_ms = now_ms
        self._clock_secs = clock_secs
        self._minutes = Minutes(store)
        self._figures: Figures | None = None
        self._fresh_until_secs = 0.0

    async def figures(self) -> Figures:
        """Not for concurrent calls: the caller has a lock."""
        if self._figures is None or self._clock_secs() >= self._fresh_until_secs:
            began_secs = self._clock_secs()
            self._figures = await self._counted(await self._shelf.get(), self._now_ms())
            ended_secs = self._clock_secs()
            self._fresh_until_secs = ended_secs + max(_FRESH_SECS, _SHARE * (ended_secs - began_secs))
        return self._figures

    async def _counted(self, config: MintingConfig, now_ms: int) -> Figures:
        store = self._store
        grace_ms = round(1000 * max(LEAST_GRACE_SECS, 2 * config.polling_interval_secs))
        rows = await store.aggregate(READINGS, Find("open"), ("state", "attempts"), "attempts")
        failures = _of_state(rows, ReadingState.RETRY)
        times = await latencies(store, now_ms)
        return Figures(
            is_auto=config.auto_mint_enabled,
            unminted=_count(rows),
            overdue=await store.count(READINGS, Find("open", upper=now_ms - grace_ms)),
            oldest_secs=await _oldest_secs(store, now_ms),
            retries=_count(failures),
            retry_attempts_mean=sum(row.total for row in failures) / max(1, _count(failures)),
            retry_attempts_max=max((_attempts(row) for row in failures), default=0),
            dead=_count(_of_state(rows, ReadingState.DEAD)),
            held=_count(_of_state(rows, ReadingState.HELD)),
            conflicts=await store.count(CONFLICTS, Find("open")),
            transactions=await store.count(ATTEMPTS, Find("open")),
            unexplained=await store.count(MOVEMENTS, Find("kind", {"kind": "unexplained"})),
            success_ratio=await self._minutes.success(now_ms - grace_ms),
            latency_mean_secs=sum(times) / len(times) if times else nan,
            latency_p95_secs=percentile(times, 95),
        )


class Minutes:
    """How many readings were submitted in each minute of an hour. The first time, an hour's index entries are
    counted; from then on, those of a minute."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._submitted: dict[int, int] = {}

    async def success(self, until_ms: int) -> float:
        """Of what was submitted in the hour of whole minutes that ends before `until_ms`, the share that is open
        no longer; NaN when nothing was. `until_ms` lies so far back that everything of then is stored."""
        end = until_ms // _MINUTE_MS
        first = end - HOUR_MINUTES
        submitted = sum([await self._in_minute(minute) for minute in range(first, end)])
        self._submitted = {minute: count for minute, count in self._submitted.items() if minute >= first}
        if not submitted:
            return nan
        still_open = await self._reader.count(
            READINGS, Find("open", lower=first * _MINUTE_MS, upper=end * _MINUTE_MS)
        )
        return max(0.0, 1 - still_open / submitted)

    async def _in_minute(self, minute: int) -> int:
        if minute not in self._submitted:
            find = Find("submitted", lower=minute * _MINUTE_MS, upper=(minute + 1) * _MINUTE_MS)
            self._submitted[minute] = await self._reader.count(READINGS, find)
        return self._submitted[minute]


async def latencies(reader: Reader, now_ms: int) -> list[float]:
    """Seconds from submission to finality of the newest readings minted within the hour, shortest first."""
    find = Find("minted", lower=now_ms - _HOUR_MS, descending=True, limit=SAMPLE)
    page = await reader.find(READINGS, find)
    return sorted(max(0, row["minted_ms"] - row["submitted_ms"]) / 1000 for row in page.documents)


def percentile(ordered: Sequence[float], percent: int) -> float:
    """The least value that so many percent do not exceed (nearest rank); NaN of nothing."""
    return ordered[ceil(len(ordered) * percent / 100) - 1] if ordered else nan


async def _oldest_secs(reader: Reader, now_ms: int) -> float:
    page = await reader.find(READINGS, Find("open", lower=0, limit=1))
    return max((max(0, now_ms - row["open_ms"]) / 1000 for row in page.documents), default=0.0)


def _of_state(rows: Sequence[Total], state: ReadingState) -> list[Total]:
    return [row for row in rows if row.group[0] == state.value]


def _count(rows: Sequence[Total]) -> int:
    return sum(row.count for row in rows)


def _attempts(row: Total) -> int:
    attempts = row.group[1]
    return attempts if isinstance(attempts, int) else 0
