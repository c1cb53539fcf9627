"""Meters: registered, verified, suspended, revoked, registered anew; and their keys."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bridge.meters.directory import MeterDirectory
from bridge.meters.formats import Format
from bridge.meters.keys import KeyInvalid, address_bytes, public_key_bytes, signature_bytes
from bridge.meters.meter import MAY_BECOME, MOST_KEYS, Status, signing_keys
from bridge.meters.registration import Ownership, Registration, Rotation
from bridge.meters.rotation import rotation_message
from bridge.meters.showing import MeterShown, meter_shown
from bridge.records import METERS
from config.errors import ErrorCode, MetawattError
from config.settings import MeterSettings
from energytag.models.common import InvalidFields, read
from energytag.records import DEVICES
from store.port import Put
from store.sqlite import SqliteStore
from tests.bridge.readings_kit import Gateway, SimpleMeter, key_of, moment, number_of, public_of, text_of
from tests.energytag.kit import ACCOUNT, DEVICE, OTHER_ACCOUNT, device_row

METER = SimpleMeter()
OTHER_WALLET = text_of(b"\x08" * 32)
LOW_ORDER = (
    "00" * 32,
    "01" + "00" * 31,
    "ec" + "ff" * 30 + "7f",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
)
"""Points whose multiples are few: y = 0, the neutral point, y = -1, and two of order eight."""


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    made = Gateway(SqliteStore(tmp_path / "node.db", cache_mib=4))
    await made.open()
    yield made
    await made.store.close()


async def code_of(awaitable: Any) -> ErrorCode:
    with pytest.raises(MetawattError) as refused:
        await awaitable
    return refused.value.code


def ownership(**changes: Any) -> Ownership:
    fields = {"wallet": METER.wallet, "public_key": public_of(METER.key)}
    return Ownership.model_validate(fields | changes)


# Registration


async def test_what_is_kept_and_shown(gateway: Gateway) -> None:
    await gateway.store.commit([Put(DEVICES, device_row(DEVICE))])
    more = {"account_id": ACCOUNT, "device_id": DEVICE, "zone": "NL", "capacity_w": 5000, "verified": False}
    meter = await gateway.directory.register(METER.registration(**more), user_id="u")
    assert meter == await gateway.store.get(METERS, "METER-001")
    shown = meter_shown(meter)
    MeterShown.model_validate(shown)
    assert MeterShown.model_fields.keys() == shown.keys()
    assert (shown["status"], shown["interval_secs"], shown["user_id"]) == ("pending", 300, "u")
    assert {name: shown[name] for name in ("account_id", "device_id", "zone", "capacity_w")} == {
        name: more[name] for name in ("account_id", "device_id", "zone", "capacity_w")
    }


async def test_a_serial_is_registered_once(gateway: Gateway) -> None:
    both = await asyncio.gather(*(gateway.register(METER) for _ in range(10)), return_exceptions=True)
    assert sum(isinstance(each, dict) for each in both) == 1
    assert {each.code for each in both if isinstance(each, MetawattError)} == {ErrorCode.METER_EXISTS}


async def test_a_key_speaks_for_one_meter(gateway: Gateway) -> None:
    """Else a reading of one could be handed in for the other: the device format names no wallet."""
    meter = SimpleMeter("M-1", form="device")
    twin = SimpleMeter("M-2", number=number_of("M-1"), form="device", wallet=OTHER_WALLET)
    await gateway.register(meter)
    assert await code_of(gateway.register(twin, meter_id="M-1")) is ErrorCode.KEY_INVALID

    await gateway.register(twin, meter_id="M-1", verified=False)
    assert await code_of(gateway.directory.become("M-2", Status.VERIFIED)) is ErrorCode.KEY_INVALID

    stolen = replace(meter.body(), meter_serial="M-2", meter_id="M-1")
    assert await code_of(gateway.intake.submit(stolen)) is ErrorCode.METER_NOT_VERIFIED


async def test_a_key_is_no_other_meters_after_its_end(gateway: Gateway) -> None:
    await gateway.register(SimpleMeter("M-1"))
    await gateway.directory.rotate("M-1", Rotation(public_key=public_of(key_of(9))), by_operator=True)
    await gateway.directory.become("M-1", Status.REVOKED)
    for number in (9, number_of("M-1")):
        assert await code_of(gateway.register(SimpleMeter("M-2", number=number))) is ErrorCode.KEY_INVALID
    await gateway.register(SimpleMeter("M-2", number=8))
    rotation = Rotation(public_key=public_of(key_of(9)))
    assert await code_of(gateway.directory.rotate("M-2", rotation, by_operator=True)) is ErrorCode.KEY_INVALID


async def test_whoever_only_registers_takes_no_key_away(gateway: Gateway) -> None:
    await gateway.register(SimpleMeter("SQUAT", number=5), verified=False)
    await gateway.register(SimpleMeter("M-1", number=5))
    assert await code_of(gateway.directory.become("SQUAT", Status.VERIFIED)) is ErrorCode.KEY_INVALID


async def test_of_many_at_once_one_gets_the_key(gateway: Gateway) -> None:
    meters = [SimpleMeter(f"M-{number}", number=5) for number in range(10)]
    tried = await asyncio.gather(*map(gateway.register, meters), return_exceptions=True)
    assert sum(isinstance(each, dict) for each in tried) == 1
    assert {each.code for each in tried if isinstance(each, MetawattError)} == {ErrorCode.KEY_INVALID}


@pytest.mark.parametrize(
    "text", [*(text_of(bytes.fromhex(key)) for key in LOW_ORDER), "1" * 31, text_of(b"\x02" * 32)]
)
async def test_what_is_no_key_is_not_registered(gateway: Gateway, text: str) -> None:
    assert await code_of(gateway.register(METER, public_key=text.ljust(32, "1"))) is ErrorCode.KEY_INVALID


@pytest.mark.parametrize("text", ["", "x", "0" * 40, "l" * 44, "1" * 44, "é" * 32, " " + "1" * 32])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(KeyInvalid):
        address_bytes(text)
    with pytest.raises(KeyInvalid):
        public_key_bytes(text)
    assert signature_bytes(text) is None


@pytest.mark.parametrize("number", range(1, 9))
def test_keys_are_keys(number: int) -> None:
    assert public_key_bytes(public_of(key_of(number))) == bytes(key_of(number).verify_key)


@pytest.mark.parametrize(
    "fields",
    [
        {"serial": ""},
        {"serial": "a" * 65},
        {"serial": "a:b"},
        {"serial": "a\nb"},
        {"serial": "a\n"},
        {"serial": "-a"},
        {"serial": "a b"},
        {"serial": "batch"},
        {"serial": "readings"},
        {"meter_id": "a:b"},
        {"meter_id": "a\nb"},
        {"format": "other"},
        {"interval_secs": 0},
        {"interval_secs": 7},
        {"interval_secs": 7200},
        {"interval_secs": 300.0},
        {"wallet": "0" * 32},
        {"public_key": None},
        {"capacity_w": -1},
        {"account_id": "x"},
        {"status": "verified"},
    ],
)
def test_what_cannot_be_registered(fields: dict[str, Any]) -> None:
    body = {"serial": "M-1", "wallet": METER.wallet, "public_key": public_of(METER.key)}
    with pytest.raises(InvalidFields):
        read(Registration, body | fields)


async def test_a_device_is_of_the_account(gateway: Gateway) -> None:
    await gateway.store.commit([Put(DEVICES, device_row(DEVICE))])
    assert await code_of(gateway.register(METER, device_id=DEVICE)) is ErrorCode.INVALID_FIELD
    other = {"account_id": OTHER_ACCOUNT, "device_id": DEVICE}
    assert await code_of(gateway.register(METER, **other)) is ErrorCode.INVALID_FIELD
    unknown = {"account_id": ACCOUNT, "device_id": OTHER_ACCOUNT}
    assert await code_of(gateway.register(METER, **unknown)) is ErrorCode.DEVICE_UNKNOWN


async def test_an_interval_of_the_settings_must_divide_an_hour(gateway: Gateway) -> None:
    with pytest.raises(MetawattError) as refused:
        MeterDirectory(gateway.store, MeterSettings(interval_secs=7), lambda: 0)
    assert refused.value.code is ErrorCode.SETTINGS_INVALID


async def test_lists(gateway: Gateway) -> None:
    for number in range(5):
        meter = SimpleMeter(f"M-{number}", wallet=OTHER_WALLET if number % 2 else METER.wallet)
        await gateway.register(meter, account_id=ACCOUNT if number < 3 else None)
    page = await gateway.directory.listed(3, None)
    rest = await gateway.directory.listed(3, page.cursor)
    assert [each["_id"] for each in (*page.documents, *rest.documents)] == [f"M-{number}" for number in range(5)]
    by_wallet = await gateway.directory.listed(10, None, wallet=OTHER_WALLET)
    assert [each["_id"] for each in by_wallet.documents] == ["M-1", "M-3"]
    by_account = await gateway.directory.listed(10, None, account_id=ACCOUNT)
    assert [each["_id"] for each in by_account.documents] == ["M-0", "M-1", "M-2"]
    for cursor in ("x", "!", "é", "W10", "WzFd", "W1siMDAiXV0", "W3t9XQ"):
        wrong = gateway.directory.listed(3, cursor, wallet=OTHER_WALLET)
        assert await code_of(wrong) is ErrorCode.BAD_CURSOR


# Life


@pytest.mark.parametrize("status", Status)
@pytest.mark.parametrize("after", Status)
async def test_what_a_meter_may_become(gateway: Gateway, status: Status, after: Status) -> None:
    await gateway.register(METER, verified=status is not Status.PENDING)
    if status not in (Status.PENDING, Status.VERIFIED):
        await gateway.directory.become(METER.serial, status)
    change = gateway.directory.become(METER.serial, after, "why")
    if after is status or after in MAY_BECOME[status]:
        changed = await change
        assert (changed["status"], changed["reason"]) == (after, "why")
        return
    assert await code_of(change) is ErrorCode.STATUS_FORBIDS


async def test_a_pending_meter_submits_nothing(gateway: Gateway) -> None:
    await gateway.register(METER, verified=False)
    assert await code_of(gateway.take(METER)) is ErrorCode.METER_NOT_VERIFIED


async def test_a_revocation_by_another_process_holds_at_once(gateway: Gateway) -> None:
    await gateway.register(METER)
    await gateway.take(METER)
    other = Gateway(SqliteStore(gateway.store.path, cache_mib=4))  # type: ignore[attr-defined]
    await other.open()
    await other.directory.become(METER.serial, Status.REVOKED)
    assert await code_of(gateway.take(METER, gateway.now_ms - 300_000)) is ErrorCode.METER_NOT_VERIFIED
    await other.store.close()


async def test_changes_at_once_all_hold(gateway: Gateway) -> None:
    await gateway.register(METER)
    rotations = [Rotation(public_key=public_of(key_of(number))) for number in range(2, 6)]
    await asyncio.gather(*(gateway.directory.rotate("METER-001", each, by_operator=True) for each in rotations))
    meter = await gateway.directory.meter("METER-001")
    had = {meter["public_key"], *(old["public_key"] for old in meter["old_keys"])}
    assert (len(had), meter["rev"]) == (5, 4)


async def test_an_unknown_meter(gateway: Gateway) -> None:
    for call in (
        gateway.directory.meter("x" * 9999),
        gateway.directory.become("x", Status.REVOKED),
        gateway.directory.replace("x", ownership()),
        gateway.directory.rotate("x", Rotation(public_key=public_of(key_of(2))), by_operator=True),
    ):
        assert await code_of(call) is ErrorCode.METER_UNKNOWN


# Anew


async def test_registered_anew(gateway: Gateway) -> None:
    await gateway.register(METER)
    meter = await gateway.directory.replace(METER.serial, ownership(wallet=OTHER_WALLET, format=Format.COLON))
    assert (meter["wallet"], meter["format"], meter["status"]) == (OTHER_WALLET, "colon", "pending")
    assert (meter["public_key"], meter["old_keys"]) == (public_of(METER.key), [])
    assert await code_of(gateway.take(METER)) is ErrorCode.METER_NOT_VERIFIED


async def test_the_old_key_of_one_registered_anew_has_no_grace(gateway: Gateway) -> None:
    await gateway.register(METER)
    await gateway.directory.replace(METER.serial, ownership(public_key=public_of(key_of(2))))
    await gateway.directory.become(METER.serial, Status.VERIFIED)
    late = METER.body(gateway.now_ms - 600_000)
    assert await code_of(gateway.intake.submit(late)) is ErrorCode.SIGNATURE_INVALID


async def test_an_interval_never_changes(gateway: Gateway) -> None:
    await gateway.register(METER)
    other = gateway.directory.replace(METER.serial, ownership(interval_secs=900))
    assert await code_of(other) is ErrorCode.INVALID_FIELD
    assert (await gateway.directory.replace(METER.serial, ownership(interval_secs=300)))["interval_secs"] == 300


async def test_a_revoked_key_never_comes_back(gateway: Gateway) -> None:
    await gateway.register(METER)
    await gateway.directory.become(METER.serial, Status.REVOKED)
    assert await code_of(gateway.directory.replace(METER.serial, ownership())) is ErrorCode.KEY_INVALID
    renewed = await gateway.directory.replace(METER.serial, ownership(public_key=public_of(key_of(2))))
    assert renewed["status"] == Status.PENDING
    back = Rotation(public_key=public_of(METER.key))
    assert await code_of(gateway.directory.rotate("METER-001", back, by_operator=True)) is ErrorCode.KEY_INVALID


# Keys


def signed_rotation(gateway: Gateway, number: int = 2, **changes: Any) -> Rotation:
    new = key_of(number)
    timestamp = changes.get("timestamp", moment(gateway.now_ms))
    message = rotation_message("METER-001", public_of(METER.key), public_of(new), timestamp)
    fields = {
        "public_key": public_of(new),
        "timestamp": timestamp,
        "old_signature": text_of(METER.key.sign(message).signature),
        "new_signature": text_of(new.sign(message).signature),
    }
    return Rotation.model_validate(fields | changes)


def test_the_rotations_text() -> None:
    assert rotation_message("METER-001", "OLD", "NEW", "2026-06-01T12:00:00Z").decode() == (
        "METAWATT_METER_KEY_ROTATION\nmeter_serial: METER-001\nold_public_key: OLD\nnew_public_key: NEW\n"
        "timestamp: 2026-06-01T12:00:00Z"
    )


async def test_a_meter_changes_its_key_by_itself(gateway: Gateway) -> None:
    await gateway.register(METER)
    rotation = signed_rotation(gateway)
    meter = await gateway.directory.rotate("METER-001", rotation, by_operator=False)
    assert (meter["public_key"], meter["status"]) == (public_of(key_of(2)), "verified")
    assert meter["old_keys"] == [
        {
            "public_key": public_of(METER.key),
            "from_ms": gateway.now_ms,
            "until_ms": gateway.now_ms,
            "taken_until_ms": gateway.now_ms + 3_600_000,
        }
    ]
    again = gateway.directory.rotate("METER-001", rotation, by_operator=False)
    assert await code_of(again) is ErrorCode.SIGNATURE_INVALID, "it works once"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"old_signature": None}, ErrorCode.SIGNATURE_INVALID),
        ({"new_signature": None}, ErrorCode.SIGNATURE_INVALID),
        ({"timestamp": None}, ErrorCode.SIGNATURE_INVALID),
        ({"old_signature": text_of(b"\x01" * 64)}, ErrorCode.SIGNATURE_INVALID),
        ({"new_signature": text_of(b"\x01" * 64)}, ErrorCode.SIGNATURE_INVALID),
        ({"public_key": public_of(key_of(3))}, ErrorCode.SIGNATURE_INVALID),
        ({"public_key": "1" * 32}, ErrorCode.KEY_INVALID),
        ({"timestamp": "2026-06-01T11:49:59Z"}, ErrorCode.TIMESTAMP_INVALID),
        ({"timestamp": "2026-06-01T12:10:01Z"}, ErrorCode.TIMESTAMP_INVALID),
        ({"timestamp": "yesterday"}, ErrorCode.TIMESTAMP_INVALID),
    ],
)
async def test_a_rotation_that_does_not_hold(gateway: Gateway, changes: dict[str, Any], code: ErrorCode) -> None:
    await gateway.register(METER)
    timestamp = changes.get("timestamp") or moment(gateway.now_ms)
    rotation = signed_rotation(gateway, **{"timestamp": timestamp}).model_copy(update=changes)
    assert await code_of(gateway.directory.rotate("METER-001", rotation, by_operator=False)) is code


async def test_only_a_verified_meter_changes_its_key(gateway: Gateway) -> None:
    await gateway.register(METER)
    await gateway.directory.become("METER-001", Status.SUSPENDED)
    rotation = gateway.directory.rotate("METER-001", signed_rotation(gateway), by_operator=False)
    assert await code_of(rotation) is ErrorCode.METER_NOT_VERIFIED


async def test_a_later_rotation_only_shortens_the_grace_of_earlier_keys(gateway: Gateway) -> None:
    await gateway.register(METER)
    first = Rotation(public_key=public_of(key_of(2)), grace_secs=100)
    await gateway.directory.rotate("METER-001", first, by_operator=True)
    gateway.now_ms += 10_000
    second = Rotation(public_key=public_of(key_of(3)), grace_secs=50)
    meter = await gateway.directory.rotate("METER-001", second, by_operator=True)
    taken = [old["taken_until_ms"] - gateway.now_ms for old in meter["old_keys"]]
    assert taken == [50_000, 50_000]
    assert [key.text for key in signing_keys(meter, gateway.now_ms)] == [public_of(key_of(n)) for n in (3, 2, 1)]
    assert [key.text for key in signing_keys(meter, gateway.now_ms + 50_000)] == [public_of(key_of(3))]


async def test_keys_are_bounded(gateway: Gateway) -> None:
    await gateway.register(METER)
    for number in range(2, MOST_KEYS + 1):
        rotation = Rotation(public_key=public_of(key_of(number)), grace_secs=0)
        await gateway.directory.rotate("METER-001", rotation, by_operator=True)
    last = Rotation(public_key=public_of(key_of(MOST_KEYS + 1)))
    assert await code_of(gateway.directory.rotate("METER-001", last, by_operator=True)) is ErrorCode.INVALID_FIELD
