"""`origin` of a mirrored certificate: the message that it came by, under the issuer's signature.

    {"bridge": "gwx1", "message": <id, hex>, "chain": "solana:<genesis>", "asset": <mint>,
     "transaction": <signature>, "event": "<outer>.<inner>.<batch>"}

Base58 as Solana writes it. Whether the books know the message is the accountant's to say: anybody may write
anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from solders.hash import Hash
from solders.signature import Signature

from bridge.mirror.message import Message
from bridge.programs.instructions import Path
from certificates.document import Json

BRIDGE: Final = "gwx1"
_FIELDS: Final = frozenset({"bridge", "message", "chain", "asset", "transaction", "event"})


@dataclass(frozen=True, slots=True)
class Origin:
    """An origin that has the form of one of this bridge's."""

    message: bytes
    chain: str
    asset: str
    transaction: str
    event: str


def chain_name(genesis: Hash) -> str:
    """How a cluster is named in origins and exits."""
    return f"solana:{genesis}"


def origin_of(message: Message, genesis: Hash) -> dict[str, Json]:
    """The origin of the certificates of a message from Solana."""
    return {
        "bridge": BRIDGE,
        "message": message.id.hex(),
        "chain": chain_name(genesis),
        "asset": message.asset,
        "transaction": str(Signature.from_bytes(message.source_tx)),
        "event": Path.unpacked(message.source_event[Signature.LENGTH :]).text,
    }


def read_origin(value: Json) -> Origin | None:
    """The origin that a certificate states; None when it is not of this form."""
    if type(value) is not dict or value.keys() != _FIELDS or value["bridge"] != BRIDGE:
        return None
    found: dict[str, Any] = value
    if not all(type(each) is str for each in found.values()):
        return None
    message = _message(found["message"])
    if message is None:
        return None
    return Origin(message, found["chain"], found["asset"], found["transaction"], found["event"])


def _message(text: str) -> bytes | None:
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        return None
    return raw if len(raw) == 32 and raw.hex() == text else None
