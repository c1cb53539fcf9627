"""Storage charge records: which cancelled certificates may back a charge, and that they do so once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from certificates.lifecycle import Status
from certificates.ranges import Range
from config.errors import ErrorCode
from energytag.actions import Kind, State
from energytag.records import DEVICES
from energytag.storage_charging import backed_by
from energytag.storage_records import SCRS
from store.port import Put
from tests.energytag.kit import DEVICE, OTHER_ACCOUNT, RegistryNode, moment, readings
from tests.energytag.storage_kit import BATTERY, Battery, battery_row, body, charge

OTHER_BATTERY = "5d1f3f5e-93a2-4a6b-8f5d-0e6a9a1c7b52"
UNKNOWN = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
async def battery(registry: RegistryNode) -> Battery:
    made = Battery(registry)
    await made.open()
    return made


async def test_a_charge_is_backed_by_cancelled_certificates(battery: Battery) -> None:
    request = await battery.charge_body(0)
    scr_id = await battery.done(Kind.CREATE_SCR, request)
    record = await battery.registry.store.get(SCRS, scr_id)
    assert record is not None
    assert (record["left"], record["sdr"], record["backing"]) == ("1000", None, request["gc_issuance_id"])
    assert record["fields"]["charging_energy_source"] == "Solar PV"
    assert await backed_by(battery.registry.store, request["gc_issuance_id"], Range(1000, 2000)) == scr_id
    assert await backed_by(battery.registry.store, request["gc_issuance_id"], Range(1001, 2000)) is None


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"device_id": UNKNOWN}, ErrorCode.DEVICE_UNKNOWN),
        ({"device_id": DEVICE}, ErrorCode.ATTRIBUTES_DIFFER),
        ({"source_account_id": OTHER_ACCOUNT}, ErrorCode.ATTRIBUTES_DIFFER),
        ({"source_account_id": UNKNOWN}, ErrorCode.ACCOUNT_UNKNOWN),
        ({"gc_issuance_id": UNKNOWN}, ErrorCode.CERTIFICATE_UNKNOWN),
        ({"gc_bundle_id_range_end": 1001, "charging_energy": 1001}, ErrorCode.STATUS_FORBIDS),
        ({"gc_bundle_id_range_start": 2}, ErrorCode.RANGE_INVALID),
        ({"charging_energy": 999}, ErrorCode.RANGE_INVALID),
        ({"charging_energy": 1001}, ErrorCode.RANGE_INVALID),
        ({"charging_energy_source": "wind"}, ErrorCode.ATTRIBUTES_DIFFER),
        ({"charging_start_datetime": moment(0.5)}, ErrorCode.INTERVAL_INVALID),
        ({"charging_end_datetime": moment(0.5)}, ErrorCode.INTERVAL_INVALID),
        ({"charging_end_datetime": moment(0)}, ErrorCode.INTERVAL_INVALID),
        ({"charging_end_datetime": moment(24 * 365)}, ErrorCode.INTERVAL_INVALID),
    ],
)
async def test_charges_that_are_refused(battery: Battery, changes: dict[str, Any], code: ErrorCode) -> None:
    request = await battery.charge_body(0)
    assert (await battery.refused(Kind.CREATE_SCR, request | changes))[0] is code


async def test_certificates_must_be_cancelled(battery: Battery) -> None:
    await battery.registry.issue(0)
    request = charge(0, 1000, (await battery.roof(0))[0].token.issuance_id, 1)
    assert (await battery.refused(Kind.CREATE_SCR, request))[0] is ErrorCode.STATUS_FORBIDS


@pytest.mark.parametrize("beneficiary", [OTHER_ACCOUNT, "Somebody outside"])
async def test_certificates_cancelled_for_others_back_nothing(battery: Battery, beneficiary: str) -> None:
    issuance_id = await battery.cancelled(0, beneficiary=beneficiary)
    refusal = await battery.refused(Kind.CREATE_SCR, charge(0, 1000, issuance_id, 1))
    assert refusal[0] is ErrorCode.STATUS_FORBIDS


async def test_certificates_that_were_cancelled_in_the_accounts_favour_back_its_charge(battery: Battery) -> None:
    await battery.registry.store.commit([Put(DEVICES, battery_row(OTHER_BATTERY, OTHER_ACCOUNT))])
    issuance_id = await battery.cancelled(0, beneficiary=OTHER_ACCOUNT)
    request = charge(0, 1000, issuance_id, 1, source_account_id=OTHER_ACCOUNT, device_id=OTHER_BATTERY)
    await battery.done(Kind.CREATE_SCR, request)


async def test_certificates_that_were_claimed_back_nothing(battery: Battery) -> None:
    issuance_id = await battery.cancelled(0)
    await battery.registry.resolved(Kind.CLAIM, body(source_certificate_issuance_id=issuance_id))
    refusal = await battery.refused(Kind.CREATE_SCR, charge(0, 1000, issuance_id, 1))
    assert refusal[0] is ErrorCode.STATUS_FORBIDS


@pytest.mark.parametrize(
    ("energy_wh", "last", "is_right"),
    [(1000, 1, True), (1001, 2, True), (3000, 3, True), (1001, 1, False), (1001, 3, False)],
)
async def test_larger_certificates_cover_a_charge_by_the_least_number(
    battery: Battery, energy_wh: int, last: int, *, is_right: bool
) -> None:
    readings_of_an_hour = {"device_id": DEVICE, "readings": readings(0, 1, 5000), "face_value": 1000}
    await battery.registry.resolved(Kind.CREATE_MANY, readings_of_an_hour)
    await battery.registry.resolved(Kind.CANCEL, body(device_id=DEVICE))
    issuance_id = (await battery.roof(0))[0].token.issuance_id
    request = charge(0, energy_wh, issuance_id, 1, gc_bundle_id_range_end=last)
    if is_right:
        await battery.done(Kind.CREATE_SCR, request)
    else:
        assert (await battery.refused(Kind.CREATE_SCR, request))[0] is ErrorCode.RANGE_INVALID


async def test_one_range_backs_one_charge(battery: Battery) -> None:
    request = await battery.charge_body(0)
    issuance_id = request["gc_issuance_id"]
    await battery.done(Kind.CREATE_SCR, charge(0, 400, issuance_id, 101))
    for energy_wh, first in ((1000, 1), (101, 1), (1, 500), (50, 300), (501, 500)):
        refusal = await battery.refused(Kind.CREATE_SCR, charge(0, energy_wh, issuance_id, first))
        assert refusal[0] is ErrorCode.STATUS_FORBIDS
    await battery.done(Kind.CREATE_SCR, charge(0, 100, issuance_id, 1))
    await battery.done(Kind.CREATE_SCR, charge(0, 500, issuance_id, 501))


async def test_of_many_charges_at_once_on_one_range_one_wins(battery: Battery) -> None:
    request = await battery.charge_body(0)
    outcomes = await asyncio.gather(*(battery.act(Kind.CREATE_SCR, request) for _ in range(20)))
    states = [outcome.action.state for outcome in outcomes]
    assert states.count(State.RESOLVED) == 1
    assert states.count(State.REJECTED) == 19
    assert len(await battery.records()) == 1


async def test_a_withdrawn_charge_frees_its_certificates(battery: Battery) -> None:
    request = await battery.charge_body(0)
    scr_id = await battery.done(Kind.CREATE_SCR, request)
    await battery.done(Kind.WITHDRAW_SCR, body(source_allocation_id=scr_id))
    assert (await battery.refused(Kind.WITHDRAW_SCR, body(source_allocation_id=scr_id)))[
        0
    ] is ErrorCode.NOTHING_SELECTED
    again = await battery.done(Kind.CREATE_SCR, request)
    assert again != scr_id


async def test_what_is_withdrawn_must_be_said(battery: Battery) -> None:
    await battery.charged(0)
    assert (await battery.refused(Kind.WITHDRAW_SCR, body()))[0] is ErrorCode.INVALID_FIELD
    elsewhere = body(OTHER_ACCOUNT, storage_device_id=BATTERY)
    assert (await battery.refused(Kind.WITHDRAW_SCR, elsewhere))[0] is ErrorCode.NOTHING_SELECTED


async def test_charges_that_satisfy_criteria_are_withdrawn_together(battery: Battery) -> None:
    ids = [await battery.charged(hour) for hour in range(3)]
    request = body(charging_period_start=moment(1), storage_energy_source=["Solar-PV"])
    outcome = await battery.act(Kind.WITHDRAW_SCR, request)
    assert outcome.action.result["records"] == ids[1:]
    request = body(sparse_filter_list={BATTERY: moment(0), UNKNOWN: moment(1)}, storage_device_id=UNKNOWN)
    outcome = await battery.act(Kind.WITHDRAW_SCR, request)
    assert outcome.action.result["records"] == ids[:1]


async def test_what_may_change_of_a_charge(battery: Battery) -> None:
    scr_id = await battery.charged(0)
    named = body(source_allocation_id=scr_id)
    change = named | {"scr_geographic_matching_method": "same zone"}
    await battery.done(Kind.STORAGE_UPDATE_MUTABLES, change)
    assert (await battery.refused(Kind.STORAGE_UPDATE_MUTABLES, named | {"account_id": OTHER_ACCOUNT}))[0] is (
        ErrorCode.ATTRIBUTES_DIFFER
    )
    await battery.registry.store.commit([Put(DEVICES, battery_row(account_id=OTHER_ACCOUNT))])
    await battery.done(Kind.STORAGE_UPDATE_MUTABLES, named | {"account_id": OTHER_ACCOUNT})
    record = await battery.registry.store.get(SCRS, scr_id)
    assert record is not None
    assert record["fields"]["scr_geographic_matching_method"] == "same zone"
    assert record["account_id"] == OTHER_ACCOUNT


async def test_certificates_that_back_a_charge_cannot_be_claimed(battery: Battery) -> None:
    """Their energy is claimed with what is issued from the store."""
    request = await battery.charge_body(0)
    free = await battery.cancelled(1)
    scr_id = await battery.done(Kind.CREATE_SCR, request)
    named = body(source_certificate_issuance_id=request["gc_issuance_id"])
    outcome = await battery.registry.act(Kind.CLAIM, named)
    assert outcome.action.error is not None
    assert outcome.action.error["code"] == ErrorCode.STATUS_FORBIDS
    assert scr_id in outcome.action.error["message"]
    await battery.registry.resolved(Kind.CLAIM, body(device_id=DEVICE))
    assert [each.token.bundle.status for hour in (0, 1) for each in await battery.roof(hour)] == [
        Status.CANCELLED,
        Status.CLAIMED,
    ]
    assert (await battery.roof(1))[0].token.issuance_id == free
    await battery.done(Kind.WITHDRAW_SCR, body(source_allocation_id=scr_id))
    await battery.registry.resolved(Kind.CLAIM, named)
