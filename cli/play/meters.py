"""The smart meter of the play, its owner's wallet, and what it measured."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import base58
from nacl.signing import SigningKey
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from bridge.meters.formats import Format, signed_message

INTERVAL_SECS: Final = 300
_MEASURED_KWH: Final = ("1.500000", "0.750000", "2.250000")


@dataclass(frozen=True, slots=True)
class Measured:
    """What a meter read in an interval, as texts. `start_ms` is when the interval began."""

    start_ms: int
    kwh: str

    @property
    def timestamp(self) -> str:
        return datetime.fromtimestamp(self.start_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(slots=True)
class SmartMeter:
    """A meter with a key of its own, beside a household with a wallet."""

    serial: str = field(default_factory=lambda: f"METER-{secrets.token_hex(3).upper()}")
    key: SigningKey = field(default_factory=SigningKey.generate)
    wallet: Pubkey = field(default_factory=lambda: Keypair().pubkey())

    @property
    def registration(self) -> dict[str, Any]:
        """The body of POST /api/meters."""
        return {
            "serial": self.serial,
            "wallet": str(self.wallet),
            "public_key": _text(bytes(self.key.verify_key)),
            "format": Format.GRIDTOKENX.value,
            "interval_secs": INTERVAL_SECS,
        }

    def measured(self, now_secs: float) -> Iterator[Measured]:
        """The last intervals that are over, the oldest first."""
        over = int(now_secs) // INTERVAL_SECS
        first = over - len(_MEASURED_KWH)
        for number, kwh in enumerate(_MEASURED_KWH, first):
            yield Measured(number * INTERVAL_SECS * 1000, kwh)

    def text(self, measured: Measured) -> str:
        """What is signed: five lines."""
        wallet = str(self.wallet)
        return signed_message(Format.GRIDTOKENX, self.serial, measured.timestamp, measured.kwh, wallet).decode()

    def reading(self, measured: Measured) -> dict[str, str]:
        """The signed body of POST /api/meters/submit-reading."""
        return {
            "meter_serial": self.serial,
            "kwh_amount": measured.kwh,
            "reading_timestamp": measured.timestamp,
            "meter_signature": _text(self.key.sign(self.text(measured).encode()).signature),
        }


def _text(data: bytes) -> str:
    return base58.b58encode(data).decode()
