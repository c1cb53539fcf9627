"""The forge: issuances signed in a process of their own, beside the event loop.

Deriving a token's key and signing it is a fifth of what a bundle costs the node, and needs nothing but the bundle
and the node's key. A worker process does it where there is a second core; the tokens are the very same, byte for
byte, and where there is no worker, or it fails, they are made on the spot.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import msgspec
import structlog

from energytag.compose import Forged, made_of
from energytag.forge_worker import encode_request
from energytag.plan import Issue, Made
from overlay.helper import Helper
from overlay.keys import PrivateKey

LEAST_ISSUES: Final = 16
"""Fewer are not worth the way to another process."""
_TIMEOUT_SECS: Final = 30

log = structlog.get_logger("metawatt.registry")


class Forge:
    """One worker process, started when first needed."""

    def __init__(self, key: PrivateKey) -> None:
        self._issuer = key.public
        self._helper = Helper("energytag.forge_worker", greeting=key.secret)
        # One request and its reply at a time.
        self._lock = asyncio.Lock()

    async def issue(self, pieces: Sequence[Issue], first_outpoint: bytes) -> list[Made] | None:
        """What `compose.lay_out` gives; None when the worker failed, which is logged."""
        request = encode_request(pieces, first_outpoint)
        try:
            async with self._lock, asyncio.timeout(_TIMEOUT_SECS):
                reply = msgspec.msgpack.decode(await self._helper.ask(request), type=list[Forged])
        except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
            log.warning("the signing process failed; tokens are signed here", reason=repr(error))
            return None
        issuer = self._issuer
        return [
            made_of(piece, forged, first_outpoint, index, issuer)
            for index, (piece, forged) in enumerate(zip(pieces, reply, strict=True))
        ]

    async def close(self) -> None:
        """End the worker."""
        async with self._lock:
            await self._helper.stop()
