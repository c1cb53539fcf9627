"""`GET /bridge/events`: the legs of all crossings as they happen, as server-sent events (HTML, 9.2)."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import structlog
from aiohttp import web
from multidict import CIMultiDict

from api.bridge.mirror_legs import Legs
from api.bridge.mirror_part import mirror_of
from api.bridge.mirror_schemas import EventsQuestion
from api.lifecycle import Lifecycle, Phase
from api.limits import client_of
from api.ports import Node
from api.registry.asking import parameters_of, question_of
from api.replies import COMMON, OWN_ID, REQUEST_ID
from api.route import Parameter, Route, Tag, text_content
from config.errors import BadRequest, Busy, MetawattError
from config.settings import LiveSettings

_MEDIA_TYPE: Final = "text/event-stream"
_LAST_ID: Final = "Last-Event-ID"
_MOST_DIGITS: Final = 15
_NUMBER: Final = {"type": "string", "pattern": f"^[0-9]{{1,{_MOST_DIGITS}}}$"}
_RETRY_MS: Final = 2000
_LOOK_SECS: Final = 0.5
_HEARTBEAT: Final = b": still here\n\n"
_DESCRIPTION: Final = """\
An event stream (`EventSource` in browsers). `leg` tells of one step of one message:
`{"message_id", "direction", "from", "to", "wh", "at"}`, `from` being null for a message that came into being.
`pause` tells that a direction was paused or resumed: `{"direction", "is_paused", "at"}`.

It begins with what comes now; with `Last-Event-ID`, or `after`, with what followed that entry of the log, so that
nothing is missed over a lost connection. Steps of one entry carry its number with the last of them: a connection
that breaks amid them gets them again. Comments keep the connection alive. One that does not take its events within
the time of a heartbeat is ended."""

log = structlog.get_logger("metawatt.mirror")


class EventsHandler:
    """The listeners of one process, a bounded number of them, and of each address."""

    def __init__(self, node: Node, lifecycle: Lifecycle) -> None:
        self._node = node
        self._lifecycle = lifecycle
        self._settings: LiveSettings = node.settings.live
        self._clients: Counter[str] = Counter()
        self._legs: Legs | None = None

    @property
    def listeners(self) -> int:
        return self._clients.total()

    async def events(self, request: web.Request) -> web.StreamResponse:
        legs = self._told()
        asked = _asked(request)
        response = _stream_of(request)
        if request.method == "HEAD":
            await response.prepare(request)
            return response
        with self._place(client_of(request.remote)):
            newest = await legs.join()
            try:
                await response.prepare(request)
                await self._serve(request, response, legs, newest if asked is None else min(asked, newest))
            finally:
                legs.leave()
        return response

    async def _serve(self, request: web.Request, response: web.StreamResponse, legs: Legs, number: int) -> None:
        """Until the listener or the node leaves. Its answer has begun: an error ends it, and it comes again."""
        await self._send(request, response, f"retry: {_RETRY_MS}\n\n".encode())
        try:
            while not legs.is_over:
                told = await legs.after(number)
                if told:
                    number = told[-1].number
                    await self._send(request, response, b"".join(each.text for each in told))
                elif not await self._grown(request, legs):
                    await self._send(request, response, _HEARTBEAT)
        except MetawattError as error:
            log.warning("a listener of the bridge was let go", code=error.code, reason=error.message)

    async def _grown(self, request: web.Request, legs: Legs) -> bool:
        """Wait for what is new, for the time of a heartbeat; who has left meanwhile loses his place at once."""
        left_secs = self._settings.heartbeat_secs
        while left_secs > 0:
            if await legs.growth(min(left_secs, _LOOK_SECS)):
                return True
            left_secs -= _LOOK_SECS
            if request.transport is None or request.transport.is_closing():
                raise ConnectionResetError("the listener has left")
        return False

    async def _send(self, request: web.Request, response: web.StreamResponse, text: bytes) -> None:
        """At the listener's pace, within bounds."""
        if not text:
            return
        try:
            async with asyncio.timeout(self._settings.heartbeat_secs):
                await response.write(text)
        except TimeoutError:
            if request.transport is not None:
                request.transport.abort()
            raise ConnectionResetError("the listener does not take its events") from None

    @contextmanager
    def _place(self, client: str) -> Iterator[None]:
        """A listener's place; `Busy` at a bound."""
        if self.listeners >= self._settings.listeners:
            raise Busy("Too many listeners at once", retry_after_secs=self._settings.heartbeat_secs)
        if self._clients[client] >= self._settings.listeners_per_client:
            raise Busy("You have too many listeners at once", retry_after_secs=self._settings.heartbeat_secs)
        self._clients[client] += 1
        try:
            yield
        finally:
            self._clients[client] -= 1
            if not self._clients[client]:
                del self._clients[client]

    def _told(self) -> Legs:
        mirror = mirror_of(self._node)
        if self._legs is None:
            self._legs = Legs(mirror.store, lambda: self._lifecycle.phase is Phase.STOPPING)
        return self._legs

    def routes(self) -> tuple[Route, ...]:
        header = Parameter(_LAST_ID, "header", "The number of the log's entry that was heard last.", _NUMBER)
        return (
            Route(
                "GET",
                "/bridge/events",
                "listenToBridge",
                Tag.BRIDGE,
                "Legs of crossings as they happen",
                self.events,
                description=_DESCRIPTION,
                parameters=(header, *parameters_of(EventsQuestion)),
                replies={200: text_content("Events, without end.", _MEDIA_TYPE)},
                errors=(400, 404, 422, 503),
                when_ready=True,
                extension=True,
                stays_open=True,
            ),
        )


def _asked(request: web.Request) -> int | None:
    """The entry after which to begin: the header goes before the query, which a browser repeats unchanged."""
    after = question_of(request, EventsQuestion).after
    given = request.headers.get(_LAST_ID)
    if given is None:
        return after
    if not (given.isascii() and given.isdigit() and len(given) <= _MOST_DIGITS):
        raise BadRequest(f"{_LAST_ID} must be the number of an entry of the log")
    return int(given)


def _stream_of(request: web.Request) -> web.StreamResponse:
    fields = [
        *COMMON,
        ("Content-Type", f"{_MEDIA_TYPE}; charset=utf-8"),
        ("Cache-Control", "no-store"),
        # nginx would gather events before it passes them on.
        ("X-Accel-Buffering", "no"),
    ]
    response = web.StreamResponse(headers=CIMultiDict(fields))
    response.headers[REQUEST_ID] = request[OWN_ID]
    return response
