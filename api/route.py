"""A route: what is served, and everything that `/openapi.json` and `/docs` tell of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeAlias

from aiohttp import web

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]
Schema: TypeAlias = Mapping[str, Any]


class Tag(StrEnum):
    """The groups of the documentation; the first five are the reference's."""

    DATA_PLANE = "data-plane"
    DISCOVERY = "discovery"
    HEALTH = "health"
    ADMIN = "admin"
    ABOUT = "about"
    DEV = "dev-chain"


class Access(StrEnum):
    """Who may call; the value is the security scheme's name in OpenAPI."""

    PUBLIC = ""
    ADMIN = "AdminToken"
    CALLBACK = "CallbackToken"


@dataclass(frozen=True, slots=True)
class Content:
    """A body of a request or of a reply: one schema for each media type."""

    description: str
    media: Mapping[str, Schema]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A header, query or path parameter."""

    name: str
    where: str
    description: str
    schema: Schema
    required: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    """`operation` is the OpenAPI operationId. `errors` are the statuses that it may answer besides those
    that any route may. `when_ready` routes answer 503 until the node has started; a `quiet` one is logged
    at debug level only."""

    method: str
    path: str
    operation: str
    tag: Tag
    summary: str
    handler: Handler
    description: str = ""
    parameters: tuple[Parameter, ...] = ()
    body: Content | None = None
    replies: Mapping[int, Content] = field(default_factory=dict)
    errors: tuple[int, ...] = ()
    access: Access = Access.PUBLIC
    when_ready: bool = False
    quiet: bool = False


def json_content(description: str, schema: Schema) -> Content:
    return Content(description, {"application/json": schema})


def text_content(description: str, media_type: str) -> Content:
    return Content(description, {media_type: {"type": "string"}})
