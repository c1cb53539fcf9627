"""Tokens that show who calls: JWTs (RFC 7519) under one algorithm and one secret of this node's.

A token names a user and nothing else: which roles he has is asked of the directory at every call.
"""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

import jwt

from config.errors import Unauthorized
from overlay.clock import NowMs

MOST_HOURS: Final = 24 * 1095
_ALGORITHM: Final = "HS256"
_LEEWAY_SECS: Final = 5
_SECRET_TAG: Final = b"metawatt user tokens"
# Times are checked here, by the clock that this node has.
_OPTIONS: Final[Any] = {"require": ["sub", "iat", "exp", "jti"], "verify_exp": False, "verify_iat": False}


@dataclass(frozen=True, slots=True)
class Issued:
    """A token, and when it ends (epoch seconds)."""

    token: str
    expires_secs: int


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token says: whose it is, and when it was issued (epoch seconds)."""

    user_id: str
    issued_secs: int


class Tokens:
    """Issues and checks tokens. `secret` is 32 bytes at least."""

    def __init__(self, secret: bytes, hours: float, now_ms: NowMs) -> None:
        self._secret = secret
        self._hours = hours
        self._now_ms = now_ms

    def issue(self, user_id: str, hours: float | None = None) -> Issued:
        """A token for a user, good for so many hours; for those of the settings when None."""
        now_secs = self._now_ms() // 1000
        expires_secs = now_secs + int((self._hours if hours is None else hours) * 3600)
        claims = {"sub": user_id, "iat": now_secs, "exp": expires_secs, "jti": secrets.token_hex(16)}
        return Issued(jwt.encode(claims, self._secret, algorithm=_ALGORITHM), expires_secs)

    def check(self, token: str) -> Claims:
        """What the token says; `Unauthorized` when it is not this node's, or has ended."""
        try:
            claims = jwt.decode(token, self._secret, algorithms=[_ALGORITHM], options=_OPTIONS)
        except (jwt.PyJWTError, ValueError):  # a header may hold what UTF-8 cannot
            raise Unauthorized("This token is not valid here: log in again") from None
        issued, expires = claims["iat"], claims["exp"]
        if type(issued) is not int or type(expires) is not int:
            raise Unauthorized("The times of this token are not whole seconds")
        now_secs = self._now_ms() // 1000
        if not issued - _LEEWAY_SECS <= now_secs < expires + _LEEWAY_SECS:
            raise Unauthorized("This token has ended: log in again")
        return Claims(claims["sub"], issued)


def derived_secret(node_key: bytes) -> bytes:
    """The secret of tokens that only this node's private key gives."""
    return hmac.digest(node_key, _SECRET_TAG, sha256)
