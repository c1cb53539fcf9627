"""The routes of meters and readings behind the node's own edge, on a socket of this machine.

The node before them has a store, a directory and an intake, and no more: no chain, no minter.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web

from api.access import admin_only, any_bearer
from api.bridge.meters import MetersHandler
from api.bridge.readings import ReadingsHandler
from api.edge import Edge
from api.lifecycle import Lifecycle, Phase
from api.limits import Bodies
from api.metrics import HttpMetrics
from api.route import Access, Route
from config.settings import Settings
from energytag.memberships import membership_key
from energytag.records import ACCOUNTS, DEVICES, MEMBERSHIPS, USERS
from energytag.tokens import Tokens
from store.port import Put, Store
from tests.bridge.readings_kit import Gateway
from tests.energytag.kit import ACCOUNT, DEVICE, ORGANISATION, OTHER_ACCOUNT, account_row, device_row

ADMIN = "the-admin-token"
HOLDER = "aaaaaaaa-0000-7000-8000-000000000001"
STRANGER = "aaaaaaaa-0000-7000-8000-000000000002"


@dataclass
class GatewayMetering:
    """What `bridge.metering.Metering` has of readings."""

    gateway: Gateway

    @property
    def meters(self) -> Any:
        return self.gateway.directory

    @property
    def intake(self) -> Any:
        return self.gateway.intake


@dataclass
class ReadingsNode:
    """As much of a node as these routes ask for."""

    gateway: Gateway
    registry: Any = field(default_factory=object)
    admin_token: str = ADMIN

    def __post_init__(self) -> None:
        self.metering: GatewayMetering | None = GatewayMetering(self.gateway)
        self.tokens = Tokens(b"s" * 32, 1, lambda: self.gateway.now_ms)

    @property
    def settings(self) -> Settings:
        return self.gateway.settings

    @property
    def store(self) -> Store:
        return self.gateway.store


class ReadingsServer:
    """Open between `start` and `stop`. The holder acts for ACCOUNT, the stranger for OTHER_ACCOUNT."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.node: Any = ReadingsNode(gateway)
        limits = gateway.settings.limits
        self._bodies = Bodies(limits.body_bytes, limits.bodies_bytes, limits.body_timeout_secs)

    @property
    def routes(self) -> tuple[Route, ...]:
        # As the application has them: fixed paths stand before those with a serial in them.
        readings = ReadingsHandler(self.node, self._bodies).routes()
        return (*readings, *MetersHandler(self.node, self._bodies).routes())

    async def start(self) -> None:
        await self._people()
        app = web.Application()
        authorise = {Access.ADMIN: admin_only(ADMIN), Access.CALLER: any_bearer}
        edge = Edge(HttpMetrics(), Lifecycle(Phase.READY), None, authorise, False)
        for route in self.routes:
            app.router.add_route(route.method, route.path, edge.guard(route))
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._port()}"
        self._client = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))

    def _port(self) -> int:
        return int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        await self._client.close()
        await self._runner.cleanup()

    async def _people(self) -> None:
        user = {"role": ["Account Holder"], "organisation_id": ORGANISATION, "tokens_since": 0, "rev": 1}
        writes = [Put(ACCOUNTS, account_row(each, rev=1)) for each in (ACCOUNT, OTHER_ACCOUNT)]
        for user_id, account_id in ((HOLDER, ACCOUNT), (STRANGER, OTHER_ACCOUNT)):
            writes.append(Put(USERS, {"_id": user_id, **user}))
            member = {"_id": membership_key(account_id, user_id), "account_id": account_id, "user_id": user_id}
            writes.append(Put(MEMBERSHIPS, member))
        writes.append(Put(DEVICES, device_row(DEVICE, rev=1)))
        await self.gateway.store.commit(writes)

    async def ask(self, method: str, path: str, who: str | None = None, **more: Any) -> tuple[int, Any]:
        """Status and JSON; `who` is "admin", a user's id, or None for nobody."""
        headers = dict(more.pop("headers", {}))
        if who is not None:
            token = ADMIN if who == "admin" else self.node.tokens.issue(who).token
            headers["Authorization"] = f"Bearer {token}"
        async with self._client.request(method, self.url + path, headers=headers, **more) as reply:
            return reply.status, await reply.json()

    async def done(self, method: str, path: str, who: str | None = None, **more: Any) -> Any:
        status, answer = await self.ask(method, path, who, **more)
        assert status < 300, (status, answer)
        return answer

    async def refused(self, method: str, path: str, who: str | None = None, **more: Any) -> tuple[int, str]:
        status, answer = await self.ask(method, path, who, **more)
        return status, answer["code"]
