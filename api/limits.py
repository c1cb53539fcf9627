"""Limits on what clients may ask for at once: requests an address makes, work under way, bytes held."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from ipaddress import IPv6Network
from types import TracebackType

from aiohttp import web

from config.errors import BadRequest, Busy, ErrorCode, MetawattError

_CLIENTS = 10_000


def client_of(remote: str | None) -> str:
    """Whose bucket an address draws from: an IPv6 subscriber has a whole /64 to himself."""
    if remote is None or ":" not in remote:
        return remote or ""
    return str(IPv6Network((remote.partition("%")[0], 64), strict=False))


class TokenBuckets:
    """A token bucket for each client address; the addresses seen longest ago are forgotten."""

    def __init__(self, per_minute: int, burst: int, now_secs: Callable[[], float], clients: int = _CLIENTS) -> None:
        self._per_sec = per_minute / 60
        self._burst = float(burst)
        self._now_secs = now_secs
        self._clients = clients
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, client: str) -> None:
        """Take a token, or `Busy(RATE_LIMITED)` with the time until there is one."""
        now = self._now_secs()
        tokens, then = self._buckets.get(client, (self._burst, now))
        tokens = min(self._burst, tokens + (now - then) * self._per_sec)
        allowed = tokens >= 1
        self._remember(client, tokens - 1 if allowed else tokens, now)
        if not allowed:
            wait_secs = (1 - tokens) / self._per_sec
            raise Busy("Too many requests from this address", ErrorCode.RATE_LIMITED, wait_secs)

    def _remember(self, client: str, tokens: float, now: float) -> None:
        self._buckets[client] = (tokens, now)
        self._buckets.move_to_end(client)
        if len(self._buckets) > self._clients:
            self._buckets.popitem(last=False)


class Gate:
    """Lets a number of tasks in at once and a number wait in order; more are told `Busy(OVERLOADED)`."""

    def __init__(self, name: str, concurrent: int, waiting: int, retry_after_secs: float = 1.0) -> None:
        self.name = name
        self.active = 0
        self._concurrent = concurrent
        self._waiting = waiting
        self._retry_after_secs = retry_after_secs
        self._queue: deque[asyncio.Future[None]] = deque()

    @property
    def waiting(self) -> int:
        return len(self._queue)

    async def __aenter__(self) -> None:
        if self.active < self._concurrent and not self._queue:
            self.active += 1
            return
        if len(self._queue) >= self._waiting:
            raise Busy(f"Too many {self.name} at once", ErrorCode.OVERLOADED, self._retry_after_secs)
        await self._wait()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()

    async def _wait(self) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            # A turn that was given at the very moment of the cancellation is passed on.
            if turn.done() and not turn.cancelled():
                self._leave()
            elif turn in self._queue:
                self._queue.remove(turn)
            raise

    def _leave(self) -> None:
        """Hand the place to the first in the queue, or free it."""
        while self._queue:
            turn = self._queue.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self.active -= 1


@dataclass(slots=True)
class _Total:
    """Bytes of all bodies in memory, and how many there may be."""

    most_bytes: int
    held_bytes: int = 0


class Bodies:
    """Reads request bodies within a size, a time and a total of bytes held by all requests."""

    def __init__(self, body_bytes: int, total_bytes: int, timeout_secs: float) -> None:
        self._body_bytes = body_bytes
        self._total = _Total(max(total_bytes, body_bytes))
        self._timeout_secs = timeout_secs

    def larger(self, body_bytes: int) -> Bodies:
        """For bodies of another size, which are counted in the same total."""
        others = copy(self)
        others._body_bytes = min(body_bytes, self._total.most_bytes)
        return others

    @property
    def held_bytes(self) -> int:
        return self._total.held_bytes

    async def read(self, request: web.Request, limit_bytes: int | None = None) -> bytes:
        """The whole body, counted as held until `release`. `BadRequest(BODY_TOO_LARGE | BODY_TIMEOUT)`, or
        `Busy` when too many bytes are held."""
        limit = min(limit_bytes or self._body_bytes, self._body_bytes)
        if (request.content_length or 0) > limit:
            raise _too_large(limit)
        stream = request.content
        if stream.is_eof():
            body = stream.read_nowait()
            self._hold(len(body))
            if len(body) > limit:
                self.release(len(body))
                raise _too_large(limit)
            return body
        return await self._read_rest(request, limit)

    def release(self, count: int) -> None:
        self._total.held_bytes -= count

    async def _read_rest(self, request: web.Request, limit: int) -> bytes:
        body = bytearray()
        try:
            async with asyncio.timeout(self._timeout_secs):
                while chunk := await request.content.readany():
                    self._hold(len(chunk))
                    body += chunk
                    if len(body) > limit:
                        raise _too_large(limit)
        except BaseException as error:
            self.release(len(body))
            if isinstance(error, TimeoutError):
                raise _too_slow(self._timeout_secs) from None
            raise
        return bytes(body)

    def _hold(self, count: int) -> None:
        if self._total.held_bytes + count > self._total.most_bytes:
            raise Busy("Too many request bodies at once", ErrorCode.OVERLOADED)
        self._total.held_bytes += count


def _too_large(limit: int) -> MetawattError:
    return BadRequest(f"The body may not exceed {limit} bytes", ErrorCode.BODY_TOO_LARGE)


def _too_slow(timeout_secs: float) -> MetawattError:
    return BadRequest(f"The body did not arrive within {timeout_secs:g} seconds", ErrorCode.BODY_TIMEOUT)
