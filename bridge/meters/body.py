"""What a meter sends, read without losing a character of what it signed.

The fields are those of GridTokenX's gateway. Its numbers may come as JSON numbers or as strings; either way
their text is kept as it was written, and no float is ever made of it. Fields that are not known are passed
over, as the gateway does: only what is signed decides anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final

import msgspec

from bridge.meters.faults import invalid
from config.errors import BadRequest, ErrorCode

MOST_TEXT: Final = 128
_MOST_FAULT: Final = 200
_MOST_NUMBER: Final = 40
_DIGITS: Final = frozenset(b"-0123456789")
_QUOTE: Final = ord('"')
_NULL: Final = b"null"

_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=MOST_TEXT)] | None
_ABSENT: Final = msgspec.Raw(_NULL)

MEASURED: Final = (
    "energy_generated",
    "energy_consumed",
    "surplus_energy",
    "deficit_energy",
    "power_generated",
    "power_consumed",
    "power",
    "voltage",
    "current",
    "power_factor",
    "frequency",
    "temperature",
    "thd_voltage",
    "thd_current",
    "latitude",
    "longitude",
    "battery_level",
)
"""Numbers beside the energy. They are not signed: they are kept as they came, and nothing rests on them."""


@dataclass(slots=True)
class ReadingBody:
    """A reading as it was received: every text is what stood in the JSON, a number's literal as well."""

    kwh_amount: str
    reading_timestamp: str
    meter_signature: str | None = None
    meter_serial: str | None = None
    meter_id: str | None = None
    public_key: str | None = None
    wallet_address: str | None = None
    measured: Mapping[str, str] = field(default_factory=dict)


class _Common(msgspec.Struct, kw_only=True):
    meter_signature: _Text = None
    meter_serial: _Text = None
    meter_id: _Text = None
    public_key: _Text = None
    wallet_address: _Text = None
    zone_id: msgspec.Raw = _ABSENT
    energy_generated: msgspec.Raw = _ABSENT
    energy_consumed: msgspec.Raw = _ABSENT
    surplus_energy: msgspec.Raw = _ABSENT
    deficit_energy: msgspec.Raw = _ABSENT
    power_generated: msgspec.Raw = _ABSENT
    power_consumed: msgspec.Raw = _ABSENT
    power: msgspec.Raw = _ABSENT
    voltage: msgspec.Raw = _ABSENT
    current: msgspec.Raw = _ABSENT
    power_factor: msgspec.Raw = _ABSENT
    frequency: msgspec.Raw = _ABSENT
    temperature: msgspec.Raw = _ABSENT
    thd_voltage: msgspec.Raw = _ABSENT
    thd_current: msgspec.Raw = _ABSENT
    latitude: msgspec.Raw = _ABSENT
    longitude: msgspec.Raw = _ABSENT
    battery_level: msgspec.Raw = _ABSENT


class _Reading(_Common, kw_only=True):
    kwh_amount: msgspec.Raw
    reading_timestamp: msgspec.Raw


class _ShortReading(_Common, kw_only=True):
    """The shape of the gateway's v1."""

    kwh: msgspec.Raw
    timestamp: msgspec.Raw
    signature: _Text = None


class _Batch(msgspec.Struct):
    readings: list[msgspec.Raw]


_decode_reading = msgspec.json.Decoder(_Reading).decode
_decode_short = msgspec.json.Decoder(_ShortReading).decode
_decode_list = msgspec.json.Decoder(list[msgspec.Raw] | _Batch).decode
_decode_string = msgspec.json.Decoder(str).decode


def read_reading(body: bytes | msgspec.Raw) -> ReadingBody:
    """The body of `submit-reading`; `BadRequest(BAD_JSON)`, or `InvalidFields` that names what is wrong."""
    wire = _decoded(_decode_reading, body)
    return _body(wire, _text(wire.kwh_amount, "kwh_amount"), _text(wire.reading_timestamp, "reading_timestamp"))


def read_short_reading(body: bytes | msgspec.Raw, serial: str | None = None) -> ReadingBody:
    """The body of the gateway's v1: `kwh`, `timestamp`, `signature`. `serial` is the path's; a body that names
    another one is refused."""
    wire = _decoded(_decode_short, body)
    if serial is not None and wire.meter_serial not in (None, serial):
        raise invalid("meter_serial", "must be the serial of the path, or be left out")
    wire.meter_serial = serial if serial is not None else wire.meter_serial
    wire.meter_signature = wire.meter_signature or wire.signature
    return _body(wire, _text(wire.kwh, "kwh"), _text(wire.timestamp, "timestamp"))


def read_list(body: bytes, most: int) -> list[msgspec.Raw]:
    """The entries of a batch, a list or an object's `readings`; each still to be read, so that a bad one spoils
    only itself."""
    batch = _decoded(_decode_list, body)
    entries: list[msgspec.Raw] = batch.readings if isinstance(batch, _Batch) else batch
    if not 1 <= len(entries) <= most:
        raise invalid("", f"must have 1 to {most} readings")
    return entries


def _decoded(decode: Any, body: bytes | msgspec.Raw) -> Any:
    try:
        return decode(body)
    except msgspec.ValidationError as error:
        sentence, _, place = str(error).partition(" - at `$")
        raise invalid(place.strip(".`"), sentence) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"The body is not JSON: {error}"[:_MOST_FAULT], ErrorCode.BAD_JSON) from None


def _body(wire: Any, kwh: str, timestamp: str) -> ReadingBody:
    return ReadingBody(
        kwh,
        timestamp,
        wire.meter_signature,
        wire.meter_serial,
        wire.meter_id,
        wire.public_key,
        wire.wallet_address,
        _measured(wire),
    )


def _measured(wire: _Common) -> dict[str, str]:
    """What else was sent, as text; `zone_id` among it, which the gateway counts with numbers."""
    found: dict[str, str] = {}
    for name in (*MEASURED, "zone_id"):
        raw = getattr(wire, name)
        if raw is not _ABSENT and bytes(raw) != _NULL:
            found[name] = _text(raw, name)
    return found


def _text(raw: msgspec.Raw, name: str) -> str:
    """A string's content, or a number as it is written; nothing else."""
    literal = bytes(raw)
    if len(literal) <= 2 + MOST_TEXT:
        if literal[0] == _QUOTE:
            return _string(literal, name)
        if literal[0] in _DIGITS and len(literal) <= _MOST_NUMBER:
            return literal.decode()
    raise invalid(name, f"must be a number, or a string of one, of at most {_MOST_NUMBER} characters")


def _string(literal: bytes, name: str) -> str:
    try:
        return _decode_string(literal)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise invalid(name, "is not a string of Unicode text") from None
