"""A meter changes its key by itself: the old key names the new one, and the new one shows that it is held."""

from __future__ import annotations

from typing import Final

from bridge.meters.formats import moment_secs
from bridge.meters.keys import is_signed, public_key_bytes, signature_bytes
from bridge.meters.registration import Rotation
from config.errors import BadRequest, ErrorCode, Unauthorized
from store.port import Document

_MOST_AGE_SECS: Final = 600


class SignatureInvalid(Unauthorized):
    """A signature is missing, or does not hold."""

    default_code = ErrorCode.SIGNATURE_INVALID


def rotation_message(serial: str, old_key: str, new_key: str, timestamp: str) -> bytes:
    """The text that both keys sign; keys are base58."""
    lines = (
        "METAWATT_METER_KEY_ROTATION",
        f"meter_serial: {serial}",
        f"old_public_key: {old_key}",
        f"new_public_key: {new_key}",
        f"timestamp: {timestamp}",
    )
    return "\n".join(lines).encode()


def demand_both_keys(meter: Document, rotation: Rotation, now_ms: int) -> None:
    """`SignatureInvalid` unless the meter's key and the new one have both signed, and lately. It works once:
    afterwards the old key is no longer the meter's."""
    given = (rotation.timestamp, rotation.old_signature, rotation.new_signature)
    if None in given:
        raise SignatureInvalid("timestamp, old_signature and new_signature are needed, or the admin token")
    timestamp, by_old, by_new = map(str, given)
    message = rotation_message(meter["_id"], meter["public_key"], rotation.public_key, timestamp)
    for name, signature, key in (("old", by_old, meter["public_key"]), ("new", by_new, rotation.public_key)):
        read = signature_bytes(signature)
        if read is None or not is_signed(message, read, public_key_bytes(key)):
            raise SignatureInvalid(f"{name}_signature is not the {name} key's over the rotation's text")
    if abs(moment_secs(timestamp) - now_ms // 1000) > _MOST_AGE_SECS:
        raise BadRequest(f"timestamp must be within {_MOST_AGE_SECS} seconds of now", ErrorCode.TIMESTAMP_INVALID)
