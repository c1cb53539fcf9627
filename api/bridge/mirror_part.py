"""What the mirror's handlers have in common: the mirror itself, ids as they are written, routes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from pydantic import BaseModel
from solders.signature import Signature

from api.ports import Node
from api.route import Access, Content, Handler, Parameter, Route, Tag, json_content
from bridge.mirror.ground import Asset
from bridge.mirror.mirror import Mirror
from config.errors import BadRequest, ErrorCode, NotFound, Unavailable
from overlay.transaction import txid_from_hex

PUBLIC_BASE: Final = "/api/bridge"
ADMIN_BASE: Final = "/api/admin/bridge"
MESSAGE_ID: Final = Parameter(
    "message_id",
    "path",
    "The message's id: 64 hex digits, as the certificate's `origin` has it.",
    {"type": "string", "pattern": "^[0-9a-f]{64}$"},
    required=True,
)
_ID: Final = re.compile(r"[0-9a-f]{64}")
_OUTPOINT: Final = re.compile(r"([0-9a-fA-F]{64})[.:_]([0-9]{1,10})")
_U32: Final = 2**32


class MessageUnknown(NotFound):
    """There is no such message."""

    default_code = ErrorCode.BRIDGE_MESSAGE_UNKNOWN


def mirror_of(node: Node) -> Mirror:
    """The node's mirror; on a node without one the routes are not there."""
    if node.mirror is None:
        raise NotFound("Route not found.", ErrorCode.ROUTE_NOT_FOUND)
    return node.mirror


def asset_of(mirror: Mirror) -> Asset:
    """What is mirrored; `Unavailable(SOLANA_UNAVAILABLE)` until the cluster has answered."""
    if mirror.asset is None:
        raise Unavailable(f"The bridge is not connected: {mirror.trouble}", ErrorCode.SOLANA_UNAVAILABLE)
    return mirror.asset


def message_id_of(text: str) -> bytes:
    """32 B; `MessageUnknown` when this is no id at all."""
    if _ID.fullmatch(text) is None:
        raise MessageUnknown("A message's id is 64 hex digits, in lower case")
    return bytes.fromhex(text)


def signature_bytes(text: str) -> bytes:
    """64 B; `BadRequest` when it is not base58 of so many."""
    try:
        return bytes(Signature.from_string(text))
    except ValueError:
        raise BadRequest("signature must be base58 of 64 bytes") from None


def txid_bytes(text: str) -> bytes:
    """32 B as on the wire, from hex as it is shown; `BadRequest` for anything else."""
    try:
        return txid_from_hex(text)
    except ValueError:
        raise BadRequest("txid must be 64 hex digits") from None


def outpoint_bytes(text: str) -> tuple[bytes, int]:
    """Txid as on the wire, and output index, of `<txid>.<index>`."""
    found = _OUTPOINT.fullmatch(text)
    if found is None or int(found[2]) >= _U32:
        raise BadRequest("outpoint must be <txid>.<output index>: 64 hex digits and a number")
    return txid_from_hex(found[1]), int(found[2])


def bridge_route(
    method: str,
    path: str,
    operation: str,
    summary: str,
    handler: Handler,
    reply: type[BaseModel] | Mapping[int, Content],
    *,
    description: str = "",
    body: type[BaseModel] | None = None,
    parameters: tuple[Parameter, ...] = (),
    errors: tuple[int, ...] = (),
) -> Route:
    """A route of the mirror; what is below `ADMIN_BASE` is for the operator."""
    is_admin = path.startswith(ADMIN_BASE)
    known = {400, 404, 422, 503, *errors}
    if is_admin:
        known |= {401, 403}
    if body is not None:
        known |= {408, 409, 413, 415}
    return Route(
        method,
        path,
        operation,
        Tag.BRIDGE,
        summary,
        handler,
        description=description,
        parameters=parameters,
        body=None if body is None else json_content("JSON.", body),
        replies=reply if isinstance(reply, Mapping) else {200: json_content("JSON.", reply)},
        errors=tuple(sorted(known)),
        access=Access.ADMIN if is_admin else Access.PUBLIC,
        when_ready=True,
        extension=True,
    )
