"""Messages as they are shown.

Who sees what: amounts, transactions, ids and recipients are on a public chain, and so is what is told to anybody.
Which readings a crossing is of says when somebody was at home; as with `/api/meters`, that is for the operator, and
for the holder by way of his readings. So is what operators write.
"""

from __future__ import annotations

from typing import Any, Final

from solders.signature import Signature

from api.bridge.mirror_part import PUBLIC_BASE
from bridge.mirror.book import plain
from bridge.mirror.message import Message, Reason
from bridge.mirror.states import ENDED, Direction, Hold
from bridge.programs.instructions import Path
from energytag.models.common import moment_of_ms
from overlay.transaction import outpoint, show_outpoint

SOLANA: Final = "solana"
BSV: Final = "bsv"
_SIGNATURE_BYTES: Final = 64
_TXID_BYTES: Final = 32


def message_shown(message: Message) -> dict[str, Any]:
    """To anybody."""
    facts = message.facts
    return {
        "message_id": message.id.hex(),
        "direction": message.direction,
        "kind": message.kind,
        "state": message.state,
        "wh": message.wh,
        "units": str(message.units),
        "asset": message.asset,
        "source": {
            "chain": SOLANA if message.direction is Direction.IN else BSV,
            "transaction": transaction_text(message.source_tx),
            "event": event_text(message.source_event),
        },
        "destination": {
            "chain": BSV if message.ends_on_bsv else SOLANA,
            "transaction": None if message.destination_tx is None else transaction_text(message.destination_tx),
        },
        "recipient": message.recipient,
        "is_refund": message.is_refund,
        "attempts": message.attempt,
        "reason": _reason_shown(message.reason),
        "certificates": _certificates(message),
        "marker": facts.get("marker"),
        "withdrawal": _withdrawal(facts.get("completion")),
        "created_at": moment_of_ms(message.created_ms),
        "final_at": _moment(message.final_ms),
        "sent_at": _moment(message.sent_ms),
        "ended_at": _moment(message.ended_ms),
        "receipt": receipt_path(message) if message.state in ENDED else None,
    }


def operators_message(message: Message) -> dict[str, Any]:
    """To the operator."""
    reason = message.reason
    return message_shown(message) | {
        "reason": None if reason is None else {"code": reason.code, "text": reason.text},
        "facts": plain(message.facts),
        "version": message.version,
        "log_entries": list(message.entries),
        "due_at": _moment(message.due_ms),
    }


def message_path(message: Message) -> str:
    return f"{PUBLIC_BASE}/messages/{message.id.hex()}"


def receipt_path(message: Message) -> str:
    return f"{message_path(message)}/receipt"


def transaction_text(raw: bytes) -> str:
    """As people write it: a signature in base58, a txid in hex from its last byte on."""
    return str(Signature.from_bytes(raw)) if len(raw) == _SIGNATURE_BYTES else raw[::-1].hex()


def event_text(raw: bytes) -> str:
    """`outer.inner.batch` of an instruction, `txid.index` of an output."""
    if len(raw) > _SIGNATURE_BYTES:
        return Path.unpacked(raw[_SIGNATURE_BYTES:]).text
    return show_outpoint(raw)


def _certificates(message: Message) -> list[dict[str, Any]]:
    txid = message.destination_tx
    if txid is None or len(txid) != _TXID_BYTES or message.is_refund:
        return []
    return [
        {"issuance_id": issuance_id, "outpoint": show_outpoint(outpoint(txid, index)), "wh": wh}
        for issuance_id, index, wh in message.facts.get("issuances", ())
    ]


def _withdrawal(completion: str | None) -> str | None:
    """Facts have the txid as on the wire."""
    return None if completion is None else bytes.fromhex(completion)[::-1].hex()


def _reason_shown(reason: Reason | None) -> dict[str, Any] | None:
    if reason is None:
        return None
    return {"code": reason.code, "text": None if reason.code is Hold.OPERATOR else reason.text}


def _moment(ms: int | None) -> str | None:
    return None if ms is None else moment_of_ms(ms)
