"""The checks of a reading, each with its code, in the order that docs/METERS.md tells of."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from bridge.meters.body import ReadingBody
from bridge.meters.meter import Status
from bridge.meters.registration import Rotation
from config.errors import Busy, ErrorCode, MetawattError
from config.settings import MeterSettings, Settings
from store.sqlite import SqliteStore
from tests.bridge.readings_kit import NOW_MS, Gateway, SimpleMeter, key_of, public_of, text_of

PAGE = Path(__file__).parents[2] / "docs" / "METERS.md"
ROW = re.compile(r"^\| \d+ \| .+? \| `(ERR_\w+)` \|", re.MULTILINE)
DAY_MS = 86_400_000
METER = SimpleMeter()


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    settings = Settings(meters=MeterSettings(readings_per_minute=1, burst_readings=2))
    made = Gateway(SqliteStore(tmp_path / "node.db", cache_mib=4), settings)
    await made.open()
    yield made
    await made.store.close()


async def code_of(gateway: Gateway, body: ReadingBody) -> ErrorCode | None:
    try:
        await gateway.intake.submit(body)
    except MetawattError as error:
        return error.code
    return None


@dataclass
class Fault:
    """What is wrong with a body, and the check that finds it."""

    code: ErrorCode
    spoil: Callable[[ReadingBody], ReadingBody] = lambda body: body
    status: Status = Status.VERIFIED


def _with(**changes: Any) -> Callable[[ReadingBody], ReadingBody]:
    return lambda body: replace(body, **changes)


def _resigned(**changes: Any) -> Callable[[ReadingBody], ReadingBody]:
    """Changed, and signed as it is then."""

    def spoil(body: ReadingBody) -> ReadingBody:
        changed = replace(body, **changes)
        return replace(changed, meter_signature=METER.sign(changed.kwh_amount, changed.reading_timestamp))

    return spoil


STAGES: list[list[Fault]] = [
    [Fault(ErrorCode.INVALID_FIELD, _with(meter_serial=None))],
    [
        Fault(ErrorCode.METER_UNKNOWN, _with(meter_serial="METER-002")),
        Fault(ErrorCode.METER_UNKNOWN, _with(meter_serial=None, meter_id="METER-002")),
    ],
    [
        Fault(ErrorCode.METER_NOT_VERIFIED, status=Status.SUSPENDED),
        Fault(ErrorCode.METER_NOT_VERIFIED, status=Status.REVOKED),
    ],
    [Fault(ErrorCode.METER_UNKNOWN, _with(meter_id="METER-002"))],
    [
        Fault(ErrorCode.KEY_INVALID, _with(public_key=public_of(key_of(2)))),
        Fault(ErrorCode.KEY_INVALID, _with(public_key="x")),
    ],
    [Fault(ErrorCode.WALLET_DIFFERS, _with(wallet_address=text_of(b"\x08" * 32)))],
    [
        Fault(ErrorCode.SIGNATURE_INVALID, _with(meter_signature=None)),
        Fault(ErrorCode.SIGNATURE_INVALID, _with(meter_signature="0OIl")),
        Fault(ErrorCode.SIGNATURE_INVALID, _with(meter_signature=text_of(b"\x01" * 63))),
        Fault(ErrorCode.SIGNATURE_INVALID, _with(meter_signature=text_of(b"\x01" * 64))),
        Fault(ErrorCode.SIGNATURE_INVALID, _with(kwh_amount="1.6")),
    ],
    [
        Fault(ErrorCode.TIMESTAMP_INVALID, _resigned(reading_timestamp="2026-06-01T12:00:00")),
        Fault(ErrorCode.TIMESTAMP_INVALID, _resigned(reading_timestamp="1780315200000")),
    ],
    [
        Fault(ErrorCode.AMOUNT_INVALID, _resigned(kwh_amount="0")),
        Fault(ErrorCode.AMOUNT_INVALID, _resigned(kwh_amount="100.000001")),
        Fault(ErrorCode.AMOUNT_INVALID, _resigned(kwh_amount="1.0000001")),
        Fault(ErrorCode.AMOUNT_INVALID, _resigned(kwh_amount="1e1")),
    ],
    [
        Fault(ErrorCode.READING_TOO_OLD, _resigned(reading_timestamp="2026-05-25T11:59:59Z")),
        Fault(ErrorCode.READING_TOO_OLD, _resigned(reading_timestamp="0001-01-01T00:00:00Z")),
    ],
    [
        Fault(ErrorCode.READING_FROM_FUTURE, _resigned(reading_timestamp="2026-06-01T12:01:01Z")),
        Fault(ErrorCode.READING_FROM_FUTURE, _resigned(reading_timestamp="9999-12-31T23:59:59Z")),
    ],
]
ALL = [fault for stage in STAGES for fault in stage]


@pytest.mark.parametrize("fault", ALL, ids=lambda fault: str(fault.code))
async def test_each_fault_has_its_code(gateway: Gateway, fault: Fault) -> None:
    await gateway.register(METER)
    if fault.status is not Status.VERIFIED:
        await gateway.directory.become(METER.serial, fault.status)
    assert await code_of(gateway, fault.spoil(METER.body())) is fault.code


EARLIER = [
    (first, second)
    for place, stage in enumerate(STAGES)
    for first in stage[:1]
    for later in STAGES[place + 1 :]
    for second in later[:1]
]


@pytest.mark.parametrize(("first", "second"), EARLIER, ids=lambda fault: str(fault.code))
async def test_of_two_faults_the_earlier_is_told(gateway: Gateway, first: Fault, second: Fault) -> None:
    await gateway.register(METER)
    for each in (first, second):
        if each.status is not Status.VERIFIED:
            await gateway.directory.become(METER.serial, each.status)
    both = first.spoil(second.spoil(METER.body()))
    expected = second.code if _undone(first, second, both) else first.code
    assert await code_of(gateway, both) is expected


def _undone(first: Fault, second: Fault, both: ReadingBody) -> bool:
    """Whether the first fault spoils what the second one needs to be one: an unknown `meter_id` names the meter
    itself where there is no serial."""
    return both.meter_serial is None and both.meter_id is not None and first.code is ErrorCode.INVALID_FIELD


async def test_a_meters_bucket_comes_after_the_judgement_and_before_the_store(gateway: Gateway) -> None:
    await gateway.register(METER)
    for ago in range(2):
        assert await code_of(gateway, METER.body(NOW_MS - ago * 300_000)) is None
    bad = replace(METER.body(NOW_MS - 900_000), kwh_amount="2")
    assert await code_of(gateway, bad) is ErrorCode.SIGNATURE_INVALID
    with pytest.raises(Busy) as refused:
        await gateway.intake.submit(METER.body(NOW_MS - 900_000))
    assert refused.value.code is ErrorCode.RATE_LIMITED
    assert refused.value.retry_after_secs == 60
    assert await code_of(gateway, METER.body(kwh="7")) is ErrorCode.RATE_LIMITED
    gateway.now_ms += 60_000
    assert await code_of(gateway, METER.body(kwh="7")) is ErrorCode.READING_CONFLICTS


async def test_what_is_told_again_draws_nothing(gateway: Gateway) -> None:
    await gateway.register(METER)
    for _ in range(20):
        assert await code_of(gateway, METER.body()) is None
    assert await code_of(gateway, METER.body(NOW_MS - 300_000)) is None
    assert await code_of(gateway, METER.body(NOW_MS - 600_000)) is ErrorCode.RATE_LIMITED


@pytest.mark.parametrize(
    ("shift", "code"),
    [
        (timedelta(days=-7), None),
        (timedelta(days=-7, seconds=-1), ErrorCode.READING_TOO_OLD),
        (timedelta(seconds=60), None),
        (timedelta(seconds=61), ErrorCode.READING_FROM_FUTURE),
    ],
)
async def test_age(gateway: Gateway, shift: timedelta, code: ErrorCode | None) -> None:
    await gateway.register(METER)
    assert await code_of(gateway, METER.body(NOW_MS + int(shift.total_seconds()) * 1000)) is code


async def test_a_key_in_the_request_is_never_used(gateway: Gateway) -> None:
    """A stranger signs with a key of his own, and sends it along."""
    await gateway.register(METER)
    stranger = key_of(66)
    body = METER.body(key=stranger)
    assert await code_of(gateway, body) is ErrorCode.SIGNATURE_INVALID
    assert await code_of(gateway, replace(body, public_key=public_of(stranger))) is ErrorCode.KEY_INVALID
    assert await code_of(gateway, replace(body, public_key=public_of(METER.key))) is ErrorCode.SIGNATURE_INVALID


async def test_a_replaced_key_signs_for_its_own_time_and_its_grace(gateway: Gateway) -> None:
    await gateway.register(METER)
    old, new = METER.key, key_of(9)
    gateway.now_ms = NOW_MS + DAY_MS
    rotation = Rotation(public_key=public_of(new), grace_secs=3600)
    await gateway.directory.rotate(METER.serial, rotation, by_operator=True)
    before, at = gateway.now_ms - 300_000, gateway.now_ms
    assert await code_of(gateway, METER.body(at, key=old)) is ErrorCode.SIGNATURE_INVALID
    assert await code_of(gateway, replace(METER.body(before, key=old), public_key=public_of(old))) is None
    assert await code_of(gateway, METER.body(at, key=new)) is None
    gateway.now_ms += 3_599_000
    late = METER.body(before - 300_000, key=old)
    assert await code_of(gateway, late) is None
    gateway.now_ms += 1_000
    assert await code_of(gateway, METER.body(before - 600_000, key=old)) is ErrorCode.SIGNATURE_INVALID
    assert await code_of(gateway, replace(late, public_key=public_of(old))) is ErrorCode.KEY_INVALID


def test_the_manual_has_the_checks_in_their_order() -> None:
    ours = [str(stage[0].code) for stage in STAGES]
    after = [str(ErrorCode.RATE_LIMITED), str(ErrorCode.READING_CONFLICTS)]
    assert ROW.findall(PAGE.read_text("utf-8")) == [str(ErrorCode.BAD_JSON), *ours, *after]
