"""Certificates of discharged energy, the chain behind them, and storage records from the log."""

from __future__ import annotations

import asyncio
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from config.errors import ErrorCode, NotFound
from energytag.actions import Action, Kind, State
from energytag.models.common import read, written
from energytag.models.storage import StorageBundle, StorageLineage
from energytag.plan import Issue, Scene
from energytag.rebuild import rebuild
from energytag.rebuild_storage import issued_writes, writes_of
from energytag.records import ACTIONS, DEVICES
from energytag.storage_issuing import StorageIssuing
from energytag.storage_lineage import lineage
from energytag.storage_records import COLLECTIONS, SDRS, discharge_record
from overlay.transaction import show_outpoint
from store.port import Document, Find, Patch, Put, Reader
from store.sqlite import SqliteStore
from tests.energytag.kit import ACCOUNT, DEVICE, OTHER_ACCOUNT, RegistryNode, moment
from tests.energytag.storage_kit import BATTERY, Battery, battery_row, body, bundle, discharge

OTHER_BATTERY = "5d1f3f5e-93a2-4a6b-8f5d-0e6a9a1c7b52"
UNKNOWN = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
async def battery(registry: RegistryNode) -> Battery:
    made = Battery(registry)
    await made.open()
    return made


@pytest.fixture
async def sdr_id(battery: Battery) -> str:
    """900 Wh that were discharged in the hour 2, of two charges."""
    await battery.charged(0, 600)
    await battery.charged(1, 600)
    return await battery.discharged(2, 900)


async def chain_of(battery: Battery, wanted_id: str) -> dict[str, Any]:
    told = await lineage(battery.registry.store, wanted_id, battery.registry.clock.now_ms // 1000)
    StorageLineage.model_validate(told)
    return told


async def test_a_bundle_has_what_its_discharge_tells(battery: Battery, sdr_id: str) -> None:
    outcome = await battery.act(Kind.ISSUE_SDGC, bundle(2, 900))
    assert outcome.action.state is State.RESOLVED, outcome.action.error
    token = outcome.made[0].token
    assert token is not None
    tag = token.bundle.attributes
    assert tag["sdr_allocation_id"] == sdr_id
    assert tag["storage_device_id"] == BATTERY
    assert tag["storage_device_location"] == [52.1, 5.2]
    assert tag["storage_efficiency_factor"] == 0.9
    assert (tag["discharging_start_datetime"], tag["discharging_end_datetime"]) == (moment(2), moment(3))
    assert token.bundle.energy_wh == 900
    assert (await discharge_record(battery.registry.store, sdr_id))["sdgc"] == token.issuance_id


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"bundle_quantity": 899}, ErrorCode.ATTRIBUTES_DIFFER),
        ({"face_value": 2}, ErrorCode.ATTRIBUTES_DIFFER),
        ({"production_ending_interval": moment(2.5)}, ErrorCode.ATTRIBUTES_DIFFER),
        ({"production_starting_interval": moment(2.5)}, ErrorCode.INVALID_FIELD),
        ({"discharging_start_datetime": moment(1)}, ErrorCode.ATTRIBUTES_DIFFER),
        ({"storage_device_id": DEVICE}, ErrorCode.ATTRIBUTES_DIFFER),
        ({"storage_device_location": [1.0, 2.0]}, ErrorCode.ATTRIBUTES_DIFFER),
        ({"storage_efficiency_factor": 0.91}, ErrorCode.ATTRIBUTES_DIFFER),
        ({"device_type": "production"}, ErrorCode.ATTRIBUTES_DIFFER),
        ({"device_name": "Battery 9"}, ErrorCode.ATTRIBUTES_DIFFER),
        ({"energy_source": "solar_pv"}, ErrorCode.ATTRIBUTES_DIFFER),
        ({"account_id": OTHER_ACCOUNT}, ErrorCode.ATTRIBUTES_DIFFER),
        ({"sdr_allocation_id": UNKNOWN}, ErrorCode.RECORD_UNKNOWN),
        ({"bundle_id_range_start": 2, "bundle_id_range_end": 901}, ErrorCode.RANGE_INVALID),
    ],
)
async def test_bundles_that_are_refused(
    battery: Battery, sdr_id: str, changes: dict[str, Any], code: ErrorCode
) -> None:
    assert sdr_id
    assert (await battery.refused(Kind.ISSUE_SDGC, bundle(2, 900) | changes))[0] is code


async def test_another_device_has_no_part_in_it(battery: Battery, sdr_id: str) -> None:
    await battery.registry.store.commit([Put(DEVICES, battery_row(OTHER_BATTERY))])
    request = bundle(2, 900, device_id=OTHER_BATTERY, sdr_allocation_id=sdr_id)
    assert (await battery.refused(Kind.ISSUE_SDGC, request))[0] is ErrorCode.ATTRIBUTES_DIFFER


async def test_a_stated_factor_may_be_rounded(battery: Battery) -> None:
    await battery.charged(0)
    third = {"numerator": 1, "denominator": 3}
    await battery.discharged(1, 300, efficiency_factor=third)
    outcome = await battery.act(Kind.ISSUE_SDGC, bundle(1, 300, storage_efficiency_factor=0.333333))
    assert outcome.action.state is State.RESOLVED, outcome.action.error


async def test_a_discharge_is_issued_once(battery: Battery, sdr_id: str) -> None:
    requests = [bundle(2, 900, sdr_allocation_id=sdr_id), bundle(2, 900, energy_carrier="Electricity 2")]
    outcomes = await asyncio.gather(*(battery.act(Kind.ISSUE_SDGC, each) for each in requests * 5))
    states = [outcome.action.state for outcome in outcomes]
    assert (states.count(State.RESOLVED), states.count(State.REJECTED)) == (1, 9)
    assert (await battery.refused(Kind.ISSUE_SDGC, requests[0]))[0] is ErrorCode.ISSUED_TWICE
    assert (await battery.refused(Kind.WITHDRAW_SDR, body(source_allocation_id=sdr_id)))[
        0
    ] is ErrorCode.STILL_IN_USE


async def test_once_its_certificates_are_withdrawn_a_discharge_is_free(battery: Battery, sdr_id: str) -> None:
    outcome = await battery.act(Kind.ISSUE_SDGC, bundle(2, 900))
    assert outcome.made[0].token is not None
    issuance_id = outcome.made[0].token.issuance_id
    await battery.registry.resolved(
        Kind.WITHDRAW, body(source_certificate_issuance_id=issuance_id, whole_issuance=True)
    )
    again = await battery.act(Kind.ISSUE_SDGC, bundle(2, 900))
    assert again.action.state is State.RESOLVED, again.action.error
    assert again.made[0].token is not None
    record = await discharge_record(battery.registry.store, sdr_id)
    assert record["sdgc"] == again.made[0].token.issuance_id != issuance_id
    await battery.registry.resolved(
        Kind.WITHDRAW, body(source_certificate_issuance_id=record["sdgc"], whole_issuance=True)
    )
    await battery.done(Kind.WITHDRAW_SDR, body(source_allocation_id=sdr_id))
    assert (await battery.refused(Kind.ISSUE_SDGC, bundle(2, 900, sdr_allocation_id=sdr_id)))[0] is (
        ErrorCode.STATUS_FORBIDS
    )


async def test_a_partly_withdrawn_issuance_still_stands(battery: Battery, sdr_id: str) -> None:
    await battery.act(Kind.ISSUE_SDGC, bundle(2, 900))
    record = await discharge_record(battery.registry.store, sdr_id)
    part = {"source_certificate_bundle_id_range_start": 1, "source_certificate_bundle_id_range_end": 899}
    await battery.registry.resolved(Kind.WITHDRAW, body(source_certificate_issuance_id=record["sdgc"], **part))
    assert (await battery.refused(Kind.WITHDRAW_SDR, body(source_allocation_id=sdr_id)))[
        0
    ] is ErrorCode.STILL_IN_USE


async def test_an_issuance_that_was_decided_is_planned_again_just_the_same(battery: Battery, sdr_id: str) -> None:
    """After a crash between the decision and the transaction."""
    store, now_ms = battery.registry.store, battery.registry.clock.now_ms
    handler = StorageIssuing(battery.registry.registry.ground)
    request = written(read(StorageBundle, bundle(2, 900)))
    action = Action(UNKNOWN, 1, Kind.ISSUE_SDGC, request, now_ms, account_id=ACCOUNT)
    first = await handler.plan(action, Scene(store, now_ms))
    await store.commit(first.decision)
    again = await handler.plan(action.decided(first.memo), Scene(store, now_ms))
    assert (again.decision, again.result) == ([], first.result)
    for one, other in zip(first.pieces, again.pieces, strict=True):
        assert isinstance(one, Issue) and isinstance(other, Issue)
        assert (one.draft, one.issued) == (other.draft, other.issued)
    assert (await battery.refused(Kind.ISSUE_SDGC, bundle(2, 900)))[0] is ErrorCode.ISSUED_TWICE
    assert sdr_id


# The chain


def fraction(shown: dict[str, str]) -> Fraction:
    return Fraction(int(shown["numerator"]), int(shown["denominator"]))


async def test_the_chain_in_one_answer(battery: Battery, sdr_id: str) -> None:
    made = (await battery.act(Kind.ISSUE_SDGC, bundle(2, 900))).made[0]
    assert made.token is not None
    told = await chain_of(battery, made.token.issuance_id)
    assert told == await chain_of(battery, sdr_id)
    assert told["sdgc_issuance_id"] == made.token.issuance_id
    assert [each["outpoint"] for each in told["certificates"]] == [show_outpoint(made.outpoint)]
    assert told["certificates"][0]["energy"] == told["energy"] == 900
    assert (fraction(told["charged_energy"]), fraction(told["losses"])) == (1000, 100)
    assert fraction(told["efficiency"]["factor"]) == Fraction(9, 10)
    shares = [(fraction(each["proportion"]), fraction(each["charged_energy"])) for each in told["charges"]]
    assert shares == [(Fraction(3, 5), 600), (Fraction(2, 5), 400)]
    assert sum(fraction(each["losses"]) for each in told["charges"]) == 100
    for each in told["charges"]:
        backing = each["certificates"]
        assert [one["certificate_status"] for one in backing] == ["Cancelled"]
        assert backing[0]["issuance_id"] == each["record"]["gc_issuance_id"]
        assert backing[0]["energy"] == 600
        assert backing[0]["outpoint"].startswith(backing[0]["tx_id"])


async def test_the_chain_tells_totals_that_the_factor_is_of(battery: Battery) -> None:
    await battery.charged(0)
    sdr_id = await battery.done(Kind.CREATE_SDR, discharge(1, 890, efficiency_factor=None))
    told = (await chain_of(battery, sdr_id))["efficiency"]
    assert (told["input_energy"], told["output_energy"], told["losses"]) == (1000, 890, 110)


async def test_a_chain_that_was_withdrawn_is_empty(battery: Battery, sdr_id: str) -> None:
    await battery.done(Kind.WITHDRAW_SDR, body(source_allocation_id=sdr_id))
    told = await chain_of(battery, sdr_id)
    assert (told["charges"], fraction(told["losses"])) == ([], 0)


async def test_what_has_no_chain(battery: Battery, sdr_id: str) -> None:
    roof = (await battery.roof(0))[0].token.issuance_id
    for unknown in (roof, UNKNOWN):
        with pytest.raises(NotFound):
            await chain_of(battery, unknown)
    assert sdr_id


# From the log


async def everything(store: Reader) -> dict[str, list[Document]]:
    return {
        collection.name: sorted(
            (await store.find(collection, Find(limit=1000))).documents, key=lambda each: str(each["_id"])
        )
        for collection in COLLECTIONS
    }


async def test_the_log_gives_the_records_again(battery: Battery, tmp_path: Path) -> None:
    store = battery.registry.store
    choice = {"scr_allocation_methodology": "operator's discretion"}
    scrs = [await battery.charged(hour) for hour in range(3)]
    chosen = [{"scr_allocation_id": scr_id, "energy": 90} for scr_id in scrs]
    first = await battery.done(Kind.CREATE_SDR, discharge(4, 270, allocations=chosen, **choice))
    second = await battery.done(Kind.CREATE_SDR, discharge(5, 180, allocations=chosen[:2], **choice))
    anew = [{"scr_allocation_id": scrs[0], "energy": 100}, {"scr_allocation_id": scrs[2], "energy": 170}]
    await battery.done(Kind.ALLOCATE_STORAGE, body(sdr_allocation_id=first, allocations=anew))
    await battery.act(Kind.ISSUE_SDGC, bundle(4, 270))
    await battery.done(Kind.WITHDRAW_SDR, body(source_allocation_id=second))
    await battery.done(Kind.WITHDRAW_SCR, body(source_allocation_id=scrs[1]))
    await battery.done(
        Kind.STORAGE_UPDATE_MUTABLES, body(storage_device_id=BATTERY, scr_geographic_matching_method="zone")
    )
    await battery.refused(Kind.WITHDRAW_SCR, body(source_allocation_id=scrs[0]))

    copy = SqliteStore(tmp_path / "copy.db", cache_mib=4)
    await copy.open(COLLECTIONS)
    actions = (await store.find(ACTIONS, Find("seq", limit=1000))).documents
    for _ in range(2):
        for document in actions:
            await copy.commit(writes_of(Action.read(document)))
    issued = (await discharge_record(store, first))["sdgc"]
    await copy.commit([Patch(SDRS, first, {"sdgc": issued})])
    assert await everything(copy) == await everything(store)
    await copy.close()


async def test_a_rebuild_gives_the_records_again(battery: Battery, sdr_id: str) -> None:
    store, registry = battery.registry.store, battery.registry
    await battery.act(Kind.ISSUE_SDGC, bundle(2, 900))
    before = await everything(store)
    assert len(before[SDRS.name]) == 1
    await registry.registry.stop()
    await rebuild(store, registry.keyring)
    assert await everything(store) == before
    assert sdr_id


async def test_certificates_tell_what_was_issued_from_which_discharge(battery: Battery, sdr_id: str) -> None:
    store = battery.registry.store
    await battery.act(Kind.ISSUE_SDGC, bundle(2, 900))
    before = await everything(store)
    assert await issued_writes(store) == []
    await store.commit([Patch(SDRS, sdr_id, {"sdgc": None})])
    await store.commit(await issued_writes(store))
    assert await everything(store) == before
