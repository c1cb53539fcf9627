"""The connection to a registry: one session, bounded waits, and retries of what may safely be repeated.

Reading is repeated when the connection breaks, and when the registry is busy or does not answer for now. A call
that changes something is repeated only when it is certain that nothing came of it: no connection was made, or it
was turned away at the door (429, or a node that is still starting).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import aiohttp
import orjson
from pydantic import BaseModel, ValidationError

from config.errors import Busy, ErrorCode, Internal, MetawattError, Unavailable
from energytag.client.refusals import refusal
from energytag.models.answers import ActionRead

_FIRST_PAUSE_SECS: Final = 0.2
_LONGEST_PAUSE_SECS: Final = 30.0
_NOTHING_DONE: Final = frozenset({ErrorCode.STARTING, ErrorCode.SHUTTING_DOWN})
JSON: Final = "application/json"

R = TypeVar("R", bound=BaseModel)
Sleep = Callable[[float], Awaitable[object]]


class NotFinished(Unavailable):
    """The registry has taken the action, and it is not done yet: ask for it by its id."""

    def __init__(self, action_id: str) -> None:
        super().__init__(f"action {action_id} is still under way", ErrorCode.REGISTRY_UNAVAILABLE)
        self.action_id = action_id


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply's status and JSON."""

    status: int
    value: Any


class Connection:
    """Speaks to the registry at `url`. Open between `open` and `close`."""

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        timeout_secs: float = 60.0,
        attempts: int = 5,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._url = url.rstrip("/")
        self._timeout = aiohttp.ClientTimeout(total=timeout_secs)
        # A large answer may take its time, as long as it keeps coming.
        self._stream_timeout = aiohttp.ClientTimeout(total=None, connect=timeout_secs, sock_read=timeout_secs)
        self._attempts = attempts
        self._sleep = sleep
        self._session: aiohttp.ClientSession | None = None
        self.token = token

    async def open(self) -> None:
        self._session = aiohttp.ClientSession(timeout=self._timeout)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def ask(
        self,
        method: str,
        path: str,
        body: BaseModel | Mapping[str, Any] | None = None,
        *,
        params: Mapping[str, Any] | None = None,
        content: bytes | None = None,
        media_type: str = JSON,
        is_safe: bool | None = None,
    ) -> Answer:
        """One exchange, repeated when that is safe: `is_safe` tells of calls that are not GET and change
        nothing. Raises what the registry refuses with, or `Unavailable` when it cannot be reached."""
        data = content if content is not None else None if body is None else _dumps_body(body)
        safe = method == "GET" if is_safe is None else is_safe
        for attempt in range(1, self._attempts + 1):
            try:
                async with self._exchange(method, path, params or {}, data, media_type) as response:
                    return await _answer(response)
            except (MetawattError, aiohttp.ClientError, TimeoutError) as error:
                if attempt == self._attempts or not may_repeat(error, safe):
                    raise _told(error, self._url) from error
                await self._sleep(pause_secs(attempt, error))
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def stream(
        self, path: str, body: BaseModel, accept: str, piece_bytes: int = 64 * 1024
    ) -> AsyncIterator[bytes]:
        """The pieces of a large answer to a POST, as they come; not repeated."""
        try:
            async with self._exchange("POST", path, {}, _dumps_body(body), JSON, accept) as response:
                if response.status >= 300:
                    await _answer(response)
                async for piece in response.content.iter_chunked(piece_bytes):
                    yield piece
        except (aiohttp.ClientError, TimeoutError) as error:
            raise _told(error, self._url) from error

    async def read(
        self,
        model: type[R],
        method: str,
        path: str,
        body: BaseModel | Mapping[str, Any] | None = None,
        *,
        params: Mapping[str, Any] | None = None,
        content: bytes | None = None,
        media_type: str = JSON,
        is_safe: bool | None = None,
    ) -> R:
        """As `ask`, where the answer is a model's JSON; `NotFinished` when it is an action still under way."""
        answer = await self.ask(
            method, path, body, params=params, content=content, media_type=media_type, is_safe=is_safe
        )
        if answer.status == 202 and model is not ActionRead and "action" in answer.value:
            raise NotFinished(str(answer.value["action_id"]))
        try:
            return model.model_validate(answer.value)
        except ValidationError as error:
            raise Internal(f"{method} {path}: the answer is not understood: {error}") from error

    async def text(self, path: str, params: Mapping[str, Any], accept: str) -> str:
        """The answer to a GET as the text that it is."""
        try:
            async with self._exchange("GET", path, params, None, JSON, accept) as response:
                if response.status >= 300:
                    await _answer(response)
                return await response.text()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise _told(error, self._url) from error

    @asynccontextmanager
    async def _exchange(
        self,
        method: str,
        path: str,
        params: Mapping[str, Any],
        data: bytes | None,
        media_type: str,
        accept: str | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        if self._session is None:
            raise Internal("the client is not open: use it with `async with`")
        headers = {} if data is None else {"Content-Type": media_type}
        if self.token is not None:
            headers["Authorization"] = f"Bearer {self.token}"
        timeout = self._timeout
        if accept is not None:
            headers["Accept"], timeout = accept, self._stream_timeout
        given = {name: str(value) for name, value in params.items() if value is not None}
        async with self._session.request(
            method,
            self._url + path,
            params=given,
            data=data,
            headers=headers,
            timeout=timeout,
            allow_redirects=False,
        ) as response:
            yield response


async def _answer(response: aiohttp.ClientResponse) -> Answer:
    content = await response.read()
    try:
        value = orjson.loads(content) if content else None
    except orjson.JSONDecodeError:
        value = None
    if response.status >= 300:
        raise refusal(response.status, value, _seconds(response.headers.get("Retry-After")))
    return Answer(response.status, value)


def may_repeat(error: Exception, is_safe: bool) -> bool:
    """Whether an exchange that ended so may be tried again without fear of doing something twice."""
    if isinstance(error, Busy | aiohttp.ClientConnectorError):
        return True
    if isinstance(error, MetawattError):
        return isinstance(error, Unavailable) and (is_safe or error.code in _NOTHING_DONE)
    return is_safe


def pause_secs(attempt: int, error: Exception) -> float:
    """How long to wait after an attempt, counted from 1: what the registry asks for, else ever longer."""
    if isinstance(error, Busy):
        return min(max(error.retry_after_secs, _FIRST_PAUSE_SECS), _LONGEST_PAUSE_SECS)
    return float(min(_FIRST_PAUSE_SECS * 2 ** (attempt - 1), _LONGEST_PAUSE_SECS))


def _told(error: Exception, url: str) -> MetawattError:
    if isinstance(error, MetawattError):
        return error
    message = f"the registry at {url} does not answer: {error or type(error).__name__}"
    return Unavailable(message, ErrorCode.REGISTRY_UNAVAILABLE)


def _seconds(text: str | None) -> float | None:
    return float(text) if text is not None and text.isascii() and text.isdigit() else None


def _dumps_body(body: BaseModel | Mapping[str, Any]) -> bytes:
    """A body as JSON. Of a model, what was set: an update clears a field by a null that was set."""
    if isinstance(body, BaseModel):
        return orjson.dumps(body.model_dump(mode="json", exclude_unset=True))
    return orjson.dumps(dict(body))
