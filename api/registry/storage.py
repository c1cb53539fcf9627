"""`/storage`: storage charge and discharge records, and certificates of discharged energy.

Every path of the specification is also served with its first segment doubled, as EnergyTag's document has it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from aiohttp import web

from api.fields import read_model
from api.limits import Bodies
from api.ports import Node
from api.registry.access import caller_of
from api.registry.answers import action_response, registry_of, told_action, unfinished
from api.replies import json_reply
from api.route import Access, Handler, Parameter, Route, Shape, Tag, json_content
from energytag.access import Caller, Role, acting_user, demand, demand_member, demand_on
from energytag.accounts import account
from energytag.actions import Action, Kind
from energytag.bundles import told_made
from energytag.models.answers import ActionRead, GranularCertificateBundle
from energytag.models.common import moment_of_ms, written
from energytag.models.storage import (
    SCRQueryResponse,
    SDRQueryResponse,
    StorageAction,
    StorageActionResponse,
    StorageActionUpdateMutables,
    StorageAllocation,
    StorageBundle,
    StorageChargeRecord,
    StorageChargeRecordBase,
    StorageDischargeRecord,
    StorageDischargeRecordBase,
    StorageLineage,
    StorageQuery,
)
from energytag.storage_devices import storage_place
from energytag.storage_lineage import lineage
from energytag.storage_records import SCRS, SDRS, charge_record, discharge_record
from energytag.storage_search import Wanted, search
from energytag.storage_shown import show_charge, show_discharges
from store.port import Collection, Document, Reader

_ROOT: Final = "/storage"
_ERRORS: Final = (400, 401, 403, 404, 408, 409, 413, 415, 422, 503)
_BODIES: Final = frozenset({Role.GC_ISSUER, Role.PRODUCTION_REGISTRAR, Role.MEASUREMENT_BODY})
_ECHOED: Final = tuple(name for name, field in StorageAction.model_fields.items() if not field.exclude)
_CHAIN: Final = Parameter(
    "record_id",
    "path",
    "A discharge record, or the issuance of certificates that were issued from one.",
    {"type": "string", "format": "uuid"},
)


@dataclass(frozen=True, slots=True)
class Call:
    """A call on records that satisfy criteria, which answers with EnergyTag's action response."""

    name: str
    operation: str
    kind: Kind
    summary: str
    method: str = "POST"
    model: type[StorageAction] = StorageAction


CALLS: Final = (
    Call("withdraw_scr", "withdrawStorageCharges", Kind.WITHDRAW_SCR, "Withdraw charges that nothing draws on"),
    Call(
        "withdraw_sdr",
        "withdrawStorageDischarges",
        Kind.WITHDRAW_SDR,
        "Withdraw discharges; what they took goes back to their charges",
    ),
    Call(
        "update_mutables",
        "updateStorageMutables",
        Kind.STORAGE_UPDATE_MUTABLES,
        "Set what may change of records",
        "PATCH",
        StorageActionUpdateMutables,
    ),
)


async def _charges_shown(_: Reader, records: Sequence[Document]) -> list[dict[str, Any]]:
    return [show_charge(record) for record in records]


@dataclass(frozen=True, slots=True)
class Records:
    """One of the two kinds of records, and how it is queried. `key` is where an answer has them."""

    name: str
    operation: str
    collection: Collection
    key: str
    answer: type[StorageActionResponse]
    show: Callable[[Reader, Sequence[Document]], Awaitable[list[dict[str, Any]]]]


RECORDS: Final = (
    Records("query_scr", "queryStorageCharges", SCRS, "filtered_scrs", SCRQueryResponse, _charges_shown),
    Records("query_sdr", "queryStorageDischarges", SDRS, "filtered_sdrs", SDRQueryResponse, show_discharges),
)


class StorageHandler:
    """Checks who calls and what is asked; what comes of it is the registry's matter."""

    def __init__(self, node: Node, bodies: Bodies) -> None:
        self._node = node
        self._bodies = bodies

    # Records

    async def create_scr(self, request: web.Request) -> web.Response:
        action = await self._create(request, Kind.CREATE_SCR, StorageChargeRecordBase)
        return unfinished(action) or json_reply(
            show_charge(await charge_record(self._node.store, action.result["id"]))
        )

    async def create_sdr(self, request: web.Request) -> web.Response:
        return await self._discharge(await self._create(request, Kind.CREATE_SDR, StorageDischargeRecordBase))

    async def allocate(self, request: web.Request) -> web.Response:
        caller = await caller_of(request, self._node)
        demand(caller, Kind.ALLOCATE_STORAGE)
        body = await read_model(request, self._bodies, StorageAllocation)
        user_id = acting_user(caller, body.source_user_id)
        await demand_on(self._node.store, caller, Kind.ALLOCATE_STORAGE, body.source_account_id)
        outcome = await registry_of(self._node).act(
            Kind.ALLOCATE_STORAGE, written(body), user_id=user_id, account_id=body.source_account_id
        )
        return await self._discharge(outcome.action)

    async def _create(
        self,
        request: web.Request,
        kind: Kind,
        model: type[StorageChargeRecordBase | StorageDischargeRecordBase],
    ) -> Action:
        caller = await caller_of(request, self._node)
        demand(caller, kind)
        body = await read_model(request, self._bodies, model)
        user_id = caller.user_id if body.source_user_id is None else acting_user(caller, body.source_user_id)
        store = self._node.store
        account_id, device_id = await storage_place(store, caller, body.source_account_id, body.device_id)
        await demand_on(store, caller, kind, account_id)
        stated = written(body) | {"source_account_id": account_id, "device_id": device_id}
        outcome = await registry_of(self._node).act(kind, stated, user_id=user_id, account_id=account_id)
        return outcome.action

    async def _discharge(self, action: Action) -> web.Response:
        """The answer of an action on one discharge."""
        answer = unfinished(action)
        if answer is not None:
            return answer
        sdr = await discharge_record(self._node.store, action.result["id"])
        return json_reply((await show_discharges(self._node.store, [sdr]))[0])

    def _acting(self, call: Call) -> Handler:
        """The handler of a call."""

        async def act(request: web.Request) -> web.Response:
            caller = await caller_of(request, self._node)
            demand(caller, call.kind)
            body = await read_model(request, self._bodies, call.model)
            user_id = acting_user(caller, body.source_user_id)
            await account(self._node.store, body.source_account_id)
            base = written(body)
            outcome = await registry_of(self._node).act(
                call.kind, base, user_id=user_id, account_id=body.source_account_id
            )
            return json_reply(_response(outcome.action, base))

        return act

    # Certificates of discharged energy

    async def issue_sdgc(self, request: web.Request) -> web.Response:
        caller = await caller_of(request, self._node)
        demand(caller, Kind.ISSUE_SDGC)
        body = await read_model(request, self._bodies, StorageBundle)
        outcome = await registry_of(self._node).act(
            Kind.ISSUE_SDGC, written(body), user_id=caller.user_id, account_id=body.account_id
        )
        answer = unfinished(outcome.action)
        if answer is not None:
            return answer
        if not outcome.made:
            return json_reply(told_action(outcome.action), 202)
        return json_reply(told_made(outcome.made[0]) | {"action_id": outcome.action.action_id})

    # Finding

    def _querying(self, records: Records) -> Handler:
        """The handler of a query."""

        async def query(request: web.Request) -> web.Response:
            caller = await caller_of(request, self._node)
            asked = await read_model(request, self._bodies, StorageQuery)
            acting_user(caller, asked.source_user_id)
            await self._demand_sight(caller, asked.source_account_id)
            ground = registry_of(self._node).ground
            begun_ms, base = ground.now_ms(), written(asked)
            most = ground.settings.registry.query_limit
            page = await search(
                ground.store, records.collection, Wanted.read(base), min(asked.limit or most, most), asked.cursor
            )
            told = {name: base[name] for name in _ECHOED if name in base} | {
                "action_response_status": "accepted",
                "action_request_datetime": moment_of_ms(begun_ms),
                "action_completed_datetime": moment_of_ms(ground.now_ms()),
                records.key: await records.show(ground.store, page.records),
            }
            return json_reply(told if page.cursor is None else told | {"next_cursor": page.cursor})

        return query

    async def lineage(self, request: web.Request) -> web.Response:
        await caller_of(request, self._node)
        ground = registry_of(self._node).ground
        record_id = request.match_info["record_id"].lower()
        return json_reply(await lineage(ground.store, record_id, ground.now_ms() // 1000))

    async def _demand_sight(self, caller: Caller, account_id: str) -> None:
        """An account's records are for those who act for it, and for the registry's bodies."""
        if caller.roles & _BODIES:
            await account(self._node.store, account_id)
        else:
            await demand_member(self._node.store, caller, account_id)

    # Routes

    def routes(self) -> tuple[Route, ...]:
        return (*self._creating(), *(self._call(call) for call in CALLS), *self._finding(), self._issuing())

    def _creating(self) -> tuple[Route, ...]:
        charge = _route(
            "POST", "create_scr", "createStorageCharge", "Record a charge", self.create_scr, StorageChargeRecord
        )
        discharge = _route(
            "POST",
            "create_sdr",
            "createStorageDischarge",
            "Record a discharge, and allocate it to charges",
            self.create_sdr,
            StorageDischargeRecord,
        )
        choice = _route(
            "POST",
            "allocate",
            "allocateStorage",
            "Choose other charges for a discharge",
            self.allocate,
            StorageDischargeRecord,
        )
        return (
            _answers_later(charge, "The charge, and the cancelled certificates.", StorageChargeRecordBase),
            _answers_later(discharge, "The discharge.", StorageDischargeRecordBase),
            replace(_answers_later(choice, "The choice.", StorageAllocation), extension=True),
        )

    def _call(self, call: Call) -> Route:
        handler = self._acting(call)
        route = _route(call.method, call.name, call.operation, call.summary, handler, StorageActionResponse)
        return replace(route, body=json_content("Who acts, and on which records.", call.model))

    def _finding(self) -> tuple[Route, ...]:
        chain = _route(
            "GET",
            "lineage/{record_id}",
            "getStorageLineage",
            "From a discharge to what backs it",
            self.lineage,
            StorageLineage,
        )
        chain = replace(chain, parameters=(_CHAIN,), aliases=(), extension=True, errors=(400, 401, 404, 503))
        return (*(route for records in RECORDS for route in self._queries(records)), chain)

    def _queries(self, records: Records) -> tuple[Route, Route]:
        handler, summary = self._querying(records), "Records of an account"
        first = _route("GET", records.name, records.operation, summary, handler, records.answer)
        first = replace(first, body=json_content("Whose records, and which.", StorageQuery))
        by_post = "The same, for clients that cannot send a body with GET"
        second = replace(
            first, method="POST", operation=f"{records.operation}ByPost", summary=by_post, extension=True
        )
        return first, second

    def _issuing(self) -> Route:
        route = _route(
            "POST",
            "issue_sdgc",
            "issueStorageCertificate",
            "Issue a bundle of discharged energy",
            self.issue_sdgc,
            GranularCertificateBundle,
        )
        return _answers_later(route, "The bundle; what its discharge record tells may be left out.", StorageBundle)


def _response(action: Action, base: Mapping[str, Any]) -> dict[str, Any]:
    """EnergyTag's answer to a call on records; `base` has the criteria of the call."""
    response = {name: base[name] for name in _ECHOED if name in base} | action_response(action, {})
    del response["tx_ids"]
    return response | ({"records": action.result["records"]} if "records" in action.result else {})


def _route(method: str, name: str, operation: str, summary: str, handler: Handler, answer: Shape) -> Route:
    return Route(
        method,
        f"{_ROOT}/{name}",
        operation,
        Tag.STORAGE,
        summary,
        handler,
        replies={200: json_content("What came of it.", answer)},
        errors=_ERRORS,
        access=Access.CALLER,
        when_ready=True,
        aliases=(f"{_ROOT}{_ROOT}/{name}",),
    )


def _answers_later(route: Route, description: str, body: Shape) -> Route:
    """A route that answers 202 when its action is still under way."""
    under_way = json_content("It is still under way: ask /actions.", ActionRead)
    return replace(route, body=json_content(description, body), replies={**route.replies, 202: under_way})
