"""Meters, readings and conflicts as the API shows them; readings have the fields of GridTokenX's gateway."""

from __future__ import annotations

from typing import Any, Final

from pydantic import Field
from solders.signature import Signature

from bridge.meters.meter import Status
from bridge.meters.mirroring import is_mirrored
from bridge.records import ReadingState, reading_id
from energytag.models.common import Reply, moment_of_ms
from store.port import Document

_MINTED: Final = ReadingState.MINTED.value


class ReadingShown(Reply):
    """A reading. Energy is the text that was signed."""

    id: str = Field(description="UUID, made of meter and interval.")
    user_id: str | None = Field(description="The registry's user who registered the meter.")
    wallet_address: str
    meter_serial: str
    kwh_amount: str
    units: int = Field(description="Base units of the token.")
    reading_timestamp: str
    interval_start: str = Field(description="RFC 3339, UTC.")
    interval_secs: int
    submitted_at: str
    state: ReadingState
    minted: bool
    mint_tx_signature: str | None = Field(description="Base58; of the final transaction that minted it.")
    attempt_signature: str | None = Field(description="Base58; of the last transaction that is to mint it.")
    attempts: int = Field(description="Failures so far.")
    error: str | None = Field(description="The last failure, or why it is held.")
    minted_at: str | None
    slot: int | None
    meter_signature: str
    public_key: str
    message_format: str
    signed_name: str = Field(description="What the meter called itself in the signed text.")
    conflicts: int = Field(description="Second readings of the interval that are kept.")
    measured: dict[str, str] = Field(description="What else was sent; not signed.")
    account_id: str | None
    device_id: str | None
    mint_to: str | None = Field(
        description="The bridge's wallet, where the meter is mirrored; else it is minted to `wallet_address`."
    )


class ReadingsShown(Reply):
    readings: list[ReadingShown]
    cursor: str | None = None


class KeyShown(Reply):
    """A key that a meter had. Readings from before `until` were taken under it until `taken_until`."""

    public_key: str
    since: str
    until: str
    taken_until: str


class MeterShown(Reply):
    serial: str
    meter_id: str | None
    wallet: str
    public_key: str
    key_since: str
    old_keys: list[KeyShown]
    format: str
    interval_secs: int
    status: Status
    reason: str | None
    account_id: str | None
    device_id: str | None
    user_id: str | None
    zone: str | None
    capacity_w: int | None
    mirror: bool = Field(description="Its readings go into the bridge's custody, and become certificates.")
    registered_at: str
    changed_at: str


class MetersShown(Reply):
    meters: list[MeterShown]
    cursor: str | None = None


class ConflictShown(Reply):
    """A second reading of an interval, and the first one as it is now."""

    conflict_id: str = Field(description="64 hex digits.")
    submitted_at: str
    kwh_amount: str
    units: int
    reading_timestamp: str
    meter_signature: str
    public_key: str
    first: ReadingShown


class ConflictsShown(Reply):
    conflicts: list[ConflictShown]
    cursor: str | None = None


class Outcome(Reply):
    """What became of an entry of a batch: the reading, or why it was refused."""

    outcome: str = Field(
        description="accepted, repeated or refused.",
        json_schema_extra={"enum": ["accepted", "repeated", "refused"]},
    )
    code: str | None = Field(None, description="Of docs/ERRORS.md; only when refused.")
    message: str | None = None


class OutcomesShown(Reply):
    """Counts, and an entry for each of the request's, in its order."""

    accepted: int
    repeated: int
    refused: int
    results: list[Outcome]


def reading_shown(reading: Document) -> dict[str, Any]:
    """As `ReadingShown`."""
    attempt = _signature_text(reading["attempt"])
    minted = reading["state"] == _MINTED
    return {
        "id": reading_id(reading["_id"]),
        "user_id": reading["user_id"],
        "wallet_address": reading["wallet"],
        "meter_serial": reading["meter"],
        "kwh_amount": reading["kwh"],
        "units": reading["units"],
        "reading_timestamp": reading["timestamp"],
        "interval_start": moment_of_ms(reading["interval_start_ms"]),
        "interval_secs": reading["interval_secs"],
        "submitted_at": moment_of_ms(reading["submitted_ms"]),
        "state": reading["state"],
        "minted": minted,
        "mint_tx_signature": attempt if minted else None,
        "attempt_signature": attempt,
        "attempts": reading["attempts"],
        "error": reading["error"],
        "minted_at": _moment(reading["minted_ms"]),
        "slot": reading["slot"],
        "meter_signature": reading["signature"],
        "public_key": reading["public_key"],
        "message_format": reading["format"],
        "signed_name": reading["name"],
        "conflicts": reading["conflicts"],
        "measured": reading["measured"],
        "account_id": reading["account_id"],
        "device_id": reading["device_id"],
        "mint_to": reading.get("mint_to"),
    }


def meter_shown(meter: Document) -> dict[str, Any]:
    """As `MeterShown`."""
    same = ("meter_id", "wallet", "public_key", "format", "interval_secs", "status", "reason", "account_id")
    more = ("device_id", "user_id", "zone", "capacity_w")
    return {
        "serial": meter["_id"],
        **{name: meter[name] for name in (*same, *more)},
        "mirror": is_mirrored(meter),
        "key_since": moment_of_ms(meter["key_from_ms"]),
        "old_keys": [_key_shown(old) for old in meter["old_keys"]],
        "registered_at": moment_of_ms(meter["registered_ms"]),
        "changed_at": moment_of_ms(meter["changed_ms"]),
    }


def conflict_shown(conflict: Document, first: Document) -> dict[str, Any]:
    """As `ConflictShown`."""
    second = conflict["reading"]
    return {
        "conflict_id": conflict["_id"].hex(),
        "submitted_at": moment_of_ms(conflict["submitted_ms"]),
        "kwh_amount": second["kwh"],
        "units": second["units"],
        "reading_timestamp": second["timestamp"],
        "meter_signature": second["signature"],
        "public_key": second["public_key"],
        "first": reading_shown(first),
    }


def _key_shown(old: Document) -> dict[str, Any]:
    return {
        "public_key": old["public_key"],
        "since": moment_of_ms(old["from_ms"]),
        "until": moment_of_ms(old["until_ms"]),
        "taken_until": moment_of_ms(old["taken_until_ms"]),
    }


def _moment(ms: int | None) -> str | None:
    return None if ms is None else moment_of_ms(ms)


def _signature_text(signature: bytes | None) -> str | None:
    return None if signature is None else str(Signature.from_bytes(signature))
