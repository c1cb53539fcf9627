"""`/admin`: what the operator may do."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from api import schemas
from api.fields import index_field, read_object, text_field, txid_field
from api.lifecycle import Lifecycle
from api.limits import Bodies
from api.ports import Node
from api.replies import json_reply, success
from api.route import Access, Content, Handler, Route, Schema, Tag, json_content
from api.times import iso_time
from config.errors import BadRequest, Busy, ErrorCode, NotFound
from overlay.clock import NowMs
from overlay.transaction import show_outpoint


class AdminHandler:
    """Long operations run one at a time; a second one is told to come back."""

    def __init__(self, node: Node, bodies: Bodies, lifecycle: Lifecycle, now_ms: NowMs) -> None:
        self._node = node
        self._bodies = bodies
        self._lifecycle = lifecycle
        self._now_ms = now_ms
        # Guards proof refreshes and reindexing: each reads everything, two at once would only be slower.
        self._long_operation = asyncio.Lock()

    async def config(self, _request: web.Request) -> web.Response:
        node = self._node
        return json_reply({"adminIdentityKey": node.identity.hex(), "nodeName": node.settings.node.name})

    async def stats(self, _request: web.Request) -> web.Response:
        node = self._node
        data = {
            "nodeName": node.settings.node.name,
            "network": node.settings.node.network,
            "uptime": max(0, self._now_ms() - node.started_ms),
            "startedAt": iso_time(node.started_ms),
            "shipRecordCount": 0,
            "slapRecordCount": 0,
            "bannedDomains": 0,
            "bannedOutpoints": 0,
            "totalBans": 0,
            "topicManagers": sorted(node.engine.topic_managers),
            "lookupServices": sorted(node.engine.lookup_services),
            "gaspSyncEnabled": False,
            "engine": await node.engine.stats(),
        }
        return json_reply({"status": "success", "data": data})

    async def conflicts(self, _request: web.Request) -> web.Response:
        records = [
            {
                "txid": document["txid"][::-1].hex(),
                "outpoint": show_outpoint(document["_id"][:36]),
                "spentBy": document["rival"][::-1].hex(),
                "seenAt": iso_time(document["seen_ms"]),
            }
            for document in await self._node.engine.conflicts()
        ]
        return json_reply({"status": "success", "data": {"records": records}})

    async def evictions(self, _request: web.Request) -> web.Response:
        records = [
            {
                "txid": document["_id"][::-1].hex(),
                "reason": document["reason"],
                "evictedAt": iso_time(document["at_ms"]),
            }
            for document in await self._node.engine.evictions()
        ]
        return json_reply({"status": "success", "data": {"records": records}})

    async def evict_outpoint(self, request: web.Request) -> web.Response:
        body = await read_object(request, self._bodies)
        txid, index, service = txid_field(body), index_field(body), self._service(body)
        await self._node.engine.evict_output(txid, index, service)
        return success("Outpoint evicted")

    async def remove_token(self, request: web.Request) -> web.Response:
        body = await read_object(request, self._bodies)
        txid, index, service = txid_field(body), index_field(body), self._service(body)
        if body.get("ban") or body.get("banDomain"):
            raise BadRequest("Ban service not available")
        engine = self._node.engine
        if service is not None:
            await engine.evict_output(txid, index, service)
        else:
            await engine.remove_output(txid, index)
        return success(f"Token {txid[::-1].hex()}.{index} removed.")

    async def refresh_proofs(self, _request: web.Request) -> web.Response:
        async with self._alone():
            counts = await self._node.engine.refresh_proofs()
        return success("Unproven proofs refreshed", data=counts)

    async def reindex(self, request: web.Request) -> web.Response:
        service = self._service(await read_object(request, self._bodies))
        async with self._alone():
            count = await self._node.engine.reindex(service, None)
        return success("Reindexed", data={"outputs": count})

    def _alone(self) -> asyncio.Lock:
        if self._long_operation.locked():
            raise Busy("Another long operation is under way", ErrorCode.OVERLOADED, retry_after_secs=10)
        return self._long_operation

    def _service(self, body: Mapping[str, Any]) -> str | None:
        """The lookup service that is meant, None for all."""
        service = text_field(dict(body), "service")
        if service is not None and service not in self._node.engine.lookup_services:
            raise NotFound(f"Lookup service not found for provider: {service} ", ErrorCode.LOOKUP_SERVICE_UNKNOWN)
        return service

    def routes(self) -> tuple[Route, ...]:
        return (
            self._config_route(),
            self._route(
                "GET",
                "/admin/stats",
                "adminStats",
                "Statistics of the node",
                self.stats,
                reply=schemas.ref("AdminStatsResponse"),
            ),
            self._route(
                "GET",
                "/admin/conflicts",
                "adminConflicts",
                "The last hundred double spends that were refused",
                self.conflicts,
                reply=schemas.ref("ConflictsResponse"),
            ),
            self._route(
                "GET",
                "/admin/evictions",
                "adminEvictions",
                "The last hundred transactions that were evicted, and why",
                self.evictions,
                reply=schemas.ref("EvictionsResponse"),
            ),
            self._route(
                "POST",
                "/admin/evictOutpoint",
                "adminEvictOutpoint",
                "Take an output out of lookup indices; the engine keeps it",
                self.evict_outpoint,
                body=json_content("The output, and the service; all when left out.", schemas.ref("EvictRequest")),
            ),
            self._route(
                "POST",
                "/admin/remove-token",
                "adminRemoveToken",
                "Take an output out of the node, or out of one service",
                self.remove_token,
                body=json_content("The output.", schemas.ref("RemoveTokenRequest")),
            ),
            self._route(
                "POST",
                "/admin/refreshUnprovenProofs",
                "adminRefreshUnprovenProofs",
                "Ask for the proofs of unproven transactions now",
                self.refresh_proofs,
            ),
            self._route(
                "POST",
                "/admin/reindex",
                "adminReindex",
                "Rebuild lookup indices from stored transactions; the registry is left to `metawatt reindex`",
                self.reindex,
                body=json_content("The service; all when left out.", schemas.ref("ReindexRequest")),
            ),
        )

    def _config_route(self) -> Route:
        reply = json_content("Nothing of it is secret.", schemas.ref("AdminConfig"))
        return Route(
            "GET",
            "/admin/config",
            "adminConfig",
            Tag.ADMIN,
            "Who administers this node",
            self.config,
            replies={200: reply},
            errors=(503,),
            when_ready=True,
        )

    def _route(
        self,
        method: str,
        path: str,
        operation: str,
        summary: str,
        handler: Handler,
        *,
        body: Content | None = None,
        reply: Schema | None = None,
    ) -> Route:
        return Route(
            method,
            path,
            operation,
            Tag.ADMIN,
            summary,
            handler,
            body=body,
            replies={200: json_content("Done.", reply or schemas.ref("SuccessMessage"))},
            errors=(400, 401, 403, 408, 413, 415, 429, 503) if body else (401, 403, 429, 503),
            access=Access.ADMIN,
            when_ready=True,
        )
