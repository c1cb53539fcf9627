"""`/api/meters`: meters are registered, verified, suspended, revoked, and given new keys."""

from __future__ import annotations

from functools import partial
from typing import Final

from aiohttp import web
from pydantic import BaseModel

from api.access import admin_only
from api.bridge.part import metering_caller, metering_of
from api.bridge.sight import demand_sight, seen
from api.fields import read_model
from api.limits import Bodies
from api.ports import Node
from api.registry.asking import parameters_of, question_of
from api.replies import json_reply
from api.route import Access, Content, Handler, Parameter, Route, Tag, json_content
from bridge.meters.faults import invalid
from bridge.meters.looking import MetersQuestion
from bridge.meters.meter import Status
from bridge.meters.registration import Ownership, Reason, Registration, Rotation
from bridge.meters.showing import MeterShown, MetersShown, meter_shown
from config.errors import Forbidden
from energytag.access import OPERATOR, Caller, demand_member
from energytag.models.common import InvalidFields
from store.port import Document

_SERIAL: Final = Parameter("serial", "path", "The meter's serial.", {"type": "string"}, True)
_CHANGES: Final = {
    "verify": (Status.VERIFIED, "Let a meter submit readings"),
    "suspend": (Status.SUSPENDED, "Take no readings of a meter for now"),
    "revoke": (Status.REVOKED, "Take no readings of a meter any more, and none under its key"),
}


class MetersHandler:
    """Meters, and who may do what to them."""

    def __init__(self, node: Node, bodies: Bodies) -> None:
        self._node = node
        self._bodies = bodies

    async def register(self, request: web.Request) -> web.Response:
        caller = await metering_caller(request, self._node)
        body = await read_model(request, self._bodies, Registration)
        self._demand_links(body)
        if not caller.is_administrator and body.account_id is None:
            raise _needs_account()
        if caller.user_id is not None and body.verified:
            raise Forbidden("Only the operator verifies meters")
        if body.account_id is not None:
            await demand_member(self._node.store, caller, body.account_id)
        return _answer(await metering_of(self._node).meters.register(body, caller.user_id), 201)

    async def replace(self, request: web.Request) -> web.Response:
        body = await read_model(request, self._bodies, Ownership)
        self._demand_links(body)
        if body.account_id is not None:
            await demand_member(self._node.store, OPERATOR, body.account_id)
        return _answer(await metering_of(self._node).meters.replace(request.match_info["serial"], body))

    async def listed(self, request: web.Request) -> web.Response:
        caller = await metering_caller(request, self._node)
        asked = question_of(request, MetersQuestion)
        await self._demand_list(caller, asked)
        page = await metering_of(self._node).meters.listed(
            asked.limit, asked.cursor, wallet=asked.wallet, account_id=asked.account_id
        )
        found = await seen(self._node.store, caller, page.documents)
        return json_reply({"meters": [meter_shown(each) for each in found], "cursor": page.cursor})

    async def read(self, request: web.Request) -> web.Response:
        caller = await metering_caller(request, self._node)
        meter = await metering_of(self._node).meters.meter(request.match_info["serial"])
        await demand_sight(self._node.store, caller, meter)
        return _answer(meter)

    async def become(self, status: Status, request: web.Request) -> web.Response:
        reason = Reason() if not request.can_read_body else await read_model(request, self._bodies, Reason)
        serial = request.match_info["serial"]
        return _answer(await metering_of(self._node).meters.become(serial, status, reason.reason))

    async def rotate(self, request: web.Request) -> web.Response:
        """By the operator, who shows his token; or by the meter, which shows none but both signatures."""
        by_operator = "Authorization" in request.headers
        if by_operator:
            admin_only(self._node.admin_token)(request)
        body = await read_model(request, self._bodies, Rotation)
        serial = request.match_info["serial"]
        return _answer(await metering_of(self._node).meters.rotate(serial, body, by_operator=by_operator))

    def _demand_links(self, body: Ownership) -> None:
        """There is nothing to link to where the registry is switched off."""
        if self._node.registry is None and (body.account_id or body.device_id):
            raise invalid("account_id", "there is no registry on this node that it could be of")

    async def _demand_list(self, caller: Caller, asked: MetersQuestion) -> None:
        if asked.account_id is not None and self._node.registry is not None:
            await demand_member(self._node.store, caller, asked.account_id)
        elif not caller.is_administrator and asked.wallet is None:
            raise _needs_account()

    def routes(self) -> tuple[Route, ...]:
        changes = [
            _route("POST", f"/{{serial}}/{verb}", f"{verb}Meter", summary, partial(self.become, status), Reason)
            for verb, (status, summary) in _CHANGES.items()
        ]
        return (
            _route("POST", "", "registerMeter", "Register a meter", self.register, Registration, Access.CALLER),
            _list_route(self.listed),
            _route("GET", "/{serial}", "readMeter", "A meter and its keys", self.read, access=Access.CALLER),
            _route("PUT", "/{serial}", "replaceMeter", "Register a meter anew", self.replace, Ownership),
            *changes,
            _route(
                "POST",
                "/{serial}/rotate-key",
                "rotateMeterKey",
                "Give a meter a new key: the operator, or the meter by the signatures of both keys",
                self.rotate,
                Rotation,
                Access.PUBLIC,
            ),
        )


def _answer(meter: Document, status: int = 200) -> web.Response:
    return json_reply(meter_shown(meter), status)


def _needs_account() -> InvalidFields:
    return invalid("account_id", "is needed: the account that you act for")


def _list_route(handler: Handler) -> Route:
    return Route(
        "GET",
        "/api/meters",
        "listMeters",
        Tag.METERS,
        "Meters that the caller may see",
        handler,
        parameters=parameters_of(MetersQuestion),
        replies={200: json_content("A page; it may be short before the end.", MetersShown)},
        errors=(400, 401, 403, 404, 422, 503),
        access=Access.CALLER,
        when_ready=True,
    )


def _route(
    method: str,
    tail: str,
    operation: str,
    summary: str,
    handler: Handler,
    body: type[BaseModel] | None = None,
    access: Access = Access.ADMIN,
) -> Route:
    content: Content | None = None if body is None else json_content("JSON.", body)
    status = 200 if tail else 201
    return Route(
        method,
        f"/api/meters{tail}",
        operation,
        Tag.METERS,
        summary,
        handler,
        parameters=(_SERIAL,) if tail else (),
        body=content,
        replies={status: json_content("The meter.", MeterShown)},
        errors=(401, 403, 404, 422, 503) if body is None else (400, 401, 403, 404, 408, 409, 413, 415, 422, 503),
        access=access,
        when_ready=True,
    )
