"""The texts that meters sign, and how each of them writes the time.

A text is put together from the strings as they were received. Nothing is parsed and printed again on the way:
`1.5` and `1.500000`, or `Z` and `+00:00`, are different texts, and only the meter knows which one it signed.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final

from config.errors import BadRequest, ErrorCode

_MOMENT: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:Z|\+00:00)").fullmatch
_MILLISECONDS: Final = re.compile(r"(?:0|[1-9][0-9]{0,14})").fullmatch
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND: Final = timedelta(seconds=1)


class Format(StrEnum):
    """Which text a meter signs; a meter has one, by its registration."""

    GRIDTOKENX = "gridtokenx"
    """Five lines, the serial and the wallet among them."""
    COLON = "colon"
    """`{meter_id}:{kwh}:{timestamp}:{wallet}`"""
    DEVICE = "device"
    """`{device_id}:{kwh}:{timestamp_ms}`"""


class TimestampInvalid(BadRequest):
    """A time that is not written as the meter's format has it."""

    default_code = ErrorCode.TIMESTAMP_INVALID


def signed_message(form: str, name: str, timestamp: str, kwh: str, wallet: str) -> bytes:
    """The very bytes that were signed. `name` is what the meter calls itself: its serial, or its meter id."""
    if form == Format.GRIDTOKENX:
        lines = (
            "GRIDTOKENX_METER_READING",
            f"meter_serial: {name}",
            f"timestamp: {timestamp}",
            f"kwh_amount: {kwh}",
            f"wallet: {wallet}",
        )
        return "\n".join(lines).encode()
    if form == Format.COLON:
        return f"{name}:{kwh}:{timestamp}:{wallet}".encode()
    return f"{name}:{kwh}:{timestamp}".encode()


def timestamp_secs(form: str, text: str) -> int:
    """Epoch seconds of a timestamp; `TimestampInvalid` unless it is in whole seconds, of UTC."""
    return _secs_of_ms(text) if form == Format.DEVICE else moment_secs(text)


def moment_secs(text: str) -> int:
    """Epoch seconds of RFC 3339 in whole seconds, ending in `Z` or `+00:00`."""
    try:
        if _MOMENT(text):
            return (datetime.fromisoformat(text) - _EPOCH) // _SECOND
    except ValueError:
        pass
    raise TimestampInvalid("the timestamp must be RFC 3339 in whole seconds of UTC, ending in Z or +00:00")


def _secs_of_ms(text: str) -> int:
    if _MILLISECONDS(text) and text.endswith("000"):
        return int(text) // 1000
    raise TimestampInvalid("the timestamp must be whole seconds of UTC, written in milliseconds since 1970")
