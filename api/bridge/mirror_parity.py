"""`/api/bridge/parity`: whether the chains add up."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from api.bridge.mirror_part import PUBLIC_BASE, bridge_route, mirror_of
from api.bridge.mirror_ports import Mirror
from api.bridge.mirror_schemas import ParityShown
from api.ports import Node
from api.replies import json_reply
from api.route import Route


class ParityDesk:
    async def shown(self, mirror: Mirror) -> dict[str, Any]:
        raise NotImplementedError


class ParityHandler:
    def __init__(self, node: Node, desk: ParityDesk) -> None:
        self._node = node
        self._desk = desk

    async def parity(self, _request: web.Request) -> web.Response:
        return json_reply(await self._desk.shown(mirror_of(self._node)))

    def routes(self) -> tuple[Route, ...]:
        return (
            bridge_route(
                "GET",
                f"{PUBLIC_BASE}/parity",
                "readBridgeParity",
                "Whether the tokens in custody are the certificates that live, to the Wh",
                self.parity,
                ParityShown,
            ),
        )
