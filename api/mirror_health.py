"""What `/health` says of the bridge: whether it moves, whether it adds up, what waits for a person, and its SOL.

Anybody reads this: who paused, and why, is for the operator alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from api.health import Finding, HealthCheck
from bridge.mirror.mirror import Mirror
from bridge.mirror.operators.sizes import MirrorFigures, MirrorMeasuring
from bridge.mirror.parity.parity import last_figures
from bridge.pulse import Pulse
from overlay.clock import NowMs

_LATE_PARITY_SECS: Final = 600
"""As the alert has it."""


class MirrorHealth:
    """`pulse` is None where this process does not ask the cluster."""

    def __init__(self, mirror: Mirror, pulse: Pulse | None, now_ms: NowMs) -> None:
        self._mirror = mirror
        self._pulse = pulse
        self._now_ms = now_ms
        self._began_ms = now_ms()
        self._measuring = MirrorMeasuring(mirror.store, now_ms)

    @property
    def checks(self) -> list[HealthCheck]:
        return [
            HealthCheck("bridge", "ready", False, self._check_work),
            HealthCheck("bridge parity", "ready", False, self._check_parity),
            HealthCheck("bridge key", "ready", False, self._check_funds),
        ]

    async def _check_work(self) -> Finding:
        if self._mirror.trouble is not None:
            return Finding("degraded", f"nothing crosses: {self._mirror.trouble}")
        told = [f"{name} does not answer, and deposits wait" for name in self._mirror.parts.source.silent]
        told += _told(await self._measuring.figures())
        return Finding("degraded", "; ".join(told)) if told else Finding()

    async def _check_parity(self) -> Finding:
        asset = self._mirror.asset
        if asset is None:
            return Finding()
        found = await last_figures(self._mirror.store, asset.name)
        if found is not None and not found.is_exact:
            return Finding("error", found.verdict)
        known_ms = self._began_ms if found is None else max(found.at_ms, self._began_ms)
        age_secs = (self._now_ms() - known_ms) // 1000
        if age_secs > _LATE_PARITY_SECS:
            return Finding("degraded", f"not found out for {age_secs} seconds; the log says why")
        return Finding()

    async def _check_funds(self) -> Finding:
        settings = self._mirror.settings
        lamports = None if self._pulse is None else self._pulse.bridge_lamports
        if lamports is None or settings.node.network == "dev":  # where the faucet pays
            return Finding()
        if lamports < settings.solana.payer_low_lamports:
            return Finding("degraded", f"little SOL is left on the bridge's key: send some to {self._mirror.payer}")
        return Finding()


def _told(figures: MirrorFigures) -> Iterator[str]:
    """What an operator should look at; GET /api/bridge and /api/admin/bridge have the rest."""
    for alarm, number in figures.alarms.items():
        if number:
            yield f"alarm: {alarm.value}"
    for direction, is_paused in figures.paused.items():
        if is_paused:
            yield f"direction {direction.value} is paused"
    held = sum(figures.held.values())
    if held:
        yield f"{held} message{'s wait' if held > 1 else ' waits'} for a person"
