"""The Block Headers Service's client.

The service tells a header's fields; its 80 bytes are put together from them again and hashed, so that a
header is never taken on the service's word for its hash. Headers of one answer must link.
"""

from __future__ import annotations

import struct
from itertools import pairwise
from typing import Any, Final

import aiohttp

from config.errors import Unavailable
from overlay.chain import Header
from overlay.http_json import JsonService, bearer
from overlay.sdk import hash256
from overlay.transaction import txid_from_hex

MAX_HEADERS: Final = 2000
_CHAIN = "/api/v1/chain"


class HeadersServiceClient:
    """`overlay.chain.HeaderSource` over HTTP. `url` is the base before `/api/v1`."""

    def __init__(
        self,
        url: str,
        api_key: str | None = None,
        timeout_secs: float = 10,
        session: aiohttp.ClientSession | None = None,
    ) -> None:
        self._service = JsonService("the headers service", url, bearer(api_key), timeout_secs, session)

    async def tip(self) -> Header:
        """See `HeaderSource.tip`."""
        reply = await self._service.ask("GET", f"{_CHAIN}/tip/longest")
        if reply.status != 200 or not isinstance(reply.value, dict):
            raise Unavailable(f"the headers service answers {reply.status} for its tip")
        return _read(reply.value.get("header"), reply.value.get("height"))

    async def range(self, start: int, count: int) -> list[Header]:
        """See `HeaderSource.range`; at most `MAX_HEADERS` are asked for at once."""
        query = f"height={start}&count={min(count, MAX_HEADERS)}"
        reply = await self._service.ask("GET", f"{_CHAIN}/header/byHeight?{query}")
        # Above its tip the service knows no such height, and says so as it says everything: with 400.
        if reply.status in (400, 404):
            return []
        if reply.status != 200 or not isinstance(reply.value, list):
            raise Unavailable(f"the headers service answers {reply.status} for headers")
        headers = [_read(item, start + at) for at, item in enumerate(reply.value[:count])]
        if any(lower.hash != upper.previous for lower, upper in pairwise(headers)):
            raise Unavailable("the headers service answers with headers that do not link")
        return headers

    async def close(self) -> None:
        await self._service.close()


def _read(item: Any, height: Any) -> Header:
    """A header of the service's JSON; `Unavailable` unless its fields hash to its hash."""
    try:
        previous = txid_from_hex(item["prevBlockHash"])
        merkle_root = txid_from_hex(item["merkleRoot"])
        numbers = (item["creationTimestamp"], item["difficultyTarget"], item["nonce"])
        raw = struct.pack("<i32s32sIII", item["version"], previous, merkle_root, *numbers)
        digest = txid_from_hex(item["hash"])
        number = int(height)
    except (KeyError, ValueError, TypeError, struct.error) as error:
        raise Unavailable(f"the headers service's answer cannot be read: {error!r}") from error
    if hash256(raw) != digest:
        raise Unavailable(f"the headers service gave a header at {number} that does not hash to its hash")
    return Header(number, digest, previous, merkle_root, raw)
