"""What a meter signs and sends."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import base58
from solders.keypair import Keypair

from bridge.meters.formats import Format, signed_message
from bridge.simulator.site import Energy, kwh_text


@dataclass(frozen=True, slots=True)
class Measured:
    """A reading of an interval before it is signed. `start_ms` is when the interval began, in whole seconds."""

    serial: str
    wallet: str
    start_ms: int
    energy: Energy

    @property
    def kwh(self) -> str:
        """What is to be tokenized, with six decimals; the surplus must not be below zero."""
        return kwh_text(self.energy.surplus_mwh)

    def timestamp(self, form: Format) -> str:
        """The beginning of the interval, as the format writes times."""
        if form is Format.DEVICE:
            return str(self.start_ms)
        return datetime.fromtimestamp(self.start_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def signed_reading(measured: Measured, form: Format, key: Keypair) -> dict[str, Any]:
    """The body of a submission, signed with the meter's key."""
    timestamp = measured.timestamp(form)
    message = signed_message(form, measured.serial, timestamp, measured.kwh, measured.wallet)
    return {
        "meter_serial": measured.serial,
        "wallet_address": measured.wallet,
        "kwh_amount": measured.kwh,
        "reading_timestamp": timestamp,
        "meter_signature": base58.b58encode(bytes(key.sign_message(message))).decode(),
        "energy_generated": kwh_text(measured.energy.generated_mwh),
        "energy_consumed": kwh_text(measured.energy.consumed_mwh),
        "surplus_energy": measured.kwh,
    }
