"""Readings of consumption: by account and zone, and again from the action log."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from config.errors import ErrorCode, NotFound
from energytag.actions import Action, Kind
from energytag.consumption import CONSUMPTION, Consuming, consumption_digest
from energytag.models.common import moment_of_ms
from energytag.plan import Scene
from energytag.readings import MeasurementInvalid, walk
from energytag.rebuild_measurements import writes_of
from energytag.records import ACCOUNTS
from store.port import Find, Insert
from store.sqlite import SqliteStore

NINE = 1_780_304_400
NOW_MS = (NINE + 7 * 3600) * 1000
ACCOUNT = "7b0c2c1e-5b0f-4f1e-9d3a-2f6f0a1b2c3d"


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(tmp_path / "node.db", cache_mib=4)
    await store.open([ACCOUNTS, CONSUMPTION])
    await store.commit([Insert(ACCOUNTS, {"_id": ACCOUNT, "name": "Mill", "organisation_id": "o"})])
    yield store
    await store.close()


def action(number: int, zone: str, *hours: int, account_id: str = ACCOUNT, energy_wh: int = 50) -> Action:
    readings = [
        {
            "start": moment_of_ms((NINE + hour * 3600) * 1000),
            "end": moment_of_ms((NINE + hour * 3600 + 3600) * 1000),
            "energy_wh": energy_wh,
        }
        for hour in hours
    ]
    request: dict[str, Any] = {"series": [{"account_id": account_id, "zone": zone, "readings": readings}]}
    return Action(f"00000000-0000-7000-8000-{number:012}", number, Kind.CONSUMPTION, request, NOW_MS)


async def settle(store: SqliteStore, each: Action) -> Action:
    plan = await Consuming().plan(each, Scene(store, NOW_MS))
    await store.commit(plan.writes)
    return each.resolved(plan.result, (), NOW_MS)


async def test_zones_are_series_of_their_own(store: SqliteStore) -> None:
    await settle(store, action(1, "DE-LU", 0, 1))
    told = await settle(store, action(2, "NL", 1, 2))
    assert told.result == {"accepted": 2, "repeated": 0, "energy_wh": 100}
    digest = consumption_digest(ACCOUNT, "NL")
    assert [row["zone"] async for row in walk(store, CONSUMPTION, digest, 0, 2**40)] == ["NL", "NL"]
    page = await store.find(CONSUMPTION, Find("account", {"account_id": ACCOUNT}, lower=NINE, upper=NINE + 7200))
    assert sorted((row["zone"], row["start"] - NINE) for row in page.documents) == [
        ("DE-LU", 0),
        ("DE-LU", 3600),
        ("NL", 3600),
    ]


async def test_another_value_is_refused(store: SqliteStore) -> None:
    await settle(store, action(1, "DE-LU", 0))
    with pytest.raises(MeasurementInvalid, match="was measured before"):
        await settle(store, action(2, "DE-LU", 1, 0, energy_wh=51))
    assert await store.count(CONSUMPTION) == 1


async def test_there_must_be_such_an_account(store: SqliteStore) -> None:
    with pytest.raises(NotFound) as raised:
        await settle(store, action(1, "DE-LU", 0, account_id="00000000-0000-4000-8000-000000000000"))
    assert raised.value.code is ErrorCode.ACCOUNT_UNKNOWN


async def test_consumption_is_rebuilt_from_the_action_log(store: SqliteStore, tmp_path: Path) -> None:
    done = [await settle(store, action(1, "DE-LU", 0, 1)), await settle(store, action(2, "DE-LU", 1, 2))]
    again = SqliteStore(tmp_path / "again.db", cache_mib=4)
    await again.open([CONSUMPTION])
    for each in done:
        await again.commit(writes_of(each))
    everything = Find(limit=100)
    rows = (await again.find(CONSUMPTION, everything)).documents
    assert rows == (await store.find(CONSUMPTION, everything)).documents
    assert [row["action_id"][-1] for row in rows] == ["1", "1", "2"]
    await again.close()
