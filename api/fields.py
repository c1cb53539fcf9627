"""What requests carry, taken out with care: media types, JSON bodies and their fields."""

from __future__ import annotations

from typing import Any, TypeVar

import orjson
from aiohttp import web
from pydantic import BaseModel

from api.limits import Bodies
from config.errors import BadRequest, ErrorCode
from energytag.models.common import read
from overlay.transaction import txid_from_hex

# No JSON body that this node takes is large; the bound for BEEF would let a query be megabytes.
JSON_BYTES = 1024 * 1024
_U32 = 2**32

M = TypeVar("M", bound=BaseModel)


def demand_media(request: web.Request, media_type: str) -> None:
    """`BadRequest(UNSUPPORTED_MEDIA_TYPE)` when the body says that it is something else."""
    given = request.headers.get("Content-Type")
    if given is None or given == media_type:
        return
    if given.partition(";")[0].strip().lower() != media_type:
        raise BadRequest(f"Content-Type must be {media_type}", ErrorCode.UNSUPPORTED_MEDIA_TYPE)


async def read_json(request: web.Request, bodies: Bodies, most_bytes: int = JSON_BYTES) -> Any:
    """The JSON value of the body; `BadRequest(BAD_JSON)` for anything else."""
    demand_media(request, "application/json")
    body = await bodies.read(request, most_bytes)
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"The body is not JSON: {error}", ErrorCode.BAD_JSON) from None
    finally:
        bodies.release(len(body))


async def read_object(request: web.Request, bodies: Bodies) -> dict[str, Any]:
    """The JSON object of the body."""
    value = await read_json(request, bodies)
    if not isinstance(value, dict):
        raise BadRequest("The body must be a JSON object")
    return value


async def read_model(request: web.Request, bodies: Bodies, model: type[M], most_bytes: int = JSON_BYTES) -> M:
    """The body as its model; `InvalidFields` (422) says all that is wrong with it."""
    return read(model, await read_json(request, bodies, most_bytes))


def txid_field(body: dict[str, Any]) -> bytes:
    """`txid`, 64 hex digits in display order, as an internal-order txid."""
    value = body.get("txid")
    try:
        if isinstance(value, str) and len(value) == 64:
            return txid_from_hex(value)
    except ValueError:
        pass
    raise BadRequest("txid must be 64 hex digits")


def index_field(body: dict[str, Any], name: str = "outputIndex") -> int:
    """A number of 32 bits."""
    value = body.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < _U32:
        raise BadRequest(f"{name} must be an integer from 0 to {_U32 - 1}")
    return value


def text_field(body: dict[str, Any], name: str) -> str | None:
    """A text, or None when it is left out."""
    value = body.get(name)
    if value is not None and not isinstance(value, str):
        raise BadRequest(f"{name} must be a string")
    return value
