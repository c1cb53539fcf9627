"""A metering gateway as a meter sees it: readings handed in over HTTP, with bounded waits and tries.

A reading may be sent again at any time: it is signed once, and a gateway takes an interval once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Self, TypeAlias
from urllib.parse import quote

import aiohttp
import orjson

from bridge.simulator.retrying import is_passing, pause_secs
from config.errors import ErrorCode, Internal, MetawattError, Unavailable
from energytag.client.refusals import refusal

SUBMIT: Final = "/api/meters/submit-reading"
SUBMIT_MANY: Final = "/api/meters/submit-readings"
METERS: Final = "/api/meters"
TIMEOUT_SECS: Final = 10.0

Json: TypeAlias = dict[str, Any]
Body: TypeAlias = Mapping[str, Any] | Sequence[Mapping[str, Any]] | None
Sleep: TypeAlias = Callable[[float], Awaitable[object]]


class NotNow(Unavailable):
    """The gateway does not answer, or not for now: what was asked may go well later."""


class Gateway:
    """Open between `async with`. Calls raise what the gateway refuses with as the exception that it is there, and
    `NotNow` when the tries are used up."""

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        endpoint: str = SUBMIT,
        timeout_secs: float = TIMEOUT_SECS,
        connections: int = 32,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._url = url.rstrip("/")
        self._token = token
        self._endpoint = endpoint
        self._timeout = aiohttp.ClientTimeout(total=timeout_secs)
        self._connections = connections
        self._sleep = sleep
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(limit=self._connections)
        self._session = aiohttp.ClientSession(timeout=self._timeout, connector=connector)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    # Readings

    async def submit(self, reading: Mapping[str, Any]) -> Json:
        """The reading as the gateway keeps it."""
        return _object(await self._ask("POST", self._endpoint, reading))

    async def submit_many(self, readings: Sequence[Mapping[str, Any]]) -> list[Json]:
        """What became of each, in their order; one that was refused has a `code`."""
        answer = _object(await self._ask("POST", SUBMIT_MANY, list(readings)))
        results = answer.get("results")
        if not isinstance(results, list) or len(results) != len(readings):
            raise Internal("the gateway's answer does not tell of each reading")
        return [_object(result) for result in results]

    async def reading(self, reading_id: str) -> Json:
        return _object(await self._ask("GET", f"{METERS}/readings/{quote(reading_id, safe='')}"))

    # Meters; for the operator

    async def meter(self, serial: str) -> Json:
        return _object(await self._ask("GET", f"{METERS}/{quote(serial, safe='')}"))

    async def register(self, meter: Mapping[str, Any]) -> Json:
        return _object(await self._ask("POST", METERS, meter))

    async def verify(self, serial: str) -> Json:
        return _object(await self._ask("POST", f"{METERS}/{quote(serial, safe='')}/verify", {}))

    async def get(self, path: str) -> Json:
        """Any other document of the node."""
        return _object(await self._ask("GET", path))

    async def _ask(self, method: str, path: str, body: Body = None) -> Any:
        """One exchange, tried again where that may help."""
        attempt = 1
        while True:
            status, answer, retry_after_secs = await self._exchange(method, path, body)
            if status is not None and status < 300:
                return answer
            pause = pause_secs(attempt, status, retry_after_secs)
            if pause is None:
                raise self._refusal(status, answer, retry_after_secs)
            await self._sleep(pause)
            attempt += 1

    async def _exchange(self, method: str, path: str, body: Body) -> tuple[int | None, Any, float | None]:
        """Status, JSON and the seconds of Retry-After; no status, and what went wrong, when nothing came back."""
        if self._session is None:
            raise Internal("the gateway is not open: use it with `async with`")
        headers = {} if body is None else {"Content-Type": "application/json"}
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token}"
        data = None if body is None else orjson.dumps(body)
        try:
            async with self._session.request(
                method, self._url + path, data=data, headers=headers, allow_redirects=False
            ) as response:
                return response.status, _json(await response.read()), _seconds(response)
        except (aiohttp.ClientError, TimeoutError) as error:
            return None, str(error) or type(error).__name__, None

    def _refusal(self, status: int | None, answer: Any, retry_after_secs: float | None) -> MetawattError:
        if status is None:
            message = f"the gateway at {self._url} does not answer: {answer}"
            return NotNow(message, ErrorCode.REGISTRY_UNAVAILABLE)
        error = refusal(status, answer, retry_after_secs)
        return NotNow(error.message, error.code) if is_passing(status) else error


def _json(content: bytes) -> Any:
    """None for what is no JSON: a proxy's page tells no more than the status does."""
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        return None


def _object(value: Any) -> Json:
    if not isinstance(value, dict):
        raise Internal("the gateway's answer is no JSON object")
    return value


def _seconds(response: aiohttp.ClientResponse) -> float | None:
    text = response.headers.get("Retry-After", "")
    return float(text) if text.isascii() and text.isdigit() else None
