"""What the bridge's handlers ask of the node."""

from __future__ import annotations

from typing import Protocol

from aiohttp import web

from api import ports
from api.access import admin_only
from api.registry.access import caller_of
from bridge.meters.directory import MeterDirectory
from bridge.meters.intake import Intake
from config.errors import ErrorCode, NotFound
from energytag.access import OPERATOR, Caller


class Metering(Protocol):
    """The part of `bridge.metering.Metering` that takes readings."""

    @property
    def meters(self) -> MeterDirectory: ...

    @property
    def intake(self) -> Intake: ...


class MeteringNode(ports.Node, Protocol):
    @property
    def metering(self) -> Metering | None:
        """None before the start, and where readings are not taken."""
        ...


def metering_of(node: MeteringNode) -> Metering:
    """The node's metering; on a node without it the routes are not there."""
    if node.metering is None:
        raise NotFound("Route not found.", ErrorCode.ROUTE_NOT_FOUND)
    return node.metering


async def metering_caller(request: web.Request, node: MeteringNode) -> Caller:
    """Who calls; on a node without a registry there is nobody but the operator."""
    if node.registry is None:
        admin_only(node.admin_token)(request)
        return OPERATOR
    return await caller_of(request, node)
