"""What a meter sends, as the documentation has it: the bodies are read by bridge/meters/body.py itself."""

from __future__ import annotations

from typing import Any, Final

from bridge.meters.body import MEASURED, MOST_TEXT

Json = dict[str, Any]

_NUMBER: Final[Json] = {"type": ["number", "string", "null"], "maxLength": MOST_TEXT}
_TEXT: Final[Json] = {"type": ["string", "null"], "minLength": 1, "maxLength": MOST_TEXT}
_KWH: Final[Json] = {
    "type": ["string", "number"],
    "description": "kWh, six decimal places at most: the very text that was signed. A JSON number is taken as "
    "it is written.",
    "examples": ["1.500000"],
}
_TIMESTAMP: Final[Json] = {
    "type": ["string", "integer"],
    "description": "As it was signed: RFC 3339 in whole seconds of UTC; for meters of the format `device` "
    "milliseconds since 1970.",
    "examples": ["2026-06-01T12:00:00Z"],
}
_SIGNATURE: Final = _TEXT | {"description": "Ed25519 over the meter's text: base58 of 64 bytes."}
_COMMON: Final[Json] = {
    "meter_serial": _TEXT | {"description": "Which meter; `meter_id` when left out."},
    "meter_id": _TEXT | {"description": "What the meter calls itself: its serial, or its registered `meter_id`."},
    "wallet_address": _TEXT | {"description": "If it is given, the registered owner's wallet."},
    "public_key": _TEXT | {"description": "If it is given, the registered key; never used in its place."},
    **dict.fromkeys((*MEASURED, "zone_id"), _NUMBER),
}

READING: Final[Json] = {
    "type": "object",
    "properties": {
        "kwh_amount": _KWH,
        "reading_timestamp": _TIMESTAMP,
        "meter_signature": _SIGNATURE,
        **_COMMON,
    },
    "required": ["kwh_amount", "reading_timestamp"],
}
SHORT_READING: Final[Json] = {
    "type": "object",
    "properties": {"kwh": _KWH, "timestamp": _TIMESTAMP, "signature": _SIGNATURE, **_COMMON},
    "required": ["kwh", "timestamp"],
}


def batch_of(reading: Json) -> Json:
    """A list of them, or an object with the list as `readings`."""
    readings = {"type": "array", "items": reading, "minItems": 1}
    wrapped = {"type": "object", "properties": {"readings": readings}, "required": ["readings"]}
    return {"anyOf": [readings, wrapped]}
