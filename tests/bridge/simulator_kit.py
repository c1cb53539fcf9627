"""A gateway on a free port: the real directory, intake and minter, and faults that tests put before them."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web

from bridge.meters.body import read_list, read_reading
from bridge.meters.intake import Taken
from bridge.meters.looking import reading_key_of, reading_of
from bridge.meters.meter import Status
from bridge.meters.registration import Registration
from bridge.meters.showing import meter_shown, reading_shown
from bridge.minting.minting import Minting
from bridge.minting.showing import waiting_shown
from bridge.records import READINGS
from config.errors import MetawattError, NotFound
from store.port import Find, Patch
from tests.bridge.readings_kit import Gateway

ERRORS = {"NotFound": 404, "Forbidden": 403, "Unauthorized": 401, "Busy": 429}


@dataclass
class Fault:
    """What is answered instead: a status, or with `loses_answer` the connection's end after all was done."""

    status: int = 500
    headers: dict[str, str] = field(default_factory=dict)
    loses_answer: bool = False


class GatewayServer:
    """`faults` are met by the next submissions, one each. `calls` counts them."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.faults: deque[Fault] = deque()
        self.calls = 0
        self.largest_batch = 0
        self.minting: Minting | None = None
        self.mint: str | None = None
        self._runner: web.AppRunner | None = None
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        app = web.Application(middlewares=[_errors])
        app.router.add_post("/api/meters/submit-reading", self._submit)
        app.router.add_post("/api/meters/submit-readings", self._submit_many)
        app.router.add_get("/api/meters/readings/{id}", self._reading)
        app.router.add_get("/api/token", self._token)
        app.router.add_get("/api/admin/meters/unminted", self._unminted)
        app.router.add_post("/api/meters", self._register)
        app.router.add_get("/api/meters/{serial}", self._meter)
        app.router.add_post("/api/meters/{serial}/verify", self._verify)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def mint_all(self) -> int:
        """Mark every reading as minted, as the minter does."""
        page = await self.gateway.store.find(READINGS, Find("open", limit=1000))
        for reading in page.documents:
            changes = {"state": "minted", "open_ms": None, "attempt": bytes(64)}
            await self.gateway.store.commit([Patch(READINGS, reading["_id"], changes)])
        return len(page.documents)

    async def _submit(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        return await self._answer(request, lambda: self._one(body))

    async def _one(self, body: bytes) -> web.Response:
        taken = await self.gateway.intake.submit(read_reading(body))
        return _json(reading_shown(taken.document), 201 if taken.is_new else 200)

    async def _submit_many(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        return await self._answer(request, lambda: self._many(body))

    async def _many(self, body: bytes) -> web.Response:
        entries = [read_reading(raw) for raw in read_list(body, 500)]
        self.largest_batch = max(self.largest_batch, len(entries))
        outcomes = await self.gateway.intake.submit_many(entries)
        return _json({"results": [_outcome(outcome) for outcome in outcomes]})

    async def _answer(self, request: web.Request, take: Any) -> web.StreamResponse:
        self.calls += 1
        fault = self.faults.popleft() if self.faults else None
        if fault is None:
            return await take()
        if fault.loses_answer:
            await take()
            assert request.transport is not None
            request.transport.abort()
        return web.Response(status=fault.status, headers=fault.headers, text="<html>no JSON</html>")

    async def _reading(self, request: web.Request) -> web.Response:
        reading = await reading_of(self.gateway.store, reading_key_of(request.match_info["id"]))
        return _json(reading_shown(reading))

    async def _token(self, _request: web.Request) -> web.Response:
        if self.mint is None:
            raise NotFound
        return _json({"mint": self.mint, "decimals": 9, "kwh_to_token_ratio": "1.0"})

    async def _unminted(self, request: web.Request) -> web.Response:
        assert self.minting is not None
        page = await self.minting.unminted(3, request.query.get("cursor"))
        return _json({"readings": [waiting_shown(row) for row in page.documents], "cursor": page.cursor})

    async def _register(self, request: web.Request) -> web.Response:
        registration = Registration.model_validate(orjson.loads(await request.read()))
        return _json(meter_shown(await self.gateway.directory.register(registration)), 201)

    async def _meter(self, request: web.Request) -> web.Response:
        return _json(meter_shown(await self.gateway.directory.meter(request.match_info["serial"])))

    async def _verify(self, request: web.Request) -> web.Response:
        return _json(
            meter_shown(await self.gateway.directory.become(request.match_info["serial"], Status.VERIFIED))
        )


@web.middleware
async def _errors(request: web.Request, handler: Any) -> web.StreamResponse:
    try:
        return await handler(request)
    except MetawattError as error:
        status = next((ERRORS[each.__name__] for each in type(error).__mro__ if each.__name__ in ERRORS), 400)
        return _json({"status": "error", "code": error.code, "message": error.message}, status)


def _outcome(outcome: Taken | MetawattError) -> dict[str, Any]:
    if isinstance(outcome, Taken):
        return {"outcome": "accepted" if outcome.is_new else "repeated", **reading_shown(outcome.document)}
    return {"outcome": "refused", "code": outcome.code, "message": outcome.message}


def _json(value: Any, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(value), status=status, content_type="application/json")
