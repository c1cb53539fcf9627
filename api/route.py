"""A route: what is served, and everything that `/openapi.json` and `/docs` tell of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeAlias

from aiohttp import web
from pydantic import BaseModel

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]
Schema: TypeAlias = Mapping[str, Any]
Shape: TypeAlias = Schema | type[BaseModel]
"""What a body looks like: a JSON schema, or the model that it is read by or written from."""


class Tag(StrEnum):
    """The groups of the documentation: the first five are the overlay reference's, those from login on the
    registry's."""

    DATA_PLANE = "data-plane"
    DISCOVERY = "discovery"
    HEALTH = "health"
    ADMIN = "admin"
    ABOUT = "about"
    DEV = "dev-chain"
    LOGIN = "login"
    CERTIFICATES = "certificates"
    STORAGE = "storage"
    ACCOUNTS = "accounts"
    USERS = "users"
    DEVICES = "devices"
    ORGANISATIONS = "organisations"
    ACTIONS = "actions"
    MEASUREMENTS = "measurements"
    MATCHING = "matching"
    WALLETS = "wallets"
    METERS = "meters"
    BRIDGE = "bridge"


class Access(StrEnum):
    """Who may call; the value is the security scheme's name in OpenAPI. A `CALLER` shows some bearer token at
    the edge; whose it is, and what it allows, is the handler's to ask."""

    PUBLIC = ""
    ADMIN = "AdminToken"
    CALLBACK = "CallbackToken"
    CALLER = "CallerToken"


@dataclass(frozen=True, slots=True)
class Content:
    """A body of a request or of a reply: one shape for each media type."""

    description: str
    media: Mapping[str, Shape]


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
    at debug level only. `aliases` are further paths of the same operation, with the same parameters: served,
    and told of in its description. `extension` marks what EnergyTag's specification does not have. What
    `stays_open` (a WebSocket) is not waited for when the node stops: its part closes it."""

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
    aliases: tuple[str, ...] = ()
    extension: bool = False
    stays_open: bool = False

    @property
    def paths(self) -> tuple[str, ...]:
        """Every path that it is served under, the documented one first."""
        return (self.path, *self.aliases)


def json_content(description: str, shape: Shape) -> Content:
    return Content(description, {"application/json": shape})


def text_content(description: str, media_type: str) -> Content:
    return Content(description, {media_type: {"type": "string"}})
