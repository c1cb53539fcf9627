"""Replies with the headers that every reply of this node carries, made once and copied."""

from __future__ import annotations

from typing import Any, Final

import orjson
from aiohttp import web
from multidict import CIMultiDict, istr

REQUEST_ID: Final = istr("X-Request-Id")
# The id of the request under way, on the request itself.
OWN_ID: Final = web.RequestKey("own_id", str)

# As the reference sends them: any page may talk to an overlay node, also one on a private network.
COMMON: Final[tuple[tuple[str, str], ...]] = (
    ("Access-Control-Allow-Origin", "*"),
    ("Access-Control-Allow-Headers", "*"),
    ("Access-Control-Allow-Methods", "*"),
    ("Access-Control-Expose-Headers", "*"),
    ("Access-Control-Allow-Private-Network", "true"),
    ("X-Content-Type-Options", "nosniff"),
    ("Server", "metawatt"),
)
JSON_HEADERS: Final = CIMultiDict([*COMMON, ("Content-Type", "application/json; charset=utf-8")])
# Clients compare this content type for equality: it must not carry parameters.
BINARY_HEADERS: Final = CIMultiDict([*COMMON, ("Content-Type", "application/octet-stream")])


def json_bytes(body: bytes, status: int = 200) -> web.Response:
    """A reply of JSON that is encoded already."""
    return web.Response(body=body, status=status, headers=JSON_HEADERS)


def json_reply(value: Any, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(value), status=status, headers=JSON_HEADERS)


def success(message: str, **more: Any) -> web.Response:
    """The reference's shape for an operation that has nothing else to say."""
    return json_reply({"status": "success", "message": message, **more})


def text_reply(text: str, media_type: str, **headers: str) -> web.Response:
    """Text in UTF-8; keyword arguments are further headers, `_` standing for `-`."""
    more = [(name.replace("_", "-"), value) for name, value in headers.items()]
    fields = [*COMMON, ("Content-Type", f"{media_type}; charset=utf-8"), *more]
    return web.Response(body=text.encode(), headers=CIMultiDict(fields))
