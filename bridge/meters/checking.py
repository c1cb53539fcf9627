"""A reading is judged: the checks in their order, each with a code of its own, and the document that is kept.

The order is that of docs/METERS.md. What is cheap and says who speaks comes first; the signature is checked over
the strings as they came, before any of them is read; what they mean comes last.

Beside the fields that bridge/records.py names a reading has `name` (what the meter called itself, as it was
signed), `timestamp_ms`, `measured` (what else was sent, as text), the meter's `user_id`, `account_id` and
`device_id` at the time, and `mint_to`, the bridge's wallet where the meter is mirrored, else None. Format, name,
timestamp, kwh and wallet make up the signed text again, at any time.
"""

from __future__ import annotations

from typing import Final

from bridge.meters.amounts import AmountInvalid, Conversion
from bridge.meters.body import ReadingBody
from bridge.meters.directory import MeterUnknown
from bridge.meters.faults import invalid
from bridge.meters.formats import Format, signed_message, timestamp_secs
from bridge.meters.keys import KeyInvalid, is_signed, signature_bytes
from bridge.meters.meter import Key, demand_verified, signing_keys
from bridge.meters.mirroring import NOT_MIRRORING, Mirroring
from bridge.meters.rotation import SignatureInvalid
from bridge.mirror.message import UNITS_PER_WH
from bridge.records import ReadingState, reading_key
from config.errors import BadRequest, ErrorCode, Forbidden
from config.settings import MeterSettings, TokenizationSettings
from store.port import Document

_DAY_MS: Final = 86_400_000


class WalletDiffers(Forbidden):
    """The reading names another wallet than that of the meter's owner."""

    default_code = ErrorCode.WALLET_DIFFERS


def serial_of(body: ReadingBody) -> str:
    """Which meter is meant: `meter_serial`, or where there is none `meter_id`."""
    serial = body.meter_serial or body.meter_id
    if serial is None:
        raise invalid("meter_serial", "is needed, or meter_id")
    return serial


def message_of(reading: Document) -> bytes:
    """The text that was signed, from a reading as it is kept."""
    return signed_message(
        reading["format"], reading["name"], reading["timestamp"], reading["kwh"], reading["wallet"]
    )


class Checker:
    """The rules of one node. Pure: the same meter, body and time have the same outcome."""

    def __init__(
        self, meters: MeterSettings, tokens: TokenizationSettings, mirroring: Mirroring = NOT_MIRRORING
    ) -> None:
        self._mirroring = mirroring
        self._conversion = Conversion(tokens)
        self._oldest_ms = int(tokens.reading_max_age_days * _DAY_MS)
        self._oldest_days = tokens.reading_max_age_days
        self._future_ms = int(meters.future_secs * 1000)
        self._future_secs = meters.future_secs

    def reading(self, meter: Document, body: ReadingBody, now_ms: int) -> Document:
        """The reading as it is to be kept; the first check that fails raises its code."""
        demand_verified(meter)
        name = _name(meter, body)
        _check_key(meter, body, now_ms)
        _check_wallet(meter, body)
        key = _check_signature(meter, body, name, now_ms)
        timestamp_ms = timestamp_secs(meter["format"], body.reading_timestamp) * 1000
        _check_validity(key, timestamp_ms)
        units = self._conversion.units(body.kwh_amount)
        mint_to = self._mirroring.mint_to(meter)
        if mint_to is not None:
            _check_whole_wh(units)
        self._check_age(timestamp_ms, now_ms)
        return _document(meter, body, name, key, timestamp_ms, units, now_ms) | {"mint_to": mint_to}

    def _check_age(self, timestamp_ms: int, now_ms: int) -> None:
        if timestamp_ms < now_ms - self._oldest_ms:
            raise BadRequest(f"The reading is older than {self._oldest_days:g} days", ErrorCode.READING_TOO_OLD)
        if timestamp_ms > now_ms + self._future_ms:
            raise BadRequest(
                f"The reading's time is more than {self._future_secs:g} seconds ahead",
                ErrorCode.READING_FROM_FUTURE,
            )


def _name(meter: Document, body: ReadingBody) -> str:
    """What the meter signs as its name. A `meter_id` beside the serial must be one that is this meter's."""
    if body.meter_id not in (None, meter["_id"], meter["meter_id"]):
        raise MeterUnknown("meter_id is not that of the meter with this serial")
    if meter["format"] == Format.GRIDTOKENX:
        return str(meter["_id"])
    return body.meter_id or str(meter["_id"])


def _check_key(meter: Document, body: ReadingBody, now_ms: int) -> None:
    """The registered key decides; one in the request is compared with it, and used for nothing."""
    given = body.public_key
    if given in (None, meter["public_key"]):
        return
    if all(given != key.text for key in signing_keys(meter, now_ms)):
        raise KeyInvalid("public_key is not the key that the meter is registered with")


def _check_wallet(meter: Document, body: ReadingBody) -> None:
    if body.wallet_address not in (None, meter["wallet"]):
        raise WalletDiffers()


def _check_signature(meter: Document, body: ReadingBody, name: str, now_ms: int) -> Key:
    """The registered key that signed."""
    if body.meter_signature is None:
        raise SignatureInvalid("meter_signature is missing")
    signature = signature_bytes(body.meter_signature)
    if signature is None:
        raise SignatureInvalid("meter_signature must be base58 of 64 bytes")
    message = signed_message(meter["format"], name, body.reading_timestamp, body.kwh_amount, meter["wallet"])
    for key in signing_keys(meter, now_ms):
        if is_signed(message, signature, key.public):
            return key
    raise SignatureInvalid("meter_signature is not the registered key's over the strings that were sent")


def _check_validity(key: Key, timestamp_ms: int) -> None:
    if key.until_ms is not None and timestamp_ms >= key.until_ms:
        raise SignatureInvalid("the key that signed was replaced before the reading's time")


def _check_whole_wh(units: int) -> None:
    """Certificates are of whole Wh: a fraction would be a token in custody that nobody has."""
    if units % UNITS_PER_WH:
        raise AmountInvalid("kwh_amount of a meter that is mirrored must be a whole number of Wh: three places")


def _document(
    meter: Document, body: ReadingBody, name: str, key: Key, timestamp_ms: int, units: int, now_ms: int
) -> Document:
    serial, interval_ms = meter["_id"], meter["interval_secs"] * 1000
    start_ms = timestamp_ms - timestamp_ms % interval_ms
    return {
        "_id": reading_key(serial, start_ms),
        "meter": serial,
        "wallet": meter["wallet"],
        "interval_start_ms": start_ms,
        "submitted_ms": now_ms,
        "open_ms": now_ms,
        "due_ms": now_ms,
        "retry_ms": None,
        "minted_ms": None,
        "state": ReadingState.ACCEPTED.value,
        "interval_secs": meter["interval_secs"],
        "kwh": body.kwh_amount,
        "timestamp": body.reading_timestamp,
        "timestamp_ms": timestamp_ms,
        "units": units,
        "signature": body.meter_signature,
        "public_key": key.text,
        "format": meter["format"],
        "name": name,
        "attempt": None,
        "attempts": 0,
        "error": None,
        "slot": None,
        "held_for": None,
        "conflicts": 0,
        "measured": dict(body.measured),
        "user_id": meter["user_id"],
        "account_id": meter["account_id"],
        "device_id": meter["device_id"],
    }
