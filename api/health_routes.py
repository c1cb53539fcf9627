"""`/health`, `/health/ready`, `/health/live` and `/healthz`, in the reference's shape."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic
from typing import Any

from aiohttp import web

from api import schemas
from api.health import Checked, Finding, HealthBoard, HealthCheck, overall
from api.lifecycle import Lifecycle, Phase
from api.ports import Node
from api.replies import json_reply
from api.route import Route, Tag, json_content
from api.times import iso_time
from overlay.clock import NowMs


async def _process() -> Finding:
    return Finding()


class HealthHandler:
    """Until the node is ready only the process itself and the lifecycle are looked at: what the node's own
    checks would ask is not there yet."""

    def __init__(self, node: Node, lifecycle: Lifecycle, now_ms: NowMs) -> None:
        self._node = node
        self._lifecycle = lifecycle
        self._now_ms = now_ms
        self._board = HealthBoard(self._ready_checks, monotonic)
        self._own = (
            HealthCheck("process", "live", True, _process),
            HealthCheck("lifecycle", "ready", True, self._lifecycle_finding),
        )

    async def full(self, _request: web.Request) -> web.Response:
        findings = await self._board.findings() if self._lifecycle.ready else await self._own_findings()
        return self._reply(findings, "ready")

    async def live(self, _request: web.Request) -> web.Response:
        return self._reply(await self._own_findings(), "live")

    async def _lifecycle_finding(self) -> Finding:
        phase = self._lifecycle.phase
        return Finding("ok" if phase is Phase.READY else "error", f"the node is {phase.value}")

    def _ready_checks(self) -> Sequence[HealthCheck]:
        return (*self._own, *self._node.health_checks)

    async def _own_findings(self) -> tuple[Checked, ...]:
        return tuple([Checked(check, await check.probe(), 0) for check in self._own])

    def _reply(self, findings: Sequence[Checked], asked: str) -> web.Response:
        live = not any(one.fatal for one in findings if one.check.scope == "live")
        ready = live and not any(one.fatal for one in findings)
        shown = [one for one in findings if asked == "ready" or one.check.scope == "live"]
        report = {
            "status": overall(shown),
            "live": live,
            "ready": ready,
            "service": self._service(),
            "checks": [one.to_wire() for one in shown],
        }
        response = json_reply(report, 200 if (ready if asked == "ready" else live) else 503)
        response.headers["Cache-Control"] = "no-store"
        if response.status == 503:
            response.headers["Retry-After"] = "5"
        return response

    def _service(self) -> dict[str, Any]:
        node, settings = self._node, self._node.settings.node
        hosted = self._lifecycle.ready
        return {
            "name": settings.name,
            "advertisableFQDN": (settings.hosting_url or "").removeprefix("https://").rstrip("/"),
            "port": settings.port if self._lifecycle.port is None else self._lifecycle.port,
            "network": settings.network,
            "startedAt": iso_time(node.started_ms),
            "uptimeMs": max(0, self._now_ms() - node.started_ms),
            "topicManagerCount": len(node.engine.topic_managers) if hosted else 0,
            "lookupServiceCount": len(node.engine.lookup_services) if hosted else 0,
        }

    def routes(self) -> tuple[Route, ...]:
        report = schemas.ref("HealthReport")
        replies = {200: json_content("It is.", report), 503: json_content("It is not.", report)}
        asked = (
            ("/health", "healthFull", "Full health report", self.full),
            ("/health/ready", "healthReady", "Is the node ready to take traffic?", self.full),
            ("/health/live", "healthLive", "Is the process alive?", self.live),
            ("/healthz", "healthz", "The full health report under its other name", self.full),
        )
        return tuple(
            Route("GET", path, operation, Tag.HEALTH, summary, handler, replies=replies, quiet=True)
            for path, operation, summary, handler in asked
        )
