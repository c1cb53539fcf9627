"""`/certificates`: bundles issued, found with their proofs, and acted on.

Every path is also served with its first segment doubled, as EnergyTag's document has it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final

from aiohttp import web

from api.fields import read_model
from api.limits import Bodies
from api.ports import Node
from api.registry.access import caller_of
from api.registry.answers import ECHOED, action_response, registry_of, told_action, unfinished
from api.registry.paging import PAGING, paging_of
from api.replies import json_reply
from api.route import Access, Handler, Parameter, Route, Shape, Tag, json_content
from config.errors import ErrorCode, NotFound
from energytag.access import Caller, Role, acting_user, demand, demand_member, demand_on
from energytag.accounts import account
from energytag.actions import Kind
from energytag.bundles import told_made
from energytag.lineage import lineage
from energytag.models.answers import (
    OUTPOINT_PATTERN,
    ActionRead,
    GranularCertificateActionResponse,
    GranularCertificateBundle,
    GranularCertificateQueryResponse,
    IssuanceBundles,
    Lineage,
)
from energytag.models.certificate_actions import (
    CertificateActionBase,
    GranularCertificateCancellation,
    GranularCertificateClaim,
    GranularCertificateLock,
    GranularCertificateRelease,
    GranularCertificateReservation,
    GranularCertificateSplit,
    GranularCertificateTransfer,
    GranularCertificateUnlock,
    GranularCertificateUpdateMutables,
    GranularCertificateWithdraw,
)
from energytag.models.certificates import (
    GranularCertificateBundleCreate,
    GranularCertificateCreateMany,
    GranularCertificatePublish,
    GranularCertificateQuery,
)
from energytag.models.common import moment_of_ms, written
from energytag.models.recurring import (
    GranularCertificateRecurringCancellation,
    GranularCertificateRecurringClaim,
    GranularCertificateRecurringTransfer,
)
from energytag.queries import bundle_at, issuance, query
from overlay.transaction import read_outpoint

_ROOT: Final = "/certificates"
_ERRORS: Final = (400, 401, 403, 404, 408, 409, 413, 415, 422, 503)
_READ_ERRORS: Final = (400, 401, 404, 422, 503)
_OUTPOINT: Final = re.compile(OUTPOINT_PATTERN).fullmatch
_ISSUANCE: Final = Parameter("issuance_id", "path", "The issuance.", {"type": "string", "format": "uuid"})
_PLACE: Final = Parameter(
    "outpoint", "path", "Transaction id and output index.", {"type": "string", "pattern": OUTPOINT_PATTERN}
)
_ISSUERS: Final = frozenset({Role.GC_ISSUER})
_BODIES: Final = frozenset({Role.GC_ISSUER, Role.PRODUCTION_REGISTRAR, Role.MEASUREMENT_BODY})


@dataclass(frozen=True, slots=True)
class Call:
    """A call that acts on an account's bundles, and answers with EnergyTag's action response."""

    name: str
    kind: Kind
    model: type[CertificateActionBase | GranularCertificatePublish]
    summary: str
    method: str = "POST"
    status: int = 202
    extension: bool = False
    misspelt: str | None = None


CALLS: Final = (
    Call("transfer", Kind.TRANSFER, GranularCertificateTransfer, "Bundles to another account"),
    Call("cancel", Kind.CANCEL, GranularCertificateCancellation, "Retire bundles for a beneficiary"),
    Call("claim", Kind.CLAIM, GranularCertificateClaim, "Claim cancelled bundles as their beneficiary"),
    Call("withdraw", Kind.WITHDRAW, GranularCertificateWithdraw, "Withdraw bundles as their issuing body"),
    Call(
        "reserve",
        Kind.RESERVE,
        GranularCertificateReservation,
        "Reserve bundles for another registry",
        misspelt="reseve",
    ),
    Call(
        "recurring_transfer",
        Kind.RECURRING_TRANSFER,
        GranularCertificateRecurringTransfer,
        "Transfer at every occurrence of a schedule",
    ),
    Call(
        "recurring_cancel",
        Kind.RECURRING_CANCEL,
        GranularCertificateRecurringCancellation,
        "Cancel at every occurrence of a schedule",
    ),
    Call(
        "update_mutables",
        Kind.UPDATE_MUTABLES,
        GranularCertificateUpdateMutables,
        "Set the status or the account of bundles, along the lifecycle",
        method="PATCH",
        status=201,
    ),
    Call(
        "recurring_claim",
        Kind.RECURRING_CLAIM,
        GranularCertificateRecurringClaim,
        "Claim at every occurrence of a schedule",
        extension=True,
    ),
    Call("lock", Kind.LOCK, GranularCertificateLock, "Lock bundles to a bridge", extension=True),
    Call("unlock", Kind.UNLOCK, GranularCertificateUnlock, "Give locked bundles back", extension=True),
    Call("release", Kind.RELEASE, GranularCertificateRelease, "End a reservation", extension=True),
    Call("split", Kind.SPLIT, GranularCertificateSplit, "Divide bundles", extension=True),
    Call("publish", Kind.PUBLISH, GranularCertificatePublish, "Publish private bundles", extension=True),
)


class CertificatesHandler:
    """Checks who calls and what is asked; what comes of it is the registry's matter."""

    def __init__(self, node: Node, bodies: Bodies) -> None:
        self._node = node
        self._bodies = bodies
        self._most_bytes = node.settings.registry.import_bytes
        self._large = bodies.larger(self._most_bytes)

    # Issuing

    async def create(self, request: web.Request) -> web.Response:
        caller = await caller_of(request, self._node)
        demand(caller, Kind.CREATE)
        body = await read_model(request, self._bodies, GranularCertificateBundleCreate)
        registry = registry_of(self._node)
        outcome = await registry.act(Kind.CREATE, written(body), user_id=caller.user_id, account_id=body.account_id)
        answer = unfinished(outcome.action)
        if answer is not None:
            return answer
        if not outcome.made:
            return json_reply(told_action(outcome.action), 202)
        return json_reply(told_made(outcome.made[0]) | {"action_id": outcome.action.action_id}, 201)

    async def create_many(self, request: web.Request) -> web.Response:
        caller = await caller_of(request, self._node)
        demand(caller, Kind.CREATE_MANY)
        body = await read_model(request, self._large, GranularCertificateCreateMany, self._most_bytes)
        registry = registry_of(self._node)
        outcome = await registry.act(Kind.CREATE_MANY, written(body), user_id=caller.user_id)
        return unfinished(outcome.action) or json_reply(told_action(outcome.action, outcome.made), 201)

    # Acting

    def _acting(self, call: Call) -> Handler:
        """The handler of a call."""

        async def act(request: web.Request) -> web.Response:
            caller = await caller_of(request, self._node)
            demand(caller, call.kind)
            body = await read_model(request, self._bodies, call.model)
            user_id = acting_user(caller, body.source_user_id)
            await demand_on(self._node.store, caller, call.kind, body.source_account_id)
            base = written(body)
            outcome = await registry_of(self._node).act(
                call.kind, base, user_id=user_id, account_id=body.source_account_id
            )
            return json_reply(action_response(outcome.action, base), call.status)

        return act

    # Finding

    async def query(self, request: web.Request) -> web.Response:
        caller = await caller_of(request, self._node)
        asked = await read_model(request, self._bodies, GranularCertificateQuery)
        acting_user(caller, asked.source_user_id)
        await self._demand_sight(caller, asked.source_account_id, _ISSUERS if asked.private else _BODIES)
        ground = registry_of(self._node).ground
        begun_ms = ground.now_ms()
        page = await query(ground, asked)
        told = {
            **{name: value for name, value in written(asked).items() if name in ECHOED},
            "action_response_status": "accepted",
            "action_request_datetime": moment_of_ms(begun_ms),
            "action_completed_datetime": moment_of_ms(ground.now_ms()),
            "filtered_certificate_bundles": page.bundles,
            "total_quantity": page.quantity,
        }
        return json_reply(told if page.cursor is None else told | {"cursor": page.cursor}, 202)

    async def issuance(self, request: web.Request) -> web.Response:
        await caller_of(request, self._node)
        issuance_id = request.match_info["issuance_id"].lower()
        limit, cursor = paging_of(request)
        page = await issuance(registry_of(self._node).ground, issuance_id, limit, cursor)
        told = {"issuance_id": issuance_id, "bundles": page.bundles}
        return json_reply(told if page.cursor is None else told | {"cursor": page.cursor})

    async def lineage(self, request: web.Request) -> web.Response:
        await caller_of(request, self._node)
        ground = registry_of(self._node).ground
        return json_reply(await lineage(ground, request.match_info["issuance_id"].lower()))

    async def bundle(self, request: web.Request) -> web.Response:
        await caller_of(request, self._node)
        outpoint = _outpoint(request.match_info["outpoint"].lower())
        return json_reply(await bundle_at(registry_of(self._node).ground, outpoint))

    async def _demand_sight(self, caller: Caller, account_id: str, bodies: frozenset[Role]) -> None:
        """An account's bundles are for those who act for it, and for these bodies of the registry."""
        if caller.roles & bodies:
            await account(self._node.store, account_id)
        else:
            await demand_member(self._node.store, caller, account_id)

    # Routes

    def routes(self) -> tuple[Route, ...]:
        return (*self._issuing(), *(self._call(call) for call in CALLS), *self._queries(), *self._reads())

    def _issuing(self) -> tuple[Route, ...]:
        under_way = json_content("It is still under way, or private: ask /actions.", ActionRead)
        create = _route(
            "POST", "/create", "createCertificate", "Issue a bundle", self.create, GranularCertificateBundle, 201
        )
        many = _route(
            "POST", "/create_many", "createCertificates", "Issue bundles", self.create_many, ActionRead, 201
        )
        return (
            replace(
                create,
                body=json_content("The bundle.", GranularCertificateBundleCreate),
                replies={**create.replies, 202: under_way},
            ),
            replace(
                many,
                body=json_content("The bundles, or a device's readings.", GranularCertificateCreateMany),
                replies={**many.replies, 202: under_way},
                extension=True,
            ),
        )

    def _call(self, call: Call) -> Route:
        route = _route(
            call.method,
            f"/{call.name}",
            _camel(call.name),
            call.summary,
            self._acting(call),
            GranularCertificateActionResponse,
            call.status,
        )
        aliases = route.aliases + (_paths(f"/{call.misspelt}") if call.misspelt is not None else ())
        body = json_content("Who acts, and on which bundles.", call.model)
        return replace(route, body=body, aliases=aliases, extension=call.extension)

    def _queries(self) -> tuple[Route, ...]:
        body = json_content("Whose bundles, and which.", GranularCertificateQuery)
        answer = GranularCertificateQueryResponse
        summary = "An account's bundles, with their proofs"
        by_get = _route("GET", "/query", "queryCertificates", summary, self.query, answer, 202)
        summary = "The same, for clients that cannot send a body with GET"
        by_post = _route("POST", "/query", "queryCertificatesByPost", summary, self.query, answer, 202)
        return replace(by_get, body=body), replace(by_post, body=body, extension=True)

    def _reads(self) -> tuple[Route, ...]:
        return (
            _read(
                "/{issuance_id}",
                "getIssuance",
                "The bundles of an issuance",
                self.issuance,
                IssuanceBundles,
                (_ISSUANCE, *PAGING),
            ),
            _read(
                "/{issuance_id}/lineage",
                "getLineage",
                "What became of an issuance",
                self.lineage,
                Lineage,
                (_ISSUANCE,),
            ),
            _read(
                "/bundle/{outpoint}",
                "getBundle",
                "A bundle with its proof",
                self.bundle,
                GranularCertificateBundle,
                (_PLACE,),
            ),
        )


def _paths(path: str) -> tuple[str, str]:
    return f"{_ROOT}{path}", f"{_ROOT}{_ROOT}{path}"


def _route(
    method: str, path: str, operation: str, summary: str, handler: Handler, answer: Shape, status: int
) -> Route:
    short, doubled = _paths(path)
    return Route(
        method,
        short,
        operation,
        Tag.CERTIFICATES,
        summary,
        handler,
        replies={status: json_content("What came of it.", answer)},
        errors=_ERRORS,
        access=Access.CALLER,
        when_ready=True,
        aliases=(doubled,),
    )


def _read(
    path: str, operation: str, summary: str, handler: Handler, answer: Shape, parameters: tuple[Parameter, ...]
) -> Route:
    route = _route("GET", path, operation, summary, handler, answer, 200)
    return replace(route, parameters=parameters, errors=_READ_ERRORS, aliases=(), extension=True)


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(map(str.title, others)) + "Certificates"


def _outpoint(text: str) -> bytes:
    if not _OUTPOINT(text):
        raise NotFound(f"{text[:80]} is not an outpoint, <txid>.<index>", ErrorCode.CERTIFICATE_UNKNOWN)
    try:
        return read_outpoint(text)
    except ValueError:
        raise NotFound(f"there is no bundle at {text}", ErrorCode.CERTIFICATE_UNKNOWN) from None
