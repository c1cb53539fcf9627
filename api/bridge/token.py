"""`GET /api/token`: what readings become, for who wants to look at the cluster for himself."""

from __future__ import annotations

from typing import Any

from aiohttp import web
from pydantic import Field

from api.bridge.part import metering_of
from api.ports import Node
from api.replies import json_reply
from api.route import Route, Tag, json_content
from bridge.connecting import CLUSTER_KEPT
from bridge.records import CONFIG
from config.errors import ErrorCode, Unavailable
from energytag.models.common import Reply


class TokenShown(Reply):
    """The token. Addresses are base58."""

    mint: str
    genesis_hash: str = Field(description="Of the cluster that the mint is on.")
    decimals: int = Field(description="Of the token: base units are 10 to the power of minus this.")
    kwh_to_token_ratio: str = Field(description="Tokens for one kWh, as a decimal number.")


class TokenHandler:
    """Known once the node was connected to its cluster for the first time."""

    def __init__(self, node: Node) -> None:
        self._node = node

    async def token(self, _request: web.Request) -> web.Response:
        metering_of(self._node)
        kept = await self._node.store.get(CONFIG, CLUSTER_KEPT)
        if kept is None:
            raise Unavailable("The node was not connected to Solana yet", ErrorCode.SOLANA_UNAVAILABLE)
        return json_reply(self._shown(kept["genesis"], kept["mint"]))

    def _shown(self, genesis_hash: str, mint: str) -> dict[str, Any]:
        settings = self._node.settings.tokenization
        return {
            "mint": mint,
            "genesis_hash": genesis_hash,
            "decimals": settings.decimals,
            "kwh_to_token_ratio": str(settings.kwh_to_token_ratio),
        }

    def routes(self) -> tuple[Route, ...]:
        return (
            Route(
                "GET",
                "/api/token",
                "readToken",
                Tag.METERS,
                "The token that readings become: mint, cluster, units",
                self.token,
                replies={200: json_content("The token.", TokenShown)},
                errors=(404, 503),
                when_ready=True,
            ),
        )
