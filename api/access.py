"""Who may call: the tokens of administrators and of ARC, compared in constant time."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Final, TypeAlias

from aiohttp import web

from config.errors import Forbidden, Unauthorized

Authorise: TypeAlias = Callable[[web.Request], None]

_OFFERED: Final = "bearer."


def bearer_token(request: web.Request) -> str | None:
    """The token of an `Authorization: Bearer` header, or, of a request to open a WebSocket, the one among the
    protocols that it offers (`bearer.<token>`): scripts in browsers can set no other header, and a token in the
    query would stand in logs. None when there is neither."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token:
        return token.strip()
    offered = (name for name in offered_protocols(request) if name.startswith(_OFFERED))
    return next((name.removeprefix(_OFFERED) for name in offered), None)


def offered_protocols(request: web.Request) -> list[str]:
    """The protocols that a request to open a WebSocket offers (RFC 6455, 11.3.4)."""
    given = ",".join(request.headers.getall("Sec-WebSocket-Protocol", ()))
    return [name.strip() for name in given.split(",") if name.strip()]


def admin_only(token: str) -> Authorise:
    """Lets bearers of this token pass; the messages are the reference's."""

    def authorise(request: web.Request) -> None:
        given = bearer_token(request)
        if given is None:
            raise Unauthorized("Unauthorized: Provide a Bearer token or authenticate with your wallet")
        if not same_secret(given, token):
            raise Forbidden("Forbidden: Invalid credentials")

    return authorise


def any_bearer(request: web.Request) -> None:
    """Lets bearers of some token pass, for the handler to tell whose it is."""
    if bearer_token(request) is None:
        raise Unauthorized("log in first: this call needs a Bearer token")


def callback_only(token: str) -> Authorise:
    """Lets ARC pass, which shows its token as a bearer or in `x-callback-token`."""

    def authorise(request: web.Request) -> None:
        given = bearer_token(request) or request.headers.get("x-callback-token") or ""
        if not same_secret(given, token):
            raise Unauthorized("Unauthorized callback")

    return authorise


def same_secret(given: str, secret: str) -> bool:
    """Whether they are equal, in a time that does not tell where they differ; an empty secret is nobody's."""
    return bool(secret) and hmac.compare_digest(_octets(given), _octets(secret))


def _octets(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
