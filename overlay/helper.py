"""A helper process: it answers requests over its pipes, beside the event loop and on whatever processor is free."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from contextlib import suppress

from config.processors import let_roam
from overlay.frames import HEAD_BYTES, framed, length_of


class Helper:
    """`python -m module arguments`, with `greeting` on its stdin before the first request; it answers with
    `overlay.frames.answer_frames`. Started when it is first asked, and again after it has ended.

    The caller sees to it that one request at a time is under way, and nothing else meanwhile.
    """

    def __init__(self, module: str, *arguments: str, greeting: bytes = b"") -> None:
        self._command = (sys.executable, "-m", module, *arguments)
        self._greeting = greeting
        self._process: Process | None = None

    async def ask(self, request: bytes) -> bytes:
        """The reply. A process that ends instead is replaced once: it may have died of something else. Raises
        asyncio.IncompleteReadError or ConnectionError when the second one ends too, and OSError when one cannot be
        started."""
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            return await self._attempt(request)
        return await self._attempt(request)

    async def _attempt(self, request: bytes) -> bytes:
        done = False
        try:
            reply = await _exchange(await self._running(), request)
            done = True
            return reply
        finally:
            # Also on cancellation: a reply that nobody read must not answer the next request.
            if not done:
                await self.stop()

    async def stop(self) -> None:
        """Kill the process, if there is one."""
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            process.kill()
            await process.wait()

    async def _running(self) -> Process:
        if self._process is None or self._process.returncode is not None:
            self._process = await asyncio.create_subprocess_exec(*self._command, stdin=PIPE, stdout=PIPE)
            let_roam(self._process.pid)
            assert self._process.stdin is not None
            self._process.stdin.write(self._greeting)
        return self._process


async def _exchange(process: Process, request: bytes) -> bytes:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(framed(request))
    await process.stdin.drain()
    return await process.stdout.readexactly(length_of(await process.stdout.readexactly(HEAD_BYTES)))
