"""`/organisations`, `/users`, `/accounts` and `/devices`: the same operations on each, and a few of their own.

A call that changes something is an action; it is answered when the action is resolved, with the object as it is
then. One that takes longer is answered 202, and can be asked after by its action's id.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any
from uuid import UUID

from aiohttp import web

from api.fields import read_model
from api.limits import Bodies
from api.ports import Node
from api.registry.access import caller_of
from api.registry.answers import registry_of, unfinished
from api.registry.directory_routes import extra_route, list_route, noun_route
from api.registry.nouns import ACCOUNT, DEVICE, NOUNS, USER, Noun
from api.registry.paging import PAGING, paging_of
from api.replies import json_reply
from api.route import Route
from config.errors import ErrorCode, NotFound
from energytag.access import Caller, demand, demand_on
from energytag.actions import Action, Kind
from energytag.listing import Walk, listed
from energytag.models.common import InvalidFields, written
from energytag.models.directory import WhitelistRead, WhitelistUpdate, changes_of
from energytag.sight import Sight, devices_of
from store.port import Document


class DirectoryHandler:
    """Every operation on the directory."""

    def __init__(self, node: Node, bodies: Bodies) -> None:
        self._node = node
        self._bodies = bodies

    # The same for each noun

    async def create(self, noun: Noun, request: web.Request) -> web.Response:
        caller = await caller_of(request, self._node)
        body = await read_model(request, self._bodies, noun.base)
        demand(caller, noun.create)
        action = await self._act(caller, noun.create, written(body))
        return await self._answer(noun, action)

    async def read(self, noun: Noun, request: web.Request) -> web.Response:
        caller = await caller_of(request, self._node)
        document = await noun.find(self._node.store, _id_of(noun, request))
        await noun.demand_sight(Sight(self._node.store, caller), document)
        return json_reply(written(await noun.read(self._node.store, document)))

    async def update(self, noun: Noun, request: web.Request) -> web.Response:
        caller = await caller_of(request, self._node)
        body = await read_model(request, self._bodies, noun.changes)
        subject_id = _id_of(noun, request)
        await self._demand(caller, noun, noun.update, subject_id)
        changes = changes_of(body)
        if changes.get(noun.id_name, subject_id) != subject_id:
            raise _invalid("body", noun.id_name, "is another id than the path's")
        await noun.find(self._node.store, subject_id)
        action = await self._act(caller, noun.update, {**changes, noun.id_name: subject_id})
        return await self._answer(noun, action)

    async def delete(self, noun: Noun, request: web.Request) -> web.Response:
        """Answers with the object as it was."""
        caller = await caller_of(request, self._node)
        subject_id = _id_of(noun, request)
        await self._demand(caller, noun, noun.delete, subject_id)
        store = self._node.store
        was = written(await noun.read(store, await noun.find(store, subject_id)))
        action = await self._act(caller, noun.delete, {noun.id_name: subject_id})
        later = unfinished(action)
        return json_reply(was) if later is None else later

    async def list(self, noun: Noun, request: web.Request) -> web.Response:
        caller = await caller_of(request, self._node)
        return await self._page(noun, await noun.walks(Sight(self._node.store, caller)), request)

    # Of their own

    async def me(self, request: web.Request) -> web.Response:
        caller = await caller_of(request, self._node)
        if caller.user_id is None:
            raise NotFound("The admin token is no user's", ErrorCode.USER_UNKNOWN)
        return json_reply(written(USER.show(await USER.find(self._node.store, caller.user_id))))

    async def devices(self, request: web.Request) -> web.Response:
        document = await self._seen_account(request)
        return await self._page(DEVICE, [devices_of(document["_id"])], request)

    async def whitelist(self, request: web.Request) -> web.Response:
        return _whitelist_of(await self._seen_account(request))

    async def put_whitelist(self, request: web.Request) -> web.Response:
        caller = await caller_of(request, self._node)
        body = await read_model(request, self._bodies, WhitelistUpdate)
        account_id = _id_of(ACCOUNT, request)
        await demand_on(self._node.store, caller, Kind.WHITELIST_UPDATE, account_id)
        change = {ACCOUNT.id_name: account_id, "whitelist": body.whitelist}
        action = await self._act(caller, Kind.WHITELIST_UPDATE, change)
        later = unfinished(action)
        return _whitelist_of(await ACCOUNT.find(self._node.store, account_id)) if later is None else later

    # Parts

    async def _seen_account(self, request: web.Request) -> Document:
        caller = await caller_of(request, self._node)
        document = await ACCOUNT.find(self._node.store, _id_of(ACCOUNT, request))
        await Sight(self._node.store, caller).demand_account(document)
        return document

    async def _demand(self, caller: Caller, noun: Noun, kind: Kind, subject_id: str) -> None:
        if noun.holders_act:
            await demand_on(self._node.store, caller, kind, subject_id)
        else:
            demand(caller, kind)

    async def _act(self, caller: Caller, kind: Kind, change: Mapping[str, Any]) -> Action:
        """The action, after the wait that the settings allow it."""
        registry = registry_of(self._node)
        outcome = await registry.act(kind, change, user_id=caller.user_id, account_id=change.get(ACCOUNT.id_name))
        return outcome.action

    async def _answer(self, noun: Noun, action: Action) -> web.Response:
        if (later := unfinished(action)) is not None:
            return later
        document = await noun.find(self._node.store, action.result["id"])
        return json_reply(written(await noun.read(self._node.store, document)))

    async def _page(self, noun: Noun, walks: Sequence[Walk], request: web.Request) -> web.Response:
        limit, cursor = paging_of(request)
        page = await listed(self._node.store, walks, limit, cursor)
        return json_reply(
            {noun.plural: [written(noun.show(each)) for each in page.documents], "cursor": page.cursor}
        )

    # Routes

    def routes(self) -> tuple[Route, ...]:
        return (*(route for noun in NOUNS for route in self._of(noun)), *self._extras())

    def _of(self, noun: Noun) -> tuple[Route, ...]:
        """EnergyTag's four operations, and the list."""
        return (
            noun_route(noun, "POST", "create", partial(self.create, noun), noun.base),
            noun_route(noun, "GET", "read", partial(self.read, noun)),
            noun_route(noun, "PATCH", "update", partial(self.update, noun), noun.changes),
            noun_route(noun, "DELETE", "delete", partial(self.delete, noun)),
            list_route(noun, partial(self.list, noun)),
        )

    def _extras(self) -> tuple[Route, ...]:
        whitelist = "/{account_id}/whitelist"
        return (
            extra_route(USER, "GET", "/me", "readMe", "Who the caller is", self.me, USER.reply),
            extra_route(
                ACCOUNT,
                "GET",
                "/{account_id}/devices",
                "listDevicesOfAccount",
                "The devices of an account",
                self.devices,
                DEVICE.list_reply,
                parameters=PAGING,
            ),
            extra_route(
                ACCOUNT,
                "GET",
                whitelist,
                "readWhitelist",
                "The accounts that an account takes transfers from",
                self.whitelist,
                WhitelistRead,
            ),
            extra_route(
                ACCOUNT,
                "PUT",
                whitelist,
                "updateWhitelist",
                "Say which accounts an account takes transfers from",
                self.put_whitelist,
                WhitelistRead,
                WhitelistUpdate,
            ),
        )


def _id_of(noun: Noun, request: web.Request) -> str:
    """The id in the path, in its one spelling; `InvalidFields` (422) when it is no UUID."""
    try:
        return str(UUID(request.match_info[noun.id_name]))
    except ValueError:
        raise _invalid("path", noun.id_name, "must be a UUID") from None


def _invalid(where: str, name: str, message: str) -> InvalidFields:
    return InvalidFields([{"loc": [where, name], "msg": message, "type": "value_error"}])


def _whitelist_of(document: Document) -> web.Response:
    return json_reply({ACCOUNT.id_name: document["_id"], "whitelist": document["whitelist"]})
