"""The OpenAPI 3.1 document, made from the routes that are served."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from http import HTTPStatus
from typing import Any, Final

from api import schemas
from api.registry.schemas import VALIDATION, Mode, Use, model_schemas
from api.route import Access, Content, Parameter, Route, Shape, Tag

Json = dict[str, Any]

_TAGS: Final = {
    Tag.DATA_PLANE: "Submissions, lookups and ARC's callback.",
    Tag.DISCOVERY: "What is hosted here.",
    Tag.HEALTH: "Whether the node is alive and ready.",
    Tag.ADMIN: "For the operator; all but the first need the admin token.",
    Tag.ABOUT: "The node's version, metrics and documentation.",
    Tag.DEV: "The embedded dev chain; served on the dev network only.",
    Tag.LOGIN: "Tokens for the registry's users.",
    Tag.CERTIFICATES: "Granular certificates: issued, found with their proofs, and moved.",
    Tag.STORAGE: "Storage charge and discharge records, and what is issued on them.",
    Tag.ACCOUNTS: "Accounts, which hold certificates.",
    Tag.USERS: "Users, who act for accounts.",
    Tag.DEVICES: "Production and storage devices.",
    Tag.ORGANISATIONS: "Organisations, which users and accounts belong to.",
    Tag.ACTIONS: "Every call that changes the registry, by its id.",
    Tag.MEASUREMENTS: "Meter readings.",
    Tag.MATCHING: "Cancelled certificates against consumption.",
    Tag.WALLETS: "Certificates for wallets of the users' own.",
    Tag.METERS: "Smart meters, their signed readings, and the tokens that these become on Solana.",
    Tag.BRIDGE: "The mirror between tokens on Solana and certificates on BSV, both ways.",
}
_INTRODUCTION: Final = """\
An overlay node for granular energy certificates on the BSV blockchain.

Transactions are submitted as BEEF to topics; lookup services answer with outputs and their proofs. The
routes, shapes and messages are those of the reference overlay servers, so that their clients work here.

On it stands an EnergyTag registry (API specification v2.0). Its certificates are the overlay's tokens, and each
is answered with the proof of when it was put on chain. Operations that the specification does not have are
marked `x-metawatt-extension`.

Not served yet: GASP (`/requestSyncResponse`, `/requestForeignGASPNode`), SHIP and SLAP records, bans, the
janitor and advertisement sync under `/admin`. They answer 404 with `ERR_ROUTE_NOT_FOUND`.

Every reply carries `X-Request-Id`; a request may bring its own. Every error is JSON with a `code` of a
closed list. 429 and 503 carry `Retry-After`."""
# What any route may answer: too many requests from an address, and a fault of the node.
_ANY: Final = (429, 500)


def document(routes: Iterable[Route], version: str) -> Json:
    """The document of these routes."""
    served = sorted(routes, key=lambda route: list(Tag).index(route.tag))
    writer = _Writer(served)
    paths: Json = {}
    for route in served:
        paths.setdefault(route.path, {})[route.method.lower()] = writer.operation(route)
    used = {route.tag for route in served}
    return {
        "openapi": "3.1.0",
        "info": {"title": "METAWATT overlay node", "version": version, "description": _INTRODUCTION},
        "servers": [{"url": "/"}],
        "tags": [{"name": tag.value, "description": text} for tag, text in _TAGS.items() if tag in used],
        "paths": paths,
        "components": {
            "schemas": {**schemas.COMPONENTS, **VALIDATION, **writer.components},
            "securitySchemes": _security_schemes(),
        },
    }


def _security_schemes() -> Json:
    return {
        Access.ADMIN.value: {
            "type": "http",
            "scheme": "bearer",
            "description": "The admin token: a setting, or made at the first start.",
        },
        Access.CALLBACK.value: {
            "type": "http",
            "scheme": "bearer",
            "description": "The callback token that this node gave to ARC.",
        },
        Access.CALLER.value: {
            "type": "http",
            "scheme": "bearer",
            "description": "A token that a login gave (JWT), or the admin token.",
        },
    }


class _Writer:
    """Writes operations; the models among their bodies are components by then."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._references, self.components = model_schemas(dict.fromkeys(_uses(routes)))

    def operation(self, route: Route) -> Json:
        operation: Json = {
            "operationId": route.operation,
            "tags": [route.tag.value],
            "summary": route.summary,
            "responses": self._responses(route),
        }
        if description := _description(route):
            operation["description"] = description
        if route.parameters:
            operation["parameters"] = [_parameter(parameter) for parameter in route.parameters]
        if route.body is not None:
            operation["requestBody"] = {"required": True, **self._content(route.body, "validation")}
        if route.access is not Access.PUBLIC:
            operation["security"] = [{route.access.value: []}]
        if route.extension:
            operation["x-metawatt-extension"] = True
        return operation

    def _responses(self, route: Route) -> Json:
        replies = {
            str(status): self._content(content, "serialization") for status, content in route.replies.items()
        }
        errors = {str(status): _error(status) for status in (*route.errors, *_ANY)}
        return dict(sorted((errors | replies).items()))

    def _content(self, content: Content, mode: Mode) -> Json:
        media = {media_type: {"schema": self._schema(shape, mode)} for media_type, shape in content.media.items()}
        return {"description": content.description, "content": media}

    def _schema(self, shape: Shape, mode: Mode) -> Json:
        return self._references[(shape, mode)] if isinstance(shape, type) else dict(shape)


def _uses(routes: Iterable[Route]) -> Iterator[Use]:
    """The models among the bodies of these routes."""
    for route in routes:
        if route.body is not None:
            yield from _models(route.body, "validation")
        for content in route.replies.values():
            yield from _models(content, "serialization")


def _models(content: Content, mode: Mode) -> Iterator[Use]:
    for shape in content.media.values():
        if isinstance(shape, type):
            yield shape, mode


def _description(route: Route) -> str:
    """The route's own, and which other paths lead to it."""
    also = f"Also served as {', '.join(f'`{path}`' for path in route.aliases)}." if route.aliases else ""
    return "\n\n".join(part for part in (route.description, also) if part)


def _error(status: int) -> Json:
    shape = "HTTPValidationError" if status == 422 else "ErrorResponse"
    error: Json = {
        "description": HTTPStatus(status).phrase,
        "content": {"application/json": {"schema": schemas.ref(shape)}},
    }
    if status in (429, 503):
        error["headers"] = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}}
    return error


def _parameter(parameter: Parameter) -> Json:
    return {
        "name": parameter.name,
        "in": parameter.where,
        "required": parameter.required or parameter.where == "path",
        "description": parameter.description,
        "schema": dict(parameter.schema),
    }
