"""`/api/admin/event-processor`: what happened on Solana, watched over and replayed by the operator."""

from __future__ import annotations

from typing import Final

from aiohttp import web
from pydantic import BaseModel

from api.bridge.part import metering_of
from api.fields import read_model
from api.limits import Bodies
from api.ports import Node
from api.registry.asking import parameters_of, question_of
from api.replies import json_reply
from api.route import Access, Handler, Parameter, Route, Tag, json_content
from bridge.watching.processor import EventProcessor
from bridge.watching.showing import (
    EventsShown,
    MovementsQuestion,
    MovementsShown,
    ReplayAsked,
    ReplayShown,
    ReplaysShown,
    SkipAsked,
    address_shown,
    movement_shown,
    replay_shown,
    signature_of,
)

_BASE: Final = "/api/admin/event-processor"


class WatchingHandler:
    """Replays, gaps, and the rows that final transactions left."""

    def __init__(self, node: Node, bodies: Bodies) -> None:
        self._node = node
        self._bodies = bodies

    @property
    def _watching(self) -> EventProcessor:
        return metering_of(self._node).watching

    async def replay(self, request: web.Request) -> web.Response:
        asked = await read_model(request, self._bodies, ReplayAsked)
        slot = asked.from_slot
        if slot is None:
            slot = await self._watching.slot_of(signature_of(asked.from_signature or ""))
        return json_reply(replay_shown(await self._watching.begin_replay(slot)), 202)

    async def replays(self, _request: web.Request) -> web.Response:
        return json_reply({"replays": list(map(replay_shown, await self._watching.replays()))})

    async def skip_gap(self, request: web.Request) -> web.Response:
        asked = await read_model(request, self._bodies, SkipAsked)
        await self._watching.skip_gap(asked.address)
        return await self.status(request)

    async def status(self, _request: web.Request) -> web.Response:
        watching = self._watching
        final_slot = await watching.final_slot()
        addresses = [address_shown(each, final_slot) for each in await watching.standings()]
        return json_reply(
            {
                "final_slot": final_slot,
                "is_listening": watching.is_listening,
                "unexplained": await watching.unexplained(),
                "addresses": addresses,
            }
        )

    async def movements(self, request: web.Request) -> web.Response:
        asked = question_of(request, MovementsQuestion)
        page = await self._watching.movements(asked.kind, asked.limit, asked.cursor)
        return json_reply({"movements": list(map(movement_shown, page.documents)), "cursor": page.cursor})

    def routes(self) -> tuple[Route, ...]:
        return (
            _route(
                "POST",
                "/replay",
                "replayEvents",
                "Apply Solana's history from a slot on anew; what is there is replaced, never doubled",
                self.replay,
                ReplayShown,
                body=ReplayAsked,
                status=202,
            ),
            _route(
                "GET",
                "/replay",
                "listReplays",
                "The last hundred replays, newest first",
                self.replays,
                ReplaysShown,
            ),
            _route(
                "GET",
                "/status",
                "readEventProcessor",
                "How far Solana's history is applied",
                self.status,
                EventsShown,
            ),
            _route(
                "GET",
                "/movements",
                "listMovements",
                "What final transactions did to the mint, whoever sent them",
                self.movements,
                MovementsShown,
                parameters=parameters_of(MovementsQuestion),
            ),
            _route(
                "POST",
                "/skip-gap",
                "skipHistoryGap",
                "Go on over a gap in an address's history: nothing in it will be known",
                self.skip_gap,
                EventsShown,
                body=SkipAsked,
            ),
        )


def _route(
    method: str,
    tail: str,
    operation: str,
    summary: str,
    handler: Handler,
    reply: type[BaseModel],
    *,
    body: type[BaseModel] | None = None,
    parameters: tuple[Parameter, ...] = (),
    status: int = 200,
) -> Route:
    reading = (400, 401, 403, 422, 503) if parameters else (401, 403, 503)
    return Route(
        method,
        f"{_BASE}{tail}",
        operation,
        Tag.METERS,
        summary,
        handler,
        parameters=parameters,
        body=None if body is None else json_content("JSON.", body),
        replies={status: json_content("JSON.", reply)},
        errors=reading if body is None else (400, 401, 403, 404, 408, 409, 413, 415, 422, 429, 503),
        access=Access.ADMIN,
        when_ready=True,
    )
