"""Who may call: the tokens of administrators and of ARC, compared in constant time."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import TypeAlias

from aiohttp import web

from config.errors import Forbidden, Unauthorized

Authorise: TypeAlias = Callable[[web.Request], None]


def bearer_token(request: web.Request) -> str | None:
    """The token of an `Authorization: Bearer` header, None when there is no such header."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token else None


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
