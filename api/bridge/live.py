"""`/ws` and `/ws/{channel}`: what happens to readings, told to whoever may hear of it and asks.

An upgrade is refused with the usual errors of HTTP, before it is made. What follows are text messages of JSON: from
the node notices, from the listener `subscribe` and `unsubscribe`. docs/OPERATIONS.md shows one of each.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any, Final

from aiohttp import web

from api.access import offered_protocols
from api.bridge.part import metering_caller, metering_of
from api.bridge.session import Session
from api.ports import Node
from api.replies import OWN_ID, REQUEST_ID
from api.route import Access, Content, Parameter, Route, Tag
from bridge.audible import audible_meters
from bridge.notices import NoticeKind
from bridge.wants import Wants
from config.errors import BadRequest, NotFound
from config.settings import LiveSettings
from energytag.access import Caller

PROTOCOL: Final = "metawatt"
CHANNELS: Final = {
    "meters": Wants(kinds=frozenset({NoticeKind.RECEIVED, NoticeKind.REFUSED})),
    "minting": Wants(kinds=frozenset({NoticeKind.MINTED, NoticeKind.BATCH_DONE})),
}
_ADDRESS: Final = re.compile(r"[1-9A-HJ-NP-Za-km-z]{32,44}")
_OPERATOR: Final = "operator"
_DESCRIPTION: Final = """\
A WebSocket. The token is a bearer token in `Authorization`, or, from a browser, the second of two offered
protocols: `new WebSocket(url, ["metawatt", "bearer." + token])`.

The node sends one JSON object a message; its `type` is `meter_reading_received`, `tokens_minted`,
`meter_reading_validation_failed` or `batch_minting_completed`. An administrator hears of all meters, a user of the
meters of accounts that he acts for, and everybody of batches.

`{"type": "subscribe", "kinds": [...], "meters": [...], "wallets": [...]}` replaces what is heard; a list that is
left out bounds nothing. `{"type": "unsubscribe"}` silences. Both are answered by `{"type": "subscribed", ...}`,
what is not understood by `{"type": "error", "code", "message"}`.

Close codes: 1001 the node is stopping, 1009 a message was too large, 1013 notices were not read as fast as they
came, 4401 the token has ended. A ping that is not answered ends the connection as well."""
_CHANNEL: Final = Parameter(
    "channel",
    "path",
    "`meters` (readings taken and refused), `minting` (mints and batches), or a wallet's address (base58).",
    {"type": "string"},
    required=True,
)


class LiveHandler:
    """Takes listeners in; each is served until it leaves, or is let go."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._settings: LiveSettings = node.settings.live

    async def listen(self, request: web.Request) -> web.StreamResponse:
        hub = metering_of(self._node).hub
        socket = self._socket(request)
        wants = wants_of(request.match_info.get("channel"))
        caller = await metering_caller(request, self._node)
        may = await self._audible(caller)
        listener = hub.join(caller.user_id or _OPERATOR, replace(wants, may=may))
        try:
            await socket.prepare(request)
            await Session(hub, listener, socket, self._settings, lambda: self._audible_now(request)).serve()
        finally:
            hub.leave(listener)
            _let_go(request)
        return socket

    def _socket(self, request: web.Request) -> web.WebSocketResponse:
        """The upgrade, which is not made yet; `BadRequest` when none is asked for, or not as it must be."""
        offered = offered_protocols(request)
        if offered and PROTOCOL not in offered:
            raise BadRequest(f"Offer the protocol {PROTOCOL}, beside the one with the token")
        socket = web.WebSocketResponse(
            protocols=(PROTOCOL,),
            heartbeat=self._settings.heartbeat_secs,
            max_msg_size=self._settings.message_bytes,
            compress=False,
        )
        if not socket.can_prepare(request):
            raise BadRequest(f"{request.path} is a WebSocket: ask for an upgrade (RFC 6455)")
        socket.headers[REQUEST_ID] = request[OWN_ID]
        return socket

    async def _audible_now(self, request: web.Request) -> frozenset[str] | None:
        """What the bearer of the request's token may hear of now; `Unauthorized` when it is good no longer."""
        return await self._audible(await metering_caller(request, self._node))

    async def _audible(self, caller: Caller) -> frozenset[str] | None:
        return await audible_meters(self._node.store, caller, self._settings.meters_per_listener)

    def routes(self) -> tuple[Route, ...]:
        return (
            _route("/ws", "listen", "Readings and mints as they happen", self.listen),
            _route("/ws/{channel}", "listenToChannel", "Some of them", self.listen, (_CHANNEL,)),
        )


def wants_of(channel: str | None) -> Wants:
    """What a channel begins with; all for None. `NotFound` when there is no such channel."""
    if channel is None:
        return Wants()
    if channel in CHANNELS:
        return CHANNELS[channel]
    if _ADDRESS.fullmatch(channel) is None:
        raise NotFound(f"No such channel: there are {', '.join(CHANNELS)}, and one for each wallet's address")
    return Wants(wallets=frozenset({channel}))


def _let_go(request: web.Request) -> None:
    """Do not wait for one to read what is left who has stopped reading."""
    transport = request.transport
    if transport is not None and transport.get_write_buffer_size():
        transport.abort()


def _route(path: str, operation: str, summary: str, handler: Any, parameters: tuple[Parameter, ...] = ()) -> Route:
    return Route(
        "GET",
        path,
        operation,
        Tag.METERS,
        summary,
        handler,
        description=_DESCRIPTION,
        parameters=parameters,
        replies={101: Content("The connection is a WebSocket from here on.", {})},
        errors=(400, 401, 404, 429, 503),
        access=Access.CALLER,
        when_ready=True,
        extension=True,
        stays_open=True,
    )
