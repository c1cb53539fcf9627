"""Health reports: checks that the node brings along, run within a time and at most once a second."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, Final, Literal, TypeAlias

import structlog

CHECK_TIMEOUT_SECS: Final = 5.0
FRESH_SECS: Final = 1.0
Scope: TypeAlias = Literal["live", "ready"]
Status: TypeAlias = Literal["ok", "degraded", "error"]
log = structlog.get_logger("metawatt.health")


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found. `details` are shown to everybody: no secrets, no addresses of inner services."""

    status: Status = "ok"
    message: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """One check. `probe` returns what it found; an exception is an error. A `critical` check in error takes
    its scope down: `live` for the process itself, `ready` for taking traffic."""

    name: str
    scope: Scope
    critical: bool
    probe: Callable[[], Awaitable[Finding]]


@dataclass(frozen=True, slots=True)
class Checked:
    """A check and what it found, and how long that took."""

    check: HealthCheck
    finding: Finding
    duration_ms: int

    @property
    def fatal(self) -> bool:
        return self.check.critical and self.finding.status == "error"

    def to_wire(self) -> dict[str, Any]:
        wire: dict[str, Any] = {
            "name": self.check.name,
            "scope": self.check.scope,
            "critical": self.check.critical,
            "status": self.finding.status,
            "durationMs": self.duration_ms,
        }
        if self.finding.message is not None:
            wire["message"] = self.finding.message
        if self.finding.details:
            wire["details"] = dict(self.finding.details)
        return wire


async def run_check(check: HealthCheck, timeout_secs: float = CHECK_TIMEOUT_SECS) -> Checked:
    """Run one check; it may neither take long nor raise."""
    started = perf_counter()
    try:
        async with asyncio.timeout(timeout_secs):
            finding = await check.probe()
    except TimeoutError:
        finding = Finding("error", f"no answer within {timeout_secs:g} seconds")
    except Exception as error:
        log.warning("health check failed", check=check.name, exc_info=error)
        finding = Finding("error", f"failed ({type(error).__name__})")
    return Checked(check, finding, round((perf_counter() - started) * 1000))


def overall(checked: Sequence[Checked]) -> Status:
    """The worst that a critical check found; what is not critical degrades at most."""
    if any(one.fatal for one in checked):
        return "error"
    return "ok" if all(one.finding.status == "ok" for one in checked) else "degraded"


class HealthBoard:
    """The latest findings of a scope, refreshed when they are older than `FRESH_SECS`. Anybody may ask, so
    asking often must not cost often."""

    def __init__(self, checks: Callable[[], Sequence[HealthCheck]], now_secs: Callable[[], float]) -> None:
        self._checks = checks
        self._now_secs = now_secs
        self._latest: tuple[Checked, ...] = ()
        self._fresh_until = float("-inf")
        # Guards the refresh, so that many askers wait for one run of the checks.
        self._lock = asyncio.Lock()

    async def findings(self) -> tuple[Checked, ...]:
        """All checks with what they found, in order."""
        async with self._lock:
            if self._now_secs() >= self._fresh_until:
                self._latest = tuple(await asyncio.gather(*map(run_check, self._checks())))
                self._fresh_until = self._now_secs() + FRESH_SECS
            return self._latest
