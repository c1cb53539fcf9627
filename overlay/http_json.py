"""One bounded JSON exchange with a chain service; whatever goes wrong on the way is `Unavailable`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
import orjson

from config.errors import Unavailable

MAX_REPLY_BYTES: Final = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class JsonReply:
    """`value` is None when the body is not JSON."""

    status: int
    value: Any


class JsonService:
    """A service at a base URL. Makes its own session unless it is handed one, and closes only its own."""

    def __init__(
        self,
        name: str,
        url: str,
        headers: Mapping[str, str],
        timeout_secs: float,
        session: aiohttp.ClientSession | None = None,
    ) -> None:
        self._name = name
        self._url = url.rstrip("/")
        self._headers = dict(headers)
        self._timeout = aiohttp.ClientTimeout(total=timeout_secs)
        self._session = session
        self._own_session: aiohttp.ClientSession | None = None

    async def ask(self, method: str, path: str, **body: Any) -> JsonReply:
        """Send and read the whole reply. `Unavailable` for network errors, timeouts, 429 and 5xx, for
        replies above the bound, and for a service that does not know us (401, 403)."""
        try:
            async with self._open().request(
                method,
                self._url + path,
                headers=self._headers,
                timeout=self._timeout,
                allow_redirects=False,
                **body,
            ) as reply:
                content = await self._read(reply)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unavailable(f"{self._name} does not answer: {error or type(error).__name__}") from error
        if reply.status >= 500 or reply.status in (401, 403, 429):
            raise Unavailable(f"{self._name} answers {reply.status}")
        return JsonReply(reply.status, _decode(content))

    async def _read(self, reply: aiohttp.ClientResponse) -> bytes:
        content = bytearray()
        async for chunk in reply.content.iter_any():
            content += chunk
            if len(content) > MAX_REPLY_BYTES:
                raise Unavailable(f"{self._name} answers with more than {MAX_REPLY_BYTES} bytes")
        return bytes(content)

    def _open(self) -> aiohttp.ClientSession:
        if self._session is not None:
            return self._session
        if self._own_session is None:
            self._own_session = aiohttp.ClientSession()
        return self._own_session

    async def close(self) -> None:
        if self._own_session is not None:
            await self._own_session.close()
            self._own_session = None


def _decode(content: bytes) -> Any:
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        return None


def bearer(api_key: str | None) -> dict[str, str]:
    """The header that shows an API key; none without one."""
    return {"Authorization": f"Bearer {api_key}"} if api_key else {}
