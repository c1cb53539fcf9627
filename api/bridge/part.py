"""What the bridge's handlers ask of the node."""

from __future__ import annotations

from aiohttp import web

from api.access import admin_only
from api.ports import Node
from api.registry.access import caller_of
from bridge.metering import Metering
from config.errors import ErrorCode, NotFound
from energytag.access import OPERATOR, Caller


def metering_of(node: Node) -> Metering:
    """The node's metering; on a node without it the routes are not there."""
    if node.metering is None:
        raise NotFound("Route not found.", ErrorCode.ROUTE_NOT_FOUND)
    return node.metering


async def metering_caller(request: web.Request, node: Node) -> Caller:
    """Who calls; on a node without a registry there is nobody but the operator."""
    if node.registry is None:
        admin_only(node.admin_token)(request)
        return OPERATOR
    return await caller_of(request, node)
