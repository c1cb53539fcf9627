"""The forge: issuances signed in a process of their own, beside the event loop.

Deriving a token's key and signing it is a fifth of what a bundle costs the node, and needs nothing but the bundle
and the node's key. A worker process does it where there is a second core; the tokens are the very same, byte for
byte, and where there is no worker, or it fails, they are made on the spot.
"""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from typing import Final

import msgspec
import structlog

from config.processors import let_roam
from energytag.compose import Forged, made_of
from energytag.forge_worker import encode_request
from energytag.plan import Issue, Made
from overlay.keys import PrivateKey

LEAST_ISSUES: Final = 16
"""Fewer are not worth the way to another process."""
_TIMEOUT_SECS: Final = 30

log = structlog.get_logger("metawatt.registry")


class Forge:
    """One worker process, started when first needed."""

    def __init__(self, key: PrivateKey) -> None:
        self._key = key
        self._issuer = key.public
        self._process: Process | None = None
        # Guards the worker's pipes: one request and its reply at a time.
        self._lock = asyncio.Lock()

    async def issue(self, pieces: Sequence[Issue], first_outpoint: bytes) -> list[Made] | None:
        """What `compose.lay_out` gives; None when the worker failed, which is logged."""
        request = encode_request(pieces, first_outpoint)
        try:
            async with self._lock, asyncio.timeout(_TIMEOUT_SECS):
                reply = await self._exchange(request)
        except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
            log.warning("the signing process failed; tokens are signed here", reason=repr(error))
            return None
        issuer = self._issuer
        return [
            made_of(piece, forged, first_outpoint, index, issuer)
            for index, (piece, forged) in enumerate(zip(pieces, reply, strict=True))
        ]

    async def _exchange(self, request: bytes) -> list[Forged]:
        done = False
        try:
            process = await self._running()
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(len(request).to_bytes(4, "little") + request)
            await process.stdin.drain()
            size = int.from_bytes(await process.stdout.readexactly(4), "little")
            reply = msgspec.msgpack.decode(await process.stdout.readexactly(size), type=list[Forged])
            done = True
            return reply
        finally:
            # Also on cancellation: a reply that nobody read must not answer the next request.
            if not done:
                await self._stop()

    async def _running(self) -> Process:
        if self._process is None or self._process.returncode is not None:
            command = (sys.executable, "-m", "energytag.forge_worker")
            self._process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE)
            let_roam(self._process.pid)
            assert self._process.stdin is not None
            self._process.stdin.write(self._key.secret)
        return self._process

    async def _stop(self) -> None:
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            process.kill()
            await process.wait()

    async def close(self) -> None:
        """End the worker."""
        async with self._lock:
            await self._stop()
