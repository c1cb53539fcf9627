"""Readings of production: what is taken, what is refused and how it is named, and what is kept."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.errors import ErrorCode, MetawattError, NotFound
from energytag.actions import Action, Kind
from energytag.csv_rows import read_rows
from energytag.measurements import MEASUREMENTS, Measuring, device_digest
from energytag.models.common import InvalidFields, moment_of_ms
from energytag.models.measurements import ProductionRow, csv_request
from energytag.plan import Scene
from energytag.readings import MeasurementInvalid, Reading, settle, walk
from energytag.rebuild_measurements import writes_of
from energytag.records import DEVICES
from store.port import Document, Find, Insert
from store.sqlite import SqliteStore

NINE = 1_780_304_400
"""2026-06-01T09:00:00Z."""
NOW_MS = (NINE + 7 * 3600) * 1000
DEVICE = "0d5f6a2b-9c1e-4a7b-8e2f-1a2b3c4d5e6f"
OTHER = "1d5f6a2b-9c1e-4a7b-8e2f-1a2b3c4d5e6f"
HOUR = 3600


def moment(secs: int) -> str:
    return moment_of_ms(secs * 1000)


def reading(start: int, energy_wh: int = 100, length: int = HOUR) -> dict[str, Any]:
    return {"start": moment(start), "end": moment(start + length), "energy_wh": energy_wh}


def device(device_id: str, **changes: Any) -> Document:
    return {
        "_id": device_id,
        "account_id": "7b0c2c1e-5b0f-4f1e-9d3a-2f6f0a1b2c3d",
        "energy_source": "Solar PV",
        "zone": "DE-LU",
        **changes,
    }


class Meter:
    """Actions one after another, each planned and committed as the queue does."""

    def __init__(self, store: SqliteStore) -> None:
        self.store = store
        self.actions: list[Action] = []

    async def tell(self, *readings: dict[str, Any], device_id: str = DEVICE) -> Action:
        return await self.act({"series": [{"device_id": device_id, "readings": list(readings)}]})

    async def act(self, request: dict[str, Any]) -> Action:
        number = len(self.actions) + 1
        action = Action(f"00000000-0000-7000-8000-{number:012}", number, Kind.MEASUREMENTS, request, NOW_MS)
        plan = await Measuring().plan(action, Scene(self.store, NOW_MS))
        await self.store.commit(plan.writes)
        self.actions.append(action.resolved(plan.result, (), NOW_MS))
        return self.actions[-1]

    async def kept(self, device_id: str = DEVICE) -> list[tuple[int, int]]:
        rows = walk(self.store, MEASUREMENTS, device_digest(device_id), 0, 2**40)
        return [(row["start"] - NINE, row["energy_wh"]) async for row in rows]


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(tmp_path / "node.db", cache_mib=4)
    await store.open([DEVICES, MEASUREMENTS])
    for each in (device(DEVICE), device(OTHER, energy_source="wind")):
        await store.commit([Insert(DEVICES, each)])
    yield store
    await store.close()


@pytest.fixture
def meter(store: SqliteStore) -> Meter:
    return Meter(store)


async def test_readings_are_kept_with_the_zone_and_source_of_their_time(meter: Meter) -> None:
    action = await meter.tell(reading(NINE), reading(NINE + HOUR, 0))
    assert action.result == {
        "accepted": 2,
        "repeated": 0,
        "energy_wh": 100,
        "devices": {DEVICE: {"zone": "DE-LU", "energy_source": "solar_pv"}},
    }
    assert await meter.kept() == [(0, 100), (HOUR, 0)]
    page = await meter.store.find(MEASUREMENTS, Find("zone", {"zone": "DE-LU"}, lower=NINE, upper=NINE + 1))
    assert [(row["device_id"], row["action_id"]) for row in page.documents] == [(DEVICE, action.action_id)]


async def test_the_same_reading_is_taken_once(meter: Meter) -> None:
    await meter.tell(reading(NINE), reading(NINE))
    again = await meter.tell(reading(NINE), reading(NINE + HOUR))
    assert (again.result["accepted"], again.result["repeated"], again.result["energy_wh"]) == (1, 1, 100)
    assert await meter.kept() == [(0, 100), (HOUR, 100)]


@pytest.mark.parametrize(
    ("readings", "named"),
    [
        ([reading(NINE, 101)], r"readings\[0\]: 100 Wh from 2026-06-01T09:00:00Z .* was measured before"),
        ([reading(NINE, 100, 900)], r"readings\[0\]: 100 Wh .* was measured before"),
        ([reading(NINE + HOUR), reading(NINE + 1800)], r"readings\[1\]: it overlaps"),
        ([reading(NINE - 1)], r"readings\[0\]: it overlaps another reading, 100 Wh from 2026-06-01T09:00:00Z"),
        ([reading(NINE + 3599, 1, 1)], r"readings\[0\]: it overlaps"),
        ([reading(NINE + HOUR), reading(NINE + HOUR, 5)], r"readings\[1\]: .* was measured before"),
        ([reading(NINE + HOUR, 1, HOUR + 1)], r"readings\[0\]: the interval is 3601 seconds long"),
        ([reading(NINE + HOUR, 1, 0)], r"readings\[0\]: the interval is 0 seconds long"),
        ([reading(NINE + HOUR, 1, -60)], r"readings\[0\]: the interval is -60 seconds long"),
        ([reading(NINE + 6 * HOUR, 1, HOUR), reading(NINE + 6 * HOUR + 1)], r"readings\[1\]: .* in the future"),
    ],
)
async def test_what_cannot_be_taken_is_named_and_changes_nothing(
    meter: Meter, readings: Sequence[dict[str, Any]], named: str
) -> None:
    await meter.tell(reading(NINE))
    with pytest.raises(MeasurementInvalid, match=named) as raised:
        await meter.tell(*readings)
    assert raised.value.code is ErrorCode.MEASUREMENT_INVALID
    assert await meter.kept() == [(0, 100)]


async def test_neighbours_and_other_devices_do_not_overlap(meter: Meter) -> None:
    await meter.tell(reading(NINE))
    await meter.tell(reading(NINE - HOUR), reading(NINE + HOUR))
    await meter.tell(reading(NINE + 1800), device_id=OTHER)
    assert await meter.kept() == [(-HOUR, 100), (0, 100), (HOUR, 100)]
    assert await meter.kept(OTHER) == [(1800, 100)]


async def test_a_device_must_be_registered(meter: Meter) -> None:
    with pytest.raises(NotFound) as raised:
        await meter.tell(reading(NINE), device_id="00000000-0000-4000-8000-000000000000")
    assert raised.value.code is ErrorCode.DEVICE_UNKNOWN


async def test_plans_of_one_batch_see_each_other(meter: Meter) -> None:
    scene = Scene(meter.store, NOW_MS)
    request = {"series": [{"device_id": DEVICE, "readings": [reading(NINE)]}]}
    first = await Measuring().plan(Action("a", 1, Kind.MEASUREMENTS, request, NOW_MS), scene)
    again = await Measuring().plan(Action("b", 2, Kind.MEASUREMENTS, request, NOW_MS), scene)
    assert (len(first.writes), len(again.writes), again.result["repeated"]) == (1, 0, 1)


async def test_a_rejected_plan_leaves_nothing_behind_in_its_batch(meter: Meter) -> None:
    scene = Scene(meter.store, NOW_MS)
    bad = {
        "series": [
            {"device_id": DEVICE, "readings": [reading(NINE)]},
            {"device_id": OTHER, "readings": [reading(NINE), reading(NINE + 1)]},
        ]
    }
    with pytest.raises(MeasurementInvalid):
        await Measuring().plan(Action("a", 1, Kind.MEASUREMENTS, bad, NOW_MS), scene)
    good = {"series": [{"device_id": DEVICE, "readings": [reading(NINE, 7)]}]}
    assert len((await Measuring().plan(Action("b", 2, Kind.MEASUREMENTS, good, NOW_MS), scene)).writes) == 1


async def test_the_action_log_gives_the_readings_again(meter: Meter, tmp_path: Path) -> None:
    await meter.tell(reading(NINE), reading(NINE + HOUR, 0))
    await meter.tell(reading(NINE), reading(NINE + 2 * HOUR))
    await meter.tell(reading(NINE + 1800, 3, 60), device_id=OTHER)
    rebuilt = SqliteStore(tmp_path / "again.db", cache_mib=4)
    await rebuilt.open([MEASUREMENTS])
    for action in meter.actions:
        await rebuilt.commit(writes_of(Action.read(action.document())))
    everything = Find(limit=100)
    assert (await rebuilt.find(MEASUREMENTS, everything)).documents == (
        await meter.store.find(MEASUREMENTS, everything)
    ).documents
    await rebuilt.close()


async def test_rejected_actions_rebuild_nothing(meter: Meter) -> None:
    request = {"series": [{"device_id": DEVICE, "readings": [reading(NINE)]}]}
    action = Action("a", 1, Kind.MEASUREMENTS, request, NOW_MS)
    assert not writes_of(action)
    assert not writes_of(action.rejected(MetawattError("no"), NOW_MS))


INTERVALS = st.builds(
    lambda start, length, energy_wh: Reading(start * 300, (start + length) * 300, energy_wh),
    st.integers(0, 60),
    st.integers(1, 12),
    st.integers(0, 2),
)


@given(st.lists(INTERVALS, max_size=12), st.lists(INTERVALS, max_size=6))
def test_what_is_settled_never_overlaps(new: list[Reading], candidates: list[Reading]) -> None:
    known: list[Reading] = []
    for each in candidates:
        if all(each.end <= other.start or other.end <= each.start for other in known):
            known.append(each)
    try:
        fresh, repeated = settle(new, known, str)
    except MeasurementInvalid:
        union = {*new, *known}
        assert any(a.start < b.end and b.start < a.end for a in union for b in union if a is not b and a != b)
        return
    everything = sorted([*known, *fresh])
    assert all(before.end <= after.start for before, after in pairwise(everything))
    assert set(new) <= set(everything)
    assert len(fresh) + repeated == len(new)


def rows(text: str) -> list[tuple[int, dict[str, Any]]]:
    found = read_rows(text.encode(), ProductionRow, ("energy_wh",))
    return [(line, row.model_dump(mode="json")) for line, row in found]


HEADER = "device_id,start,end,energy_wh\n"
ROW = f"{DEVICE},2026-06-01T09:00:00Z,2026-06-01T10:00:00Z,100\n"


def test_csv_becomes_a_series_for_each_device() -> None:
    other = ROW.replace(DEVICE, OTHER.upper())
    text = (
        "\ufeff" + HEADER + ROW + "\n" + other + f'"{DEVICE}",2026-06-01T12:00:00+01:00,2026-06-01T12:00:00Z, 0 \n'
    )
    request = csv_request(rows(text), ("device_id",))
    assert request["series"][0] == {
        "device_id": DEVICE,
        "readings": [reading(NINE), reading(NINE + 2 * HOUR, 0)],
        "rows": [2, 5],
    }
    assert request["series"][1]["rows"] == [4]


async def test_a_row_of_csv_is_named_by_its_line(meter: Meter) -> None:
    request = csv_request(rows(HEADER + ROW + "\n" + ROW.replace(",100", ",101")), ("device_id",))
    with pytest.raises(MeasurementInvalid, match="row 4: 100 Wh"):
        await meter.act(request)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "row 1: the header must be"),
        ("device_id,start,end\n", "row 1: the header must be"),
        (HEADER.replace("start", "start,start"), "row 1: the header must be"),
        (HEADER + ROW + "a,b\n", "row 3: has 2 cells, and the header 4"),
        (HEADER + ROW.replace(",100", ",1.5"), "row 2.energy_wh"),
        (HEADER + ROW.replace(",100", ",-1"), "row 2.energy_wh"),
        (HEADER + ROW.replace(",100", ",1_0"), "row 2.energy_wh"),
        (HEADER + ROW.replace(",100", ","), "row 2.energy_wh: Field required"),
        (HEADER + ROW.replace("09:00:00Z", "09:00:00"), "row 2.start: .*zone"),
        (HEADER + ROW.replace("09:00:00Z", "09:00:00.5Z"), "row 2.start: .*whole second"),
        (HEADER + ROW.replace(DEVICE, "no"), "row 2.device_id"),
        (HEADER + ROW + '"open', "row 3: this is not CSV"),
    ],
)
def test_faults_of_csv_name_their_row(text: str, message: str) -> None:
    with pytest.raises(InvalidFields, match=message):
        rows(text)


def test_csv_that_is_not_utf8_is_refused() -> None:
    with pytest.raises(InvalidFields, match="after row 0: the text is not UTF-8"):
        list(read_rows(HEADER.encode() + b"\xff", ProductionRow, ("energy_wh",)))


def test_only_so_many_faults_are_told() -> None:
    with pytest.raises(InvalidFields) as raised:
        rows(HEADER + "x\n" * 1000)
    assert len(raised.value.detail) == 20
