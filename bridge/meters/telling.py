"""What listeners hear of readings that came in: the gateway's notices and their fields."""

from __future__ import annotations

from typing import Any, Final

from bridge.meters.body import ReadingBody
from bridge.notices import Notice, NoticeKind
from bridge.records import reading_id
from config.errors import MetawattError
from energytag.models.common import moment_of_ms
from store.port import Document

_MEASURED: Final = ("power", "voltage", "current")


def received(reading: Document) -> Notice:
    """A reading was taken."""
    body: dict[str, Any] = {
        "reading_id": reading_id(reading["_id"]),
        "user_id": reading["user_id"],
        "wallet_address": reading["wallet"],
        "meter_serial": reading["meter"],
        "kwh_amount": reading["kwh"],
        "timestamp": moment_of_ms(reading["timestamp_ms"]),
    }
    body |= {name: reading["measured"][name] for name in _MEASURED if name in reading["measured"]}
    return Notice(NoticeKind.RECEIVED, body, reading["wallet"], reading["meter"])


def refused(meter: Document, body: ReadingBody, error: MetawattError) -> Notice:
    """A reading of a registered meter was refused; amount and timestamp are what was sent."""
    told = {
        "user_id": meter["user_id"],
        "wallet_address": meter["wallet"],
        "meter_serial": meter["_id"],
        "kwh_amount": body.kwh_amount,
        "timestamp": body.reading_timestamp,
        "error_code": error.code.value,
        "error_reason": error.message,
    }
    return Notice(NoticeKind.REFUSED, told, meter["wallet"], meter["_id"])
