"""Meters that sign, and an intake on a real store."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from zlib import crc32

import base58
from nacl.signing import SigningKey

from bridge.meters.body import ReadingBody
from bridge.meters.directory import MeterDirectory
from bridge.meters.formats import signed_message
from bridge.meters.intake import Intake, Taken
from bridge.meters.registration import Registration
from bridge.notices import Notice
from bridge.records import BRIDGE_COLLECTIONS
from config.settings import Settings
from energytag.all_collections import COLLECTIONS
from store.port import Document, Store

NOW_MS = 1_780_315_200_000
"""2026-06-01T12:00:00Z."""


def key_of(number: int) -> SigningKey:
    return SigningKey(number.to_bytes(32, "big"))


def number_of(serial: str) -> int:
    """Of a meter's key: 1 for that of the manual, whose signatures are printed there."""
    return 1 if serial == "METER-001" else crc32(serial.encode())


def text_of(data: bytes) -> str:
    return base58.b58encode(data).decode()


def public_of(key: SigningKey) -> str:
    return text_of(bytes(key.verify_key))


def moment(ms: int) -> str:
    return datetime.fromtimestamp(ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass
class SimpleMeter:
    """A meter with its key: that of `number`, or one of its serial's own."""

    serial: str = "METER-001"
    number: int | None = None
    form: str = "gridtokenx"
    wallet: str = text_of(b"\x07" * 32)

    @property
    def key(self) -> SigningKey:
        return key_of(number_of(self.serial) if self.number is None else self.number)

    def registration(self, **more: Any) -> Registration:
        fields = {
            "serial": self.serial,
            "wallet": self.wallet,
            "public_key": public_of(self.key),
            "format": self.form,
            "verified": True,
        }
        return Registration.model_validate(fields | more)

    def sign(self, kwh: str, timestamp: str, key: SigningKey | None = None) -> str:
        message = signed_message(self.form, self.serial, timestamp, kwh, self.wallet)
        return text_of((key or self.key).sign(message).signature)

    def timestamp(self, at_ms: int) -> str:
        return str(at_ms) if self.form == "device" else moment(at_ms)

    def body(self, at_ms: int = NOW_MS, kwh: str = "1.500000", key: SigningKey | None = None) -> ReadingBody:
        timestamp = self.timestamp(at_ms)
        return ReadingBody(kwh, timestamp, self.sign(kwh, timestamp, key), self.serial)

    def wire(self, at_ms: int = NOW_MS, kwh: str = "1.500000") -> dict[str, Any]:
        """As it goes over HTTP."""
        body = self.body(at_ms, kwh)
        return {
            "kwh_amount": body.kwh_amount,
            "reading_timestamp": body.reading_timestamp,
            "meter_signature": body.meter_signature,
            "meter_serial": body.meter_serial,
        }


@dataclass
class Gateway:
    """Directory and intake on one store, and what listeners were told."""

    store: Store
    settings: Settings = field(default_factory=Settings)
    now_ms: int = NOW_MS
    told: list[Notice] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.directory = MeterDirectory(self.store, self.settings.meters, lambda: self.now_ms)
        self.intake = Intake(self.store, self.directory, self.settings, lambda: self.now_ms, self.told.append)

    async def open(self) -> None:
        await self.store.open([*BRIDGE_COLLECTIONS, *COLLECTIONS])

    async def register(self, meter: SimpleMeter, **more: Any) -> Document:
        return await self.directory.register(meter.registration(**more))

    async def take(self, meter: SimpleMeter, at_ms: int = NOW_MS, kwh: str = "1.500000") -> Taken:
        return await self.intake.submit(meter.body(at_ms, kwh))
