"""The Block Headers Service's client.

The service tells a header's fields; its 80 bytes are put together from them again and hashed, so that a
header is never taken on the service's word for its hash. Headers of one answer must link.

Asked for heights, the service answers with every header it has there, in no order and without their heights,
those of stale branches too. Where it has branches, it is asked which one is the longest chain.
"""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import Any, Final

import aiohttp

from config.errors import Unavailable
from overlay.chain import Header
from overlay.http_json import JsonService, bearer
from overlay.sdk import hash256
from overlay.transaction import txid_from_hex

MAX_HEADERS: Final = 2000
_CHAIN = "/api/v1/chain"
_LONGEST = "LONGEST_CHAIN"
_MAX_BRANCHES = 20


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
        found = [_read(item, 0) for item in reply.value[: 2 * MAX_HEADERS]]
        chain = await self._longest(_branches(found), start)
        return [replace(header, height=start + at) for at, header in enumerate(chain[:count])]

    async def _longest(self, branches: list[list[Header]], start: int) -> list[Header]:
        """The branch that the service calls its longest chain; the only one when there is one."""
        if len(branches) < 2:
            return branches[0] if branches else []
        for branch in branches[:_MAX_BRANCHES]:
            reply = await self._service.ask("GET", f"{_CHAIN}/header/state/{branch[-1].hash[::-1].hex()}")
            state = reply.value if reply.status == 200 and isinstance(reply.value, dict) else {}
            if state.get("state") == _LONGEST and state.get("height") == start + len(branch) - 1:
                return branch
        raise Unavailable("the headers service answers with headers that do not link")

    async def close(self) -> None:
        await self._service.close()


def _branches(headers: list[Header]) -> list[list[Header]]:
    """The chains that these headers make, longest first, each from its lowest header up."""
    known = {header.hash: header for header in headers}
    tips = set(known) - {header.previous for header in headers}
    if len(tips) > _MAX_BRANCHES:
        raise Unavailable("the headers service answers with too many branches")
    branches = []
    for tip in tips:
        branch = []
        header = known.get(tip)
        while header is not None:
            branch.append(header)
            header = known.get(header.previous)
        branches.append(branch[::-1])
    return sorted(branches, key=len, reverse=True)


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
