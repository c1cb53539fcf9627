"""The OpenAPI 3.1 document, made from the routes that are served."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, Final

from api import schemas
from api.route import Access, Content, Parameter, Route, Tag

Json = dict[str, Any]

_TAGS: Final = {
    Tag.DATA_PLANE: "Submissions, lookups and ARC's callback.",
    Tag.DISCOVERY: "What is hosted here.",
    Tag.HEALTH: "Whether the node is alive and ready.",
    Tag.ADMIN: "For the operator; all but the first need the admin token.",
    Tag.ABOUT: "The node's version, metrics and documentation.",
    Tag.DEV: "The embedded dev chain; served on the dev network only.",
}
_INTRODUCTION: Final = """\
An overlay node for granular energy certificates on the BSV blockchain.

Transactions are submitted as BEEF to topics; lookup services answer with outputs and their proofs. The
routes, shapes and messages are those of the reference overlay servers, so that their clients work here.

Not served yet: GASP (`/requestSyncResponse`, `/requestForeignGASPNode`), SHIP and SLAP records, bans, the
janitor and advertisement sync under `/admin`. They answer 404 with `ERR_ROUTE_NOT_FOUND`.

Every reply carries `X-Request-Id`; a request may bring its own. Every error is JSON with a `code` of a
closed list. 429 and 503 carry `Retry-After`."""
# What any route may answer: too many requests from an address, and a fault of the node.
_ANY: Final = (429, 500)


def document(routes: Iterable[Route], version: str) -> Json:
    """The document of these routes."""
    served = sorted(routes, key=lambda route: list(Tag).index(route.tag))
    paths: Json = {}
    for route in served:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    used = {route.tag for route in served}
    return {
        "openapi": "3.1.0",
        "info": {"title": "METAWATT overlay node", "version": version, "description": _INTRODUCTION},
        "servers": [{"url": "/"}],
        "tags": [{"name": tag.value, "description": text} for tag, text in _TAGS.items() if tag in used],
        "paths": paths,
        "components": {"schemas": schemas.COMPONENTS, "securitySchemes": _security_schemes()},
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
    }


def _operation(route: Route) -> Json:
    operation: Json = {
        "operationId": route.operation,
        "tags": [route.tag.value],
        "summary": route.summary,
        "responses": _responses(route),
    }
    if route.description:
        operation["description"] = route.description
    if route.parameters:
        operation["parameters"] = [_parameter(parameter) for parameter in route.parameters]
    if route.body is not None:
        operation["requestBody"] = {"required": True, **_content(route.body)}
    if route.access is not Access.PUBLIC:
        operation["security"] = [{route.access.value: []}]
    return operation


def _responses(route: Route) -> Json:
    replies = {str(status): _content(content) for status, content in route.replies.items()}
    errors = {str(status): _error(status) for status in (*route.errors, *_ANY)}
    return dict(sorted((errors | replies).items()))


def _error(status: int) -> Json:
    error: Json = {
        "description": HTTPStatus(status).phrase,
        "content": {"application/json": {"schema": schemas.ref("ErrorResponse")}},
    }
    if status in (429, 503):
        error["headers"] = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}}
    return error


def _content(content: Content) -> Json:
    media = {media_type: {"schema": dict(schema)} for media_type, schema in content.media.items()}
    return {"description": content.description, "content": media}


def _parameter(parameter: Parameter) -> Json:
    return {
        "name": parameter.name,
        "in": parameter.where,
        "required": parameter.required or parameter.where == "path",
        "description": parameter.description,
        "schema": dict(parameter.schema),
    }
