"""`/recurring`: series of transfers, cancellations and claims, what came of them, and their end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson
from aiohttp import web

from api.ports import Node
from api.registry.access import caller_of
from api.registry.answers import registry_of, unfinished
from api.registry.paging import PAGING, paging_of
from api.replies import json_reply
from api.route import Access, Content, Handler, Parameter, Route, Tag, json_content
from config.errors import BadRequest
from energytag.access import demand_member, demand_on
from energytag.actions import Action, Kind
from energytag.listing import Walk, listed
from energytag.models.answers import ActionRead
from energytag.models.common import moment_of_ms
from energytag.models.recurring import RecurringList, RecurringRead
from energytag.recurring import RECURRING, occurrences_of, series_of
from store.port import Document

MOST_OCCURRENCES: Final = 100
_ID: Final = Parameter("recurring_id", "path", "The series.", {"type": "string", "format": "uuid"}, True)
_ACCOUNT: Final = Parameter("account_id", "query", "Its account.", {"type": "string", "format": "uuid"}, True)


class RecurringHandler:
    """Reads series, and stops them; they are begun under /certificates."""

    def __init__(self, node: Node) -> None:
        self._node = node

    async def listed(self, request: web.Request) -> web.Response:
        caller = await caller_of(request, self._node)
        account_id = request.query.get("account_id", "").lower()
        if not account_id:
            raise BadRequest("account_id is missing in the query")
        await demand_member(self._node.store, caller, account_id)
        limit, cursor = paging_of(request)
        walk = Walk("", RECURRING, "account", {"account_id": account_id})
        page = await listed(self._node.store, [walk], limit, cursor)
        return json_reply({"recurring": [told(each) for each in page.documents], "cursor": page.cursor})

    async def read(self, request: web.Request) -> web.Response:
        caller = await caller_of(request, self._node)
        document = await self._series(request)
        await demand_member(self._node.store, caller, document["account_id"])
        return await self._answer(document)

    async def stop(self, request: web.Request) -> web.Response:
        caller = await caller_of(request, self._node)
        document = await self._series(request)
        await demand_on(self._node.store, caller, Kind.RECURRING_STOP, document["account_id"])
        outcome = await registry_of(self._node).act(
            Kind.RECURRING_STOP,
            {"recurring_id": document["_id"]},
            user_id=caller.user_id,
            account_id=document["account_id"],
        )
        return unfinished(outcome.action) or await self._answer(await self._series(request))

    async def _series(self, request: web.Request) -> Document:
        registry_of(self._node)
        return await series_of(self._node.store, request.match_info["recurring_id"].lower())

    async def _answer(self, document: Document) -> web.Response:
        runs = await occurrences_of(self._node.store, document, MOST_OCCURRENCES)
        return json_reply(told(document) | {"occurrences": [_told_run(run) for run in runs]})

    def routes(self) -> tuple[Route, ...]:
        """None of them is EnergyTag's."""
        read = json_content("The series.", RecurringRead)
        later = json_content("The action takes longer: ask for it by its id.", ActionRead)
        return (
            _route(
                "GET",
                "",
                "listRecurring",
                "The recurring actions of an account, the oldest first",
                self.listed,
                {200: json_content("The series.", RecurringList)},
                (_ACCOUNT, *PAGING),
            ),
            _route("GET", "/{recurring_id}", "readRecurring", "A recurring action", self.read, {200: read}, (_ID,)),
            _route(
                "POST",
                "/{recurring_id}/stop",
                "stopRecurring",
                "Stop a recurring action",
                self.stop,
                {200: read, 202: later},
                (_ID,),
            ),
        )


def told(document: Document) -> dict[str, Any]:
    """A series as JSON, without its occurrences."""
    next_ms = document["next_ms"]
    return {
        "recurring_id": document["_id"],
        "action": document["run"],
        "state": document["state"],
        "account_id": document["account_id"],
        "user_id": document["user_id"],
        "created_datetime": moment_of_ms(document["created_ms"]),
        "initial_datetime": moment_of_ms(document["first_ms"]),
        "period_units": document["unit"],
        "period_quantity": document["every"],
        "number_of_occurrences": document["number"],
        "past_occurrences": document["occurrence"],
        "next_datetime": None if next_ms is None else moment_of_ms(next_ms),
        "request": orjson.loads(document["request"]),
        "occurrences": [],
    }


def _told_run(action: Action) -> dict[str, Any]:
    told = {
        "occurrence": action.request["occurrence"],
        "due_datetime": action.request["due_datetime"],
        "action_id": action.action_id,
        "action_state": action.state.value,
        "tx_ids": list(action.txids),
    }
    return told if action.error is None else told | {"error": dict(action.error)}


def _route(
    method: str,
    tail: str,
    operation: str,
    summary: str,
    handler: Handler,
    replies: Mapping[int, Content],
    parameters: tuple[Parameter, ...],
) -> Route:
    conflicts = () if method == "GET" else (409,)
    return Route(
        method,
        f"/recurring{tail}",
        operation,
        Tag.ACTIONS,
        summary,
        handler,
        parameters=parameters,
        replies=replies,
        errors=(400, 401, 403, 404, *conflicts, 422, 503),
        access=Access.CALLER,
        when_ready=True,
        extension=True,
    )
