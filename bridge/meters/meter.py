"""A meter: its document, where it is in its life, and which keys may sign for it.

_id (serial) · meter_id (what it calls itself, when not its serial) · wallet · public_key (base58) · format ·
interval_secs · status · reason · key_from_ms · old_keys · account_id · device_id · user_id (who registered it) ·
zone · capacity_w · mirror (may be missing: False) · registered_ms · changed_ms · rev

`old_keys` has, oldest first, `public_key`, `from_ms` and `until_ms` (when it was the meter's), and
`taken_until_ms`: until then readings from before `until_ms` may still arrive under it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from bridge.meters.keys import address_bytes
from bridge.meters.registration import Ownership
from config.errors import BadRequest, ErrorCode, Forbidden
from store.port import Document

MOST_KEYS: Final = 64
"""Keys that a meter may ever have; after so many rotations it is registered under a new serial."""
_MOST_OLD: Final = 3


class Status(StrEnum):
    """pending → verified ⇄ suspended; all → revoked, which only a new registration ends."""

    PENDING = "pending"
    VERIFIED = "verified"
    SUSPENDED = "suspended"
    REVOKED = "revoked"


MAY_BECOME: Final[Mapping[Status, frozenset[Status]]] = MappingProxyType(
    {
        Status.PENDING: frozenset({Status.VERIFIED, Status.REVOKED}),
        Status.VERIFIED: frozenset({Status.SUSPENDED, Status.REVOKED}),
        Status.SUSPENDED: frozenset({Status.VERIFIED, Status.REVOKED}),
        Status.REVOKED: frozenset(),
    }
)


class NotVerified(Forbidden):
    """The meter may not submit readings."""

    default_code = ErrorCode.METER_NOT_VERIFIED


class Key(NamedTuple):
    """A key that may have signed. With `until_ms` it signs only for times before that."""

    public: bytes
    text: str
    until_ms: int | None


def demand_verified(meter: Document) -> None:
    """`NotVerified` while the meter is pending, suspended or revoked."""
    if meter["status"] != Status.VERIFIED:
        raise NotVerified(f"Meter {meter['_id']} is {meter['status']}")


def demand_change(meter: Document, status: Status) -> None:
    """`BadRequest(STATUS_FORBIDS)` unless the meter may become so; to stay as it is is always allowed."""
    now = Status(meter["status"])
    if status is not now and status not in MAY_BECOME[now]:
        raise BadRequest(f"Meter {meter['_id']} is {now} and cannot become {status}", ErrorCode.STATUS_FORBIDS)


def signing_keys(meter: Document, now_ms: int) -> Iterator[Key]:
    """The keys that a reading which arrives now may be signed with, the present one first. There are few: whoever
    sends signatures that do not hold has each of them tried."""
    yield Key(address_bytes(meter["public_key"]), meter["public_key"], None)
    for old in reversed(meter["old_keys"][-_MOST_OLD:]):
        if now_ms < old["taken_until_ms"]:
            yield Key(address_bytes(old["public_key"]), old["public_key"], old["until_ms"])


def new_meter(serial: str, owner: Ownership, interval_secs: int, user_id: str | None, now_ms: int) -> Document:
    """A meter as it is first kept; pending."""
    return {
        "_id": serial,
        **ownership(owner),
        "interval_secs": interval_secs,
        "status": Status.PENDING.value,
        "reason": None,
        "key_from_ms": now_ms,
        "old_keys": [],
        "user_id": user_id,
        "registered_ms": now_ms,
        "changed_ms": now_ms,
        "rev": 0,
    }


def ownership(owner: Ownership) -> dict[str, Any]:
    """What a registration says, as fields of the document; the interval aside."""
    return {
        "meter_id": owner.meter_id,
        "wallet": owner.wallet,
        "public_key": owner.public_key,
        "format": owner.format.value,
        "account_id": owner.account_id,
        "device_id": owner.device_id,
        "zone": owner.zone,
        "capacity_w": owner.capacity_w,
        "mirror": owner.mirror,
    }


def with_key(meter: Document, public_key: str, grace_ms: int, now_ms: int) -> dict[str, Any]:
    """The changes that make this the meter's key, and put the old one among `old_keys`; each earlier one is
    taken no longer than the old one is. A key that the meter had once is never its key again."""
    had = {meter["public_key"], *(old["public_key"] for old in meter["old_keys"])}
    if public_key in had:
        raise BadRequest("The meter has, or had, this very key: make a new one", ErrorCode.KEY_INVALID)
    if len(had) >= MOST_KEYS:
        raise BadRequest(f"A meter may have {MOST_KEYS} keys in its life", ErrorCode.INVALID_FIELD)
    last_ms = now_ms + grace_ms
    older = [{**old, "taken_until_ms": min(old["taken_until_ms"], last_ms)} for old in meter["old_keys"]]
    replaced = {
        "public_key": meter["public_key"],
        "from_ms": meter["key_from_ms"],
        "until_ms": now_ms,
        "taken_until_ms": last_ms,
    }
    return {"public_key": public_key, "key_from_ms": now_ms, "old_keys": [*older, replaced]}
