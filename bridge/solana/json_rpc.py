"""JSON-RPC over HTTP: one call is one POST, and what goes wrong on the way has one name.

No message tells the URL: its host, path or query may hold an API key.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final

import aiohttp
import orjson

from config.errors import ErrorCode, Unavailable

MAX_REPLY_BYTES: Final = 64 * 1024 * 1024
"""A page of a hundred accounts of half a megabyte; what the bridge asks for is far smaller."""
_MAX_CONNECTIONS: Final = 32
_KEEP_SECS: Final = 15.0
"""How long an idle connection is used again: less than servers keep one, so that a call does not meet its end."""
_HEADERS: Final = {"Content-Type": "application/json"}


class RpcError(Exception):
    """The error that the server answered a call with; `code` and `data` are JSON-RPC's."""

    def __init__(self, method: str, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.method = method
        self.code = code
        self.data = data


class JsonRpc:
    """A server at a URL. A call takes `timeout_secs` at most, waiting for a connection included, and is posted
    once: whoever calls decides what is asked again. Close it when done; a call after that opens it anew."""

    def __init__(self, url: str, timeout_secs: float) -> None:
        self._url = url
        self._timeout_secs = timeout_secs
        self._session: aiohttp.ClientSession | None = None
        self._calls = 0

    async def call(self, method: str, params: Sequence[Any]) -> Any:
        """The result as JSON. Raises `RpcError`; `Unavailable(SOLANA_UNAVAILABLE)` for all that is no answer."""
        self._calls += 1
        number = self._calls
        call = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
        try:
            async with asyncio.timeout(self._timeout_secs):
                body = await self._post(method, orjson.dumps(call))
        except TimeoutError as error:
            raise silent(method, "it takes too long") from error
        except (aiohttp.ClientError, OSError) as error:
            raise silent(method, _reason(error)) from error
        return _result(method, number, body)

    async def _post(self, method: str, call: bytes) -> bytes:
        async with self._open().post(self._url, data=call, headers=_HEADERS, allow_redirects=False) as reply:
            if reply.status != HTTPStatus.OK:
                raise silent(method, f"HTTP {reply.status}")
            return await _read(method, reply)

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=_MAX_CONNECTIONS, keepalive_timeout=_KEEP_SECS),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(),
            )
        return self._session

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()


def unavailable(what: str) -> Unavailable:
    """`Unavailable` of the cluster."""
    return Unavailable(f"the Solana cluster {what}", ErrorCode.SOLANA_UNAVAILABLE)


def silent(method: str, reason: str) -> Unavailable:
    """There was no answer to a call."""
    return unavailable(f"does not answer {method}: {reason}")


async def _read(method: str, reply: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in reply.content.iter_any():
        body += chunk
        if len(body) > MAX_REPLY_BYTES:
            raise unavailable(f"answers {method} with more than {MAX_REPLY_BYTES} bytes")
    return bytes(body)


def _reason(error: Exception) -> str:
    """The words of the operating system or of aiohttp's kind of error; others of its words name the host."""
    return getattr(error, "strerror", None) or type(error).__name__


def _result(method: str, number: int, body: bytes) -> Any:
    try:
        reply = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise _strange(method) from error
    if not isinstance(reply, dict) or reply.get("id") != number:
        raise _strange(method)
    if (fault := reply.get("error")) is not None:
        raise _error(method, fault)
    if "result" not in reply:
        raise _strange(method)
    return reply["result"]


def _error(method: str, fault: Any) -> RpcError | Unavailable:
    match fault:
        case {"code": int(code), "message": str(message)}:
            return RpcError(method, code, message, fault.get("data"))
    return _strange(method)


def _strange(method: str) -> Unavailable:
    return unavailable(f"answers {method} with something else than JSON-RPC")
