"""`/api/admin/bridge`: what an operator sees and orders. Who and why is asked for, and goes into the log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson
from aiohttp import web

from api.bridge.mirror_messages import message_of
from api.bridge.mirror_part import ADMIN_BASE, MESSAGE_ID, bridge_route, mirror_of
from api.bridge.mirror_schemas import (
    LogQuestion,
    LogShown,
    OperatorsMessage,
    Order,
    OrderShown,
    PauseOrder,
    PausesShown,
    ResumeOrder,
)
from api.bridge.mirror_showing import operators_message
from api.fields import read_model
from api.limits import Bodies
from api.ports import Node
from api.registry.asking import parameters_of, question_of
from api.replies import json_reply
from api.route import Handler, Parameter, Route, json_content
from bridge.mirror.records import AUDIT
from energytag.models.common import moment_of_ms
from store.port import Document, Find

_COMMAND: Final = Parameter("command", "path", "The order's id.", {"type": "string", "format": "uuid"}, True)


class OperationsHandler:
    """Orders are carried out by the process that has the lease, through the store: any process may be asked."""

    def __init__(self, node: Node, bodies: Bodies, wait_secs: float) -> None:
        self._node = node
        self._bodies = bodies
        self._wait_secs = wait_secs

    # Seeing

    async def message(self, request: web.Request) -> web.Response:
        message = await message_of(mirror_of(self._node).store, request.match_info["message_id"])
        return json_reply(operators_message(message))

    async def log(self, request: web.Request) -> web.Response:
        asked = question_of(request, LogQuestion)
        find = Find(lower=(asked.cursor or 0) + 1, limit=asked.limit)
        rows = (await mirror_of(self._node).store.find(AUDIT, find)).documents
        cursor = rows[-1]["_id"] if len(rows) == asked.limit else None
        return json_reply({"entries": list(map(_entry_shown, rows)), "cursor": cursor})

    async def pauses(self, _request: web.Request) -> web.Response:
        paused = await mirror_of(self._node).pauses.all()
        return json_reply({"paused": {direction.value: _pause_shown(row) for direction, row in paused.items()}})

    async def order(self, request: web.Request) -> web.Response:
        return _outcome(await mirror_of(self._node).desk.outcome(request.match_info["command"]))

    # Ordering

    async def pause(self, request: web.Request) -> web.Response:
        asked = await read_model(request, self._bodies, PauseOrder)
        return await self._ordered("pause", asked, {"direction": asked.direction.value})

    async def resume(self, request: web.Request) -> web.Response:
        asked = await read_model(request, self._bodies, ResumeOrder)
        about = {"direction": asked.direction.value, "even_breached": asked.even_breached}
        return await self._ordered("resume", asked, about)

    async def hold(self, request: web.Request) -> web.Response:
        return await self._order_message(request, "hold")

    async def release(self, request: web.Request) -> web.Response:
        return await self._order_message(request, "release")

    async def refund(self, request: web.Request) -> web.Response:
        return await self._order_message(request, "refund")

    async def write_off(self, request: web.Request) -> web.Response:
        return await self._order_message(request, "write_off")

    async def _order_message(self, request: web.Request, kind: str) -> web.Response:
        asked = await read_model(request, self._bodies, Order)
        message = await message_of(mirror_of(self._node).store, request.match_info["message_id"])
        return await self._ordered(kind, asked, {"message": message.id.hex()})

    async def _ordered(self, kind: str, asked: Order, about: Mapping[str, Any]) -> web.Response:
        desk = mirror_of(self._node).desk
        return _outcome(await desk.ask(kind, {**about, "reason": asked.reason}, asked.by, self._wait_secs))

    # Routes

    def routes(self) -> tuple[Route, ...]:
        return (*self._seeing(), *self._ordering())

    def _seeing(self) -> tuple[Route, ...]:
        return (
            bridge_route(
                "GET",
                f"{ADMIN_BASE}/messages/{{message_id}}",
                "inspectBridgeMessage",
                "A crossing, with all that the node knows of it",
                self.message,
                OperatorsMessage,
                parameters=(MESSAGE_ID,),
            ),
            bridge_route(
                "GET",
                f"{ADMIN_BASE}/log",
                "readBridgeLog",
                "The hash-chained log: each entry's hash is the SHA-256 of its canonical JSON, which names the one "
                "before",
                self.log,
                LogShown,
                parameters=parameters_of(LogQuestion),
            ),
            bridge_route(
                "GET",
                f"{ADMIN_BASE}/pauses",
                "listBridgePauses",
                "Which directions are paused, by whom and why",
                self.pauses,
                PausesShown,
            ),
            bridge_route(
                "GET",
                f"{ADMIN_BASE}/orders/{{command}}",
                "readBridgeOrder",
                "What came of an order; the error that it was refused with, if it was",
                self.order,
                _ORDER_REPLIES,
                parameters=(_COMMAND,),
                errors=(409, 500),
            ),
        )

    def _ordering(self) -> tuple[Route, ...]:
        of_message = f"{ADMIN_BASE}/messages/{{message_id}}"
        return (
            _order_route(
                f"{ADMIN_BASE}/pause",
                "pauseBridge",
                "Pause a direction: nothing new is signed in it",
                self.pause,
                PauseOrder,
            ),
            _order_route(
                f"{ADMIN_BASE}/resume",
                "resumeBridge",
                "Resume a direction that is paused",
                self.resume,
                ResumeOrder,
            ),
            _order_route(
                f"{of_message}/hold",
                "holdBridgeMessage",
                "Set a message aside, before anything is signed for it",
                self.hold,
                Order,
            ),
            _order_route(
                f"{of_message}/release", "releaseBridgeMessage", "Have a held message go on", self.release, Order
            ),
            _order_route(
                f"{of_message}/refund",
                "refundBridgeMessage",
                "Give a held message's energy back on the chain that it came from",
                self.refund,
                Order,
            ),
            _order_route(
                f"{of_message}/write-off",
                "writeOffBridgeMessage",
                "Take a held message whose source is gone out of the books",
                self.write_off,
                Order,
            ),
        )


_ORDER_REPLIES: Final = {
    200: json_content("It was carried out.", OrderShown),
    202: json_content("It is not carried out yet.", OrderShown),
}


def _order_route(path: str, operation: str, summary: str, handler: Handler, body: type[Order]) -> Route:
    return bridge_route(
        "POST",
        path,
        operation,
        summary,
        handler,
        _ORDER_REPLIES,
        description="It is carried out by the process that mirrors, once, with who and why in the log.",
        body=body,
        parameters=(MESSAGE_ID,) if body is Order else (),
        errors=(429,),
    )


def _outcome(told: Mapping[str, Any]) -> web.Response:
    return json_reply(told, 200 if told["state"] == "done" else 202)


def _entry_shown(row: Document) -> dict[str, Any]:
    return {"number": row["_id"], "hash": row["hash"].hex(), "entry": orjson.loads(row["text"])}


def _pause_shown(row: Document) -> dict[str, Any]:
    return {"reason": row["reason"], "by": row["by"], "at": moment_of_ms(row["at_ms"])}
