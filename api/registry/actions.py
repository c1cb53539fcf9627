"""`/actions`: what became of the calls that change the registry."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from aiohttp import web

from api import schemas
from api.fields import read_model
from api.limits import Bodies
from api.ports import Node
from api.registry.access import caller_of
from api.registry.answers import registry_of, told_action
from api.registry.paging import PAGING, paging_of
from api.replies import json_reply
from api.route import Access, Content, Handler, Parameter, Route, Shape, Tag, json_content
from config.errors import BadRequest, ErrorCode, Forbidden
from energytag.access import Caller, demand_member
from energytag.actions import Action, State
from energytag.memberships import is_member
from energytag.models.answers import ActionList, ActionRead
from energytag.models.certificates import ActionComplete
from energytag.records import ACTIONS
from store.port import Document, Find

MOST_LOOKED_AT: Final = 200
"""Actions that one read of the store gives."""
_ROUNDS: Final = 20
_MOST: Final = 2**63 - 1
_BINARY: Final = "application/octet-stream"
_CURSOR: Final = re.compile(r"[0-9a-f]{1,16}").fullmatch
_ID: Final = Parameter("action_id", "path", "The action.", {"type": "string", "format": "uuid"})
_ASIDE: Final = (
    "An action of several transactions of which some are done, and another was refused again and again, is pending "
    "and has an error: it waits until the registry administrator has mended the cause. Any other stays as it is."
)
_FILTERS: Final = (
    Parameter("account_id", "query", "Only this account's.", {"type": "string", "format": "uuid"}),
    Parameter("state", "query", "Only those in this state.", {"type": "string", "enum": list(State)}),
    *PAGING,
)


class ActionsHandler:
    """Reads actions, and takes in what users' wallets have signed for them."""

    def __init__(self, node: Node, bodies: Bodies) -> None:
        self._node = node
        self._bodies = bodies

    async def read(self, request: web.Request) -> web.Response:
        caller = await caller_of(request, self._node)
        return json_reply(told_action(await self._own(caller, request), with_request=True))

    async def listed(self, request: web.Request) -> web.Response:
        caller = await caller_of(request, self._node)
        find = await self._walk(caller, request.query.get("account_id"))
        limit, cursor = paging_of(request)
        find = replace(find, upper=_position(cursor), descending=True, limit=MOST_LOOKED_AT)
        found, end = await self._found(find, _state(request.query.get("state")), limit)
        told: dict[str, Any] = {"actions": [told_action(Action.read(each)) for each in found]}
        return json_reply(told if end is None else told | {"cursor": f"{end:x}"})

    async def complete(self, request: web.Request) -> web.Response:
        caller = await caller_of(request, self._node)
        action = await self._own(caller, request)
        outcome = await registry_of(self._node).complete(action.action_id, await self._beef(request))
        refusal = outcome.action.refusal()
        if refusal is not None:
            raise refusal
        return json_reply(told_action(outcome.action), 202)

    async def resume(self, request: web.Request) -> web.Response:
        caller = await caller_of(request, self._node)
        if not caller.is_administrator:
            raise Forbidden("An action is taken up again by the registry administrator only")
        outcome = await registry_of(self._node).resume(request.match_info["action_id"].lower())
        return json_reply(told_action(outcome.action), 202)

    async def _own(self, caller: Caller, request: web.Request) -> Action:
        """The action of the path; `Forbidden` unless the caller made it, or acts for its account."""
        action = await registry_of(self._node).action(request.match_info["action_id"].lower())
        if caller.is_administrator or (caller.user_id is not None and caller.user_id == action.user_id):
            return action
        if caller.user_id is None or action.account_id is None:
            raise Forbidden(f"You may not see action {action.action_id}")
        if not await is_member(self._node.store, action.account_id, caller.user_id):
            raise Forbidden(f"You may not see action {action.action_id}")
        return action

    async def _walk(self, caller: Caller, account_id: str | None) -> Find:
        """An account's actions, else the caller's own; all of them for an administrator."""
        if account_id is not None:
            await demand_member(self._node.store, caller, account_id.lower())
            return Find("account", {"account_id": account_id.lower()})
        return Find("seq") if caller.is_administrator else Find("user", {"user_id": caller.user_id})

    async def _found(self, find: Find, state: State | None, limit: int) -> tuple[Sequence[Document], int | None]:
        """A page of actions, or fewer when few are in that state, and where to go on."""
        found: list[Document] = []
        for _ in range(_ROUNDS):
            page = await self._node.store.find(ACTIONS, find)
            found += [each for each in page.documents if state in (None, each["state"])]
            if len(found) > limit:
                return found[:limit], found[limit - 1]["seq"]
            if page.last is None:
                return found, None
            find = replace(find, upper=page.documents[-1]["seq"])
        return found, int(find.upper) if isinstance(find.upper, int) else None

    async def _beef(self, request: web.Request) -> bytes:
        if request.content_type != _BINARY:
            body = await read_model(request, self._bodies, ActionComplete, self._node.settings.limits.body_bytes)
            return b64decode(body.beef)
        beef = await self._bodies.read(request)
        self._bodies.release(len(beef))
        return beef

    def routes(self) -> tuple[Route, ...]:
        """None of them is EnergyTag's."""
        signed = Content("The signed transaction.", {"application/json": ActionComplete, **schemas.BINARY})
        return (
            _route(
                "GET", "/actions", "listActions", "Your actions, or an account's", self.listed, ActionList, _FILTERS
            ),
            _route("GET", "/actions/{action_id}", "getAction", "An action", self.read, ActionRead, (_ID,)),
            replace(
                _route(
                    "POST",
                    "/actions/{action_id}/complete",
                    "completeAction",
                    "Go on with an action that waits for its user's wallet",
                    self.complete,
                    ActionRead,
                    (_ID,),
                    status=202,
                ),
                body=signed,
                errors=(400, 401, 403, 404, 408, 409, 413, 415, 422, 429, 503),
            ),
            replace(
                _route(
                    "POST",
                    "/actions/{action_id}/resume",
                    "resumeAction",
                    "Go on with an action that was set aside",
                    self.resume,
                    ActionRead,
                    (_ID,),
                    status=202,
                ),
                description=_ASIDE,
            ),
        )


def _route(
    method: str,
    path: str,
    operation: str,
    summary: str,
    handler: Handler,
    answer: Shape,
    parameters: tuple[Parameter, ...],
    status: int = 200,
) -> Route:
    return Route(
        method,
        path,
        operation,
        Tag.ACTIONS,
        summary,
        handler,
        parameters=parameters,
        replies={status: json_content("As it is now.", answer)},
        errors=(400, 401, 403, 404, 422, 503),
        access=Access.CALLER,
        when_ready=True,
        extension=True,
    )


def _state(text: str | None) -> State | None:
    if text is None:
        return None
    try:
        return State(text)
    except ValueError:
        raise BadRequest(f"state must be one of {', '.join(State)}", ErrorCode.BAD_QUERY) from None


def _position(cursor: str | None) -> int | None:
    """The number that a cursor stands for."""
    if cursor is None:
        return None
    if not _CURSOR(cursor):
        raise BadRequest("this is not a cursor of this list", ErrorCode.BAD_CURSOR)
    return min(int(cursor, 16), _MOST)
