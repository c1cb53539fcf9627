"""Storage discharge records: what they draw on, exactly; and how they are withdrawn and allocated anew."""

from __future__ import annotations

import asyncio
from fractions import Fraction
from typing import Any

import pytest

from config.errors import BadRequest, ErrorCode
from energytag.actions import Kind, State
from energytag.models import storage as models
from energytag.models.common import InvalidFields, read
from energytag.storage_records import SCRS, SDRS, charge_record, discharge_record
from energytag.storage_search import Wanted, search
from energytag.storage_shown import show_charge, show_discharges
from tests.energytag.kit import ACCOUNT, OTHER_ACCOUNT, RegistryNode, moment
from tests.energytag.storage_kit import BATTERY, Battery, body, discharge

CHOICE = "operator's discretion"
UNKNOWN = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
async def battery(registry: RegistryNode) -> Battery:
    made = Battery(registry)
    await made.open()
    return made


async def told(battery: Battery, sdr_id: str) -> dict[str, Any]:
    """A discharge as the API shows it."""
    store = battery.registry.store
    return (await show_discharges(store, [await discharge_record(store, sdr_id)]))[0]


def fraction(shown: dict[str, str]) -> Fraction:
    return Fraction(int(shown["numerator"]), int(shown["denominator"]))


def drawn(shown: dict[str, Any]) -> dict[str, Fraction]:
    return {each["scr_allocation_id"]: fraction(each["charged_energy"]) for each in shown["allocations"]}


def chosen(**energy_wh: int) -> list[dict[str, Any]]:
    return [{"scr_allocation_id": scr_id, "energy": wh} for scr_id, wh in energy_wh.items()]


async def test_discharges_use_charges_up_in_turn(battery: Battery) -> None:
    first, second = [await battery.charged(hour) for hour in (0, 1)]
    one = await told(battery, await battery.discharged(2, 600))
    assert drawn(one) == {first: Fraction(2000, 3)}
    assert one["scr_allocation_id"] == first
    two = await told(battery, await battery.discharged(3, 600))
    assert drawn(two) == {first: Fraction(1000, 3), second: Fraction(1000, 3)}
    assert sum(fraction(each["proportion"]) for each in two["allocations"]) == 1
    assert [fraction(each["energy"]) for each in two["allocations"]] == [300, 300]
    await battery.discharged(4, 600)
    assert (await battery.left(first), await battery.left(second)) == (0, 0)
    shown = show_charge(await charge_record(battery.registry.store, first))
    assert shown["sdr_allocation_id"] == one["sdr_allocation_id"]
    assert fraction(shown["energy_left"]) == 0


@pytest.mark.parametrize(
    ("method", "left"), [("lifo", (1400, 600)), ("Weighted average", (933, 1067)), ("FIFO", (400, 1600))]
)
async def test_methods(battery: Battery, method: str, left: tuple[int, int]) -> None:
    first, second = [await battery.charged(hour, energy_wh) for hour, energy_wh in ((0, 1400), (1, 1600))]
    full = {"numerator": 1, "denominator": 1}
    await battery.discharged(2, 1000, scr_allocation_methodology=method, efficiency_factor=full)
    assert (await battery.left(first), await battery.left(second)) == left


async def test_only_charges_that_were_over_are_drawn_on(battery: Battery) -> None:
    await battery.charged(1)
    code, message = await battery.refused(Kind.CREATE_SDR, discharge(1.5, 100))
    assert code is ErrorCode.ENERGY_LACKING
    assert message.startswith("100 Wh of 100 Wh are not covered")


async def test_what_is_not_covered_is_told_exactly(battery: Battery) -> None:
    await battery.charged(0)
    code, message = await battery.refused(
        Kind.CREATE_SDR, discharge(1, 901, efficiency_factor={"numerator": 89, "denominator": 99})
    )
    assert code is ErrorCode.ENERGY_LACKING
    assert message.startswith("2 + 1/99 Wh of 901 Wh are not covered")
    assert "give 898 + 98/99 Wh" in message


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"charging_energy_source": "wind"}, ErrorCode.ENERGY_LACKING),
        ({"device_id": UNKNOWN}, ErrorCode.DEVICE_UNKNOWN),
        ({"source_account_id": OTHER_ACCOUNT}, ErrorCode.ATTRIBUTES_DIFFER),
        ({"discharging_end_datetime": moment(3.01)}, ErrorCode.INTERVAL_INVALID),
        ({"discharging_end_datetime": moment(2)}, ErrorCode.INTERVAL_INVALID),
        (
            {"discharging_start_datetime": moment(9000), "discharging_end_datetime": moment(9001)},
            ErrorCode.INTERVAL_INVALID,
        ),
        (
            {
                "efficiency_factor": None,
                "efficiency_factor_interval_start": moment(-9000),
                "efficiency_factor_interval_end": moment(3),
            },
            ErrorCode.INTERVAL_INVALID,
        ),
        (
            {
                "efficiency_factor": None,
                "efficiency_factor_interval_start": moment(1),
                "efficiency_factor_interval_end": moment(3),
            },
            ErrorCode.ENERGY_LACKING,
        ),
        (
            {"scr_allocation_methodology": CHOICE, "allocations": [{"scr_allocation_id": UNKNOWN, "energy": 100}]},
            ErrorCode.RECORD_UNKNOWN,
        ),
    ],
)
async def test_discharges_that_are_refused(battery: Battery, changes: dict[str, Any], code: ErrorCode) -> None:
    await battery.charged(0)
    assert (await battery.refused(Kind.CREATE_SDR, discharge(2, 100) | changes))[0] is code


@pytest.mark.parametrize(
    "changes",
    [
        {"discharge_energy": 100.5},
        {"discharge_energy": 0},
        {"discharge_energy": True},
        {"scr_allocation_methodology": "whatever"},
        {"scr_allocation_methodology": CHOICE},
        {"allocations": [{"scr_allocation_id": UNKNOWN, "energy": 100}]},
        {"efficiency_factor": {"numerator": 3, "denominator": 2}},
        {"parasitic_energy": 5},
        {"efficiency_factor_interval_start": moment(0)},
        {"charging_energy_source": "123"},
        {
            "scr_allocation_methodology": CHOICE,
            "allocations": [
                {"scr_allocation_id": UNKNOWN, "energy": 50},
                {"scr_allocation_id": UNKNOWN, "energy": 50},
            ],
        },
    ],
)
def test_bodies_that_are_no_discharge(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidFields):
        read(models.StorageDischargeRecordBase, discharge(2, 100) | changes)


@pytest.mark.parametrize("energy", [100, 100.0])
def test_a_whole_number_is_a_number(energy: float) -> None:
    assert (
        read(models.StorageDischargeRecordBase, discharge(2, 1) | {"discharge_energy": energy}).discharge_energy
        == 100
    )


async def test_an_account_keeps_to_one_method(battery: Battery) -> None:
    await battery.charged(0)
    sdr_id = await battery.discharged(1, 100)
    other = discharge(2, 100, scr_allocation_methodology="LIFO")
    assert (await battery.refused(Kind.CREATE_SDR, other))[0] is ErrorCode.ATTRIBUTES_DIFFER
    await battery.done(Kind.WITHDRAW_SDR, body(source_allocation_id=sdr_id))
    await battery.done(Kind.CREATE_SDR, other)


async def test_a_discharge_is_recorded_once(battery: Battery) -> None:
    await battery.charged(0)
    sdr_id = await battery.discharged(2, 100)
    for hour in (1.5, 2, 2.9):
        assert (await battery.refused(Kind.CREATE_SDR, discharge(hour, 100)))[0] is ErrorCode.ISSUED_TWICE
    await battery.discharged(1, 100)
    await battery.discharged(3, 100)
    await battery.done(Kind.WITHDRAW_SDR, body(source_allocation_id=sdr_id))
    await battery.discharged(2, 50)


async def test_of_discharges_at_once_no_energy_is_taken_twice(battery: Battery) -> None:
    scr_id = await battery.charged(0)
    outcomes = await asyncio.gather(*(battery.act(Kind.CREATE_SDR, discharge(2 + each, 100)) for each in range(12)))
    states = [outcome.action.state for outcome in outcomes]
    assert states.count(State.RESOLVED) == 9
    assert await battery.left(scr_id) == 0


# Efficiency


async def test_the_factor_is_that_of_the_interval_that_is_named(battery: Battery) -> None:
    await battery.charged(0)
    scr_id = await battery.charged(1)
    interval = {"efficiency_factor_interval_start": moment(0), "efficiency_factor_interval_end": moment(3)}
    shown = await told(battery, await battery.discharged(2, 1780, efficiency_factor=None, **interval))
    assert fraction(shown["efficiency_factor"]) == Fraction(89, 100)
    assert await battery.left(scr_id) == 0
    record = await discharge_record(battery.registry.store, shown["sdr_allocation_id"])
    assert record["efficiency"] == {"input_wh": 2000, "output_wh": 1780, "parasitic_wh": 0}


async def test_what_the_device_used_itself_counts_as_input(battery: Battery) -> None:
    first, second = [await battery.charged(hour) for hour in (0, 1)]
    interval = {"efficiency_factor_interval_start": moment(1), "efficiency_factor_interval_end": moment(3)}
    await battery.discharged(2, 900, efficiency_factor=None, parasitic_energy=125, **interval)
    assert (await battery.left(first), await battery.left(second)) == (0, 875)


async def test_without_any_word_on_efficiency_records_of_six_months_tell(battery: Battery) -> None:
    scr_id = await battery.charged(0)
    shown = await told(battery, await battery.discharged(1, 890, efficiency_factor=None))
    assert fraction(shown["efficiency_factor"]) == Fraction(89, 100)
    assert shown["efficiency_factor_interval_end"] == moment(2)
    assert await battery.left(scr_id) == 0


# The operator's discretion


async def test_an_operator_chooses_and_chooses_again(battery: Battery) -> None:
    a, b, c = [await battery.charged(hour) for hour in range(3)]
    sdr_id = await battery.discharged(
        4, 900, scr_allocation_methodology=CHOICE, allocations=chosen(**{b: 540, c: 360})
    )
    assert drawn(await told(battery, sdr_id)) == {b: 600, c: 400}
    again = body(sdr_allocation_id=sdr_id, allocations=chosen(**{a: 90, c: 810}))
    await battery.done(Kind.ALLOCATE_STORAGE, again)
    assert drawn(await told(battery, sdr_id)) == {a: 100, c: 900}
    assert [await battery.left(each) for each in (a, b, c)] == [900, 1000, 100]
    assert (await charge_record(battery.registry.store, b))["sdr"] is None
    for refused, code in (
        ({"allocations": chosen(**{a: 901})}, ErrorCode.ENERGY_LACKING),
        ({"allocations": chosen(**{a: 901, c: 999})}, ErrorCode.ENERGY_LACKING),
        ({"allocations": chosen(**{a: 10, c: 890}) + chosen(**{UNKNOWN: 1})}, ErrorCode.RECORD_UNKNOWN),
        ({"sdr_allocation_id": UNKNOWN}, ErrorCode.RECORD_UNKNOWN),
        ({"source_account_id": OTHER_ACCOUNT}, ErrorCode.ATTRIBUTES_DIFFER),
    ):
        assert (await battery.refused(Kind.ALLOCATE_STORAGE, again | refused))[0] is code
    assert drawn(await told(battery, sdr_id)) == {a: 100, c: 900}


async def test_only_a_choice_can_be_made_anew(battery: Battery) -> None:
    scr_id = await battery.charged(0)
    sdr_id = await battery.discharged(1, 900)
    request = body(sdr_allocation_id=sdr_id, allocations=chosen(**{scr_id: 900}))
    assert (await battery.refused(Kind.ALLOCATE_STORAGE, request))[0] is ErrorCode.ATTRIBUTES_DIFFER


async def test_a_choice_is_among_charges_that_were_over_and_stand(battery: Battery) -> None:
    early, late, gone = [await battery.charged(hour) for hour in (0, 3, 1)]
    await battery.done(Kind.WITHDRAW_SCR, body(source_allocation_id=gone))
    for scr_id, code in ((late, ErrorCode.INTERVAL_INVALID), (gone, ErrorCode.STATUS_FORBIDS)):
        request = discharge(2, 100, scr_allocation_methodology=CHOICE, allocations=chosen(**{scr_id: 100}))
        assert (await battery.refused(Kind.CREATE_SDR, request))[0] is code
    await battery.discharged(2, 100, scr_allocation_methodology=CHOICE, allocations=chosen(**{early: 100}))


# Bounds


async def test_a_discharge_draws_on_so_many_charges(battery: Battery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("energytag.storage_allocating.MOST_CHARGES", 2)
    for hour in range(3):
        await battery.charged(hour)
    request = discharge(4, 1801)
    assert (await battery.refused(Kind.CREATE_SDR, request))[0] is ErrorCode.ENERGY_LACKING
    average = request | {"scr_allocation_methodology": "weighted average", "discharge_energy": 1}
    assert (await battery.refused(Kind.CREATE_SDR, average))[0] is ErrorCode.ENERGY_LACKING
    await battery.done(Kind.CREATE_SDR, request | {"discharge_energy": 1800})


async def test_fractions_do_not_grow_without_bound(battery: Battery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("energytag.storage_allocating.MOST_BITS", 24)
    await battery.charged(0)
    await battery.charged(1)
    await battery.discharged(2, 500, efficiency_factor={"numerator": 997, "denominator": 1000})
    other = discharge(3, 800, efficiency_factor={"numerator": 991, "denominator": 1000})
    code, message = await battery.refused(Kind.CREATE_SDR, other)
    assert (code, "keep to the last" in message) == (ErrorCode.ENERGY_LACKING, True)
    await battery.discharged(3, 800, efficiency_factor={"numerator": 997, "denominator": 1000})


# Withdrawal


async def test_a_withdrawn_discharge_gives_back_what_it_took(battery: Battery) -> None:
    first, second = [await battery.charged(hour) for hour in (0, 1)]
    sdrs = [await battery.discharged(hour, 600) for hour in (2, 3, 4)]
    assert (await battery.refused(Kind.WITHDRAW_SCR, body(source_allocation_id=second)))[
        0
    ] is ErrorCode.STILL_IN_USE
    outcome = await battery.act(Kind.WITHDRAW_SDR, body(charging_period_start=moment(3)))
    assert outcome.action.result["records"] == sdrs[1:]
    assert [await battery.left(each) for each in (first, second)] == [Fraction(1000, 3), 1000]
    shown = await told(battery, sdrs[1])
    assert (shown["allocations"], shown["scr_allocation_id"]) == ([], first)
    assert "withdrawn_datetime" in shown
    await battery.done(Kind.WITHDRAW_SCR, body(source_allocation_id=second))
    assert (await battery.refused(Kind.WITHDRAW_SCR, body(source_allocation_id=first)))[0] is ErrorCode.STILL_IN_USE
    await battery.done(Kind.WITHDRAW_SDR, body(source_allocation_id=sdrs[0]))
    await battery.done(Kind.WITHDRAW_SCR, body(source_allocation_id=first))


async def test_a_charge_tells_of_a_discharge_that_goes_on_drawing_on_it(battery: Battery) -> None:
    scr_id = await battery.charged(0)
    first, second = [await battery.discharged(hour, 100) for hour in (1, 2)]
    await battery.done(Kind.WITHDRAW_SDR, body(source_allocation_id=first))
    assert (await charge_record(battery.registry.store, scr_id))["sdr"] == second


async def test_what_may_change_of_a_discharge(battery: Battery) -> None:
    await battery.charged(0)
    sdr_id = await battery.discharged(1, 100)
    request = body(storage_device_id=BATTERY, efficiency_factor_methodology="six months")
    outcome = await battery.act(Kind.STORAGE_UPDATE_MUTABLES, request)
    assert sdr_id in outcome.action.result["records"]
    assert (await told(battery, sdr_id))["efficiency_factor_methodology"] == "six months"


# Search


async def test_records_come_page_by_page(battery: Battery) -> None:
    ids = [await battery.charged(hour) for hour in range(5)]
    wanted = Wanted.read(body(storage_device_id=BATTERY))
    found: list[str] = []
    cursor = None
    for _ in range(3):
        page = await search(battery.registry.store, SCRS, wanted, 2, cursor)
        found += [record["_id"] for record in page.records]
        cursor = page.cursor
    assert (found, cursor) == (ids, None)


@pytest.mark.parametrize(
    ("criteria", "expected"),
    [
        ({}, [0, 1, 2]),
        ({"charging_period_start": moment(1)}, [1, 2]),
        ({"charging_period_end": moment(1)}, [0]),
        ({"storage_energy_source": ["wind"]}, []),
        ({"storage_energy_source": ["wind", "SOLAR_PV"]}, [0, 1, 2]),
        ({"storage_device_id": UNKNOWN}, []),
        ({"source_allocation_id": UNKNOWN}, []),
        ({"sparse_filter_list": {BATTERY: moment(1)}, "charging_period_start": moment(9)}, [1]),
        ({"sparse_filter_list": {UNKNOWN: moment(1)}}, []),
    ],
)
async def test_criteria(battery: Battery, criteria: dict[str, Any], expected: list[int]) -> None:
    ids = [await battery.charged(hour) for hour in range(3)]
    request = models.StorageQuery.model_validate(body(**criteria)).model_dump(exclude_none=True)
    page = await search(battery.registry.store, SCRS, Wanted.read(request), 10)
    assert [record["_id"] for record in page.records] == [ids[each] for each in expected]
    others = await search(battery.registry.store, SDRS, Wanted.read(request), 10)
    elsewhere = await search(
        battery.registry.store, SCRS, Wanted.read(request | {"source_account_id": OTHER_ACCOUNT}), 10
    )
    assert (others.records, elsewhere.records) == ([], [])
    assert Wanted.read(request).account_id == ACCOUNT


@pytest.mark.parametrize("cursor", ["", "x", "bnVsbA==", "WyJhIiwxLCJiIl0=", "W10="])
async def test_cursors_of_others_are_refused(battery: Battery, cursor: str) -> None:
    with pytest.raises(BadRequest) as caught:
        await search(battery.registry.store, SCRS, Wanted(ACCOUNT), 2, cursor)
    assert caught.value.code is ErrorCode.BAD_CURSOR
