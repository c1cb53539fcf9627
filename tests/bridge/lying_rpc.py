"""An endpoint before another one: it passes calls on, and alters, delays or refuses answers as a test says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import aiohttp
from aiohttp import web

Lie: TypeAlias = Callable[[Any], Any]
"""What is told in place of a result."""


@dataclass
class LyingRpc:
    """`lies` by method; `url` while it is up."""

    behind: str
    lies: dict[str, Lie] = field(default_factory=dict)
    delay_secs: float = 0.0
    is_down: bool = False
    asked: list[str] = field(default_factory=list)
    url: str = ""
    _over: asyncio.Event = field(default_factory=asyncio.Event)

    def stop(self) -> None:
        """Nobody waits any longer."""
        self._over.set()

    async def handle(self, request: web.Request) -> web.Response:
        call = await request.json()
        self.asked.append(call["method"])
        with suppress(TimeoutError):
            await asyncio.wait_for(self._over.wait(), self.delay_secs)
        if self.is_down:
            return web.Response(status=503)
        async with aiohttp.ClientSession() as session, session.post(self.behind, json=call) as response:
            told = await response.json()
        lie = self.lies.get(call["method"])
        if lie is not None and "result" in told:
            told["result"] = lie(told["result"])
        return web.json_response(told)


@asynccontextmanager
async def lying(behind: str) -> AsyncIterator[LyingRpc]:
    """It tells the truth until it is told otherwise."""
    rpc = LyingRpc(behind)
    app = web.Application()
    app.router.add_post("/", rpc.handle)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    rpc.url = f"http://{host}:{port}/"
    try:
        yield rpc
    finally:
        rpc.stop()
        await runner.cleanup()
