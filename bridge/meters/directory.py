"""The registered meters.

Nothing of it is cached: a meter is read from the store with each reading, so that what another process
changed, a revocation above all, holds for the very next one. That read costs some ten microseconds, less
than the signature's check, and reads of one round of the event loop share a trip.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from bridge.meters.claims import claims
from bridge.meters.faults import invalid
from bridge.meters.keys import address_bytes, public_key_bytes
from bridge.meters.meter import Status, demand_change, demand_verified, new_meter, ownership, with_key
from bridge.meters.mirroring import NOT_MIRRORING, Mirroring
from bridge.meters.paging import Listed, listed
from bridge.meters.registration import MOST_SERIAL, Ownership, Registration, Rotation, interval_divides
from bridge.meters.rotation import demand_both_keys
from bridge.records import METERS
from config.errors import BadRequest, ErrorCode, MetawattError, NotFound
from config.settings import MeterSettings
from energytag.devices import device
from overlay.clock import NowMs
from store.port import Conflict, Document, Find, Insert, Patch, Store

MOST_METERS: Final = 10_000
"""Meters that an account may have."""
_TRIES: Final = 8


class MeterUnknown(NotFound):
    """No meter of that serial is registered."""

    default_code = ErrorCode.METER_UNKNOWN


class MeterDirectory:
    """Who may submit readings, and under which key. Documents are as bridge/meters/meter.py has them."""

    def __init__(
        self, store: Store, settings: MeterSettings, now_ms: NowMs, mirroring: Mirroring = NOT_MIRRORING
    ) -> None:
        self._store = store
        self._mirroring = mirroring
        self._interval_secs = _default_interval(settings)
        self._now_ms = now_ms

    # Reading

    async def meter(self, serial: str) -> Document:
        """The meter; `MeterUnknown` when there is none."""
        document = await self._store.get(METERS, serial)
        if document is None:
            raise MeterUnknown(f"There is no meter {serial[:MOST_SERIAL]}")
        return document

    async def meters(self, serials: Sequence[str]) -> Mapping[Any, Document]:
        """Those of them that are registered, by serial."""
        return await self._store.get_many(METERS, serials)

    async def listed(
        self, limit: int, cursor: str | None, *, wallet: str | None = None, account_id: str | None = None
    ) -> Listed:
        """Meters of a wallet, of an account, or all by serial."""
        if wallet is not None:
            find = Find("wallet", {"wallet": wallet}, limit=limit)
        elif account_id is not None:
            find = Find("account", {"account_id": account_id}, limit=limit)
        else:
            find = Find(limit=limit)
        return await listed(self._store, METERS, find, cursor)

    # Changing

    async def register(self, registration: Registration, user_id: str | None = None) -> Document:
        """A new meter, pending or (as the operator may ask) verified; `BadRequest(METER_EXISTS)` when the serial
        is taken, `KeyInvalid` when it is to be verified with another meter's key. Whether the caller may is checked
        already."""
        await self._check(registration)
        await self._check_room(registration.account_id)
        secs = registration.interval_secs or self._interval_secs
        document = new_meter(registration.serial, registration, secs, user_id, self._now_ms())
        if registration.verified:
            document["status"] = Status.VERIFIED.value
        return await self._insert(document)

    async def replace(self, serial: str, owner: Ownership) -> Document:
        """Register a meter anew: another owner, another way to sign. It is pending again, its old key is not taken
        any longer, and one that was revoked needs a new key. Its interval stays: readings of two lengths could
        tell the same energy twice."""
        await self._check(owner)

        def changes(meter: Document) -> dict[str, Any]:
            if owner.interval_secs not in (None, meter["interval_secs"]):
                raise invalid("interval_secs", "cannot change; register the meter under another serial")
            renewed: dict[str, Any] = {**ownership(owner), "status": Status.PENDING.value, "reason": None}
            if owner.public_key != meter["public_key"] or meter["status"] == Status.REVOKED:
                renewed |= with_key(meter, owner.public_key, 0, self._now_ms())
            return renewed

        return await self._change(serial, changes)

    async def become(self, serial: str, status: Status, reason: str | None = None) -> Document:
        """Verify, suspend or revoke; `BadRequest(STATUS_FORBIDS)` when the meter cannot become so, `KeyInvalid`
        when another meter was verified with its key."""

        def changes(meter: Document) -> dict[str, Any]:
            demand_change(meter, status)
            return {"status": status.value, "reason": reason}

        return await self._change(serial, changes)

    async def rotate(self, serial: str, rotation: Rotation, *, by_operator: bool) -> Document:
        """Take a new key: at the operator's word, or when the meter has signed with both keys."""
        public_key_bytes(rotation.public_key)

        def changes(meter: Document) -> dict[str, Any]:
            if not by_operator:
                demand_verified(meter)
                demand_both_keys(meter, rotation, self._now_ms())
            return with_key(meter, rotation.public_key, rotation.grace_secs * 1000, self._now_ms())

        return await self._change(serial, changes)

    async def _insert(self, meter: Document) -> Document:
        """Who meets another one under the same serial is refused; under the same key, looks again."""
        for _ in range(_TRIES):
            claimed = await claims(self._store, meter)
            try:
                await self._store.commit([Insert(METERS, meter), *claimed])
            except Conflict:
                if await self._store.get(METERS, meter["_id"]) is not None:
                    raise BadRequest(
                        f"Meter {meter['_id']} is registered already", ErrorCode.METER_EXISTS
                    ) from None
                continue
            return meter
        raise Conflict(f"Meter {meter['_id']} is being registered by others")

    async def _change(self, serial: str, changes: Callable[[Document], dict[str, Any]]) -> Document:
        """Compare and set by `rev`; who comes second looks again at what the first has made of it."""
        for _ in range(_TRIES):
            meter = await self.meter(serial)
            changed = changes(meter) | {"changed_ms": self._now_ms(), "rev": meter["rev"] + 1}
            claimed = await claims(self._store, meter, changed)
            try:
                await self._store.commit([Patch(METERS, serial, changed, expect={"rev": meter["rev"]}), *claimed])
            except Conflict:
                continue
            return meter | changed
        raise Conflict(f"Meter {serial} is being changed by others")

    # Checking

    async def _check(self, owner: Ownership) -> None:
        """What a model cannot tell: whether keys are keys, and the registry's device is there."""
        public_key_bytes(owner.public_key)
        address_bytes(owner.wallet)
        self._mirroring.demand(owner)
        if owner.device_id is None:
            return
        if owner.account_id is None:
            raise invalid("device_id", "needs account_id")
        found = await device(self._store, owner.device_id)
        if found["account_id"] != owner.account_id:
            raise invalid("device_id", "is a device of another account")

    async def _check_room(self, account_id: str | None) -> None:
        if account_id is None:
            return
        if await self._store.count(METERS, Find("account", {"account_id": account_id})) >= MOST_METERS:
            raise invalid("account_id", f"an account may have {MOST_METERS} meters")


def _default_interval(settings: MeterSettings) -> int:
    try:
        return interval_divides(settings.interval_secs)
    except ValueError as error:
        raise MetawattError(f"meters.interval_secs {error}", ErrorCode.SETTINGS_INVALID) from None
