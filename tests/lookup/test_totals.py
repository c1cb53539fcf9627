"""Sums agree with listings, are integers, and are bounded."""

from __future__ import annotations

from typing import Any

import pytest

from certificates import successor
from certificates.ranges import Range
from config.errors import BadRequest, ErrorCode

YEARS_LATER_MS = 1_900_000_000_000


@pytest.fixture
async def stocked(node: Any) -> Any:
    """Solar in two hours, wind in two countries, one of each of several fates."""
    late = {
        "production_starting_interval": "2026-06-01T11:15:00Z",
        "production_ending_interval": "2026-06-01T11:30:00Z",
    }
    wind = {"energy_source": "wind", "country_of_issuance": "DK"}
    await node.issue()
    await node.issue(Range(1, 10), **late, face_value=1000)
    cancelled, withdrawn, lost = await node.issue(**wind), await node.issue(**wind), await node.issue(**wind)
    await node.replace([cancelled], [successor.cancel(node.tokens[cancelled], "ACME", node.key())])
    await node.notice(withdrawn, Range(1, 5))
    await node.lose(lost)
    return node


def row(bundles: int, quantity: int, quantity_wh: int | None = None, **group: Any) -> dict[str, Any]:
    wh = quantity if quantity_wh is None else quantity_wh
    return {**group, "bundles": bundles, "quantity": quantity, "quantity_wh": wh}


SUMS: list[tuple[dict[str, Any], list[dict[str, Any]]]] = [
    (
        {"by": ["energy_source"]},
        [row(2, 1010, 11000, energy_source="solar_pv"), row(2, 2000, energy_source="wind")],
    ),
    ({"by": "country", "energy_source": "wind"}, [row(2, 2000, country="DK")]),
    (
        {"by": ["hour"], "country": "DE"},
        [row(1, 1000, hour="2026-06-01T10:00:00Z"), row(1, 10, 10000, hour="2026-06-01T11:00:00Z")],
    ),
    (
        {"by": ["status"]},
        [row(2, 1010, 11000, status="Active"), row(1, 1000, status="Cancelled"), row(1, 1000, status="Withdrawn")],
    ),
    (
        {"by": ["country", "status"], "status": ["Cancelled", "Withdrawn"]},
        [row(1, 1000, country="DK", status="Cancelled"), row(1, 1000, country="DK", status="Withdrawn")],
    ),
    ({"by": "energy_source", "status": "Active"}, [row(2, 1010, 11000, energy_source="solar_pv")]),
    ({"by": "country", "status": "Cancelled", "energy_source": ["wind", "hydro"]}, [row(1, 1000, country="DK")]),
    (
        {"by": "country", "period_start": "2026-06-01T10:30:00Z", "period_end": "2026-06-01T12:00:00Z"},
        [row(1, 10, 10000, country="DE")],
    ),
    (
        {"by": "country", "period_end": "2026-06-01T11:20:00Z", "zone": "DE-LU", "country": "DE"},
        [row(1, 1000, country="DE")],
    ),
    ({"by": "country", "device_name": "Nobody's"}, []),
]


@pytest.mark.parametrize(("asked", "rows"), SUMS, ids=str)
async def test_sums(stocked: Any, asked: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    answer = await stocked.ask({"aggregate": asked})
    assert answer.result == rows
    filters = {name: value for name, value in asked.items() if name != "by"}
    assert sum(each["bundles"] for each in rows) == len(await stocked.find(filters))


async def test_sums_of_identities(stocked: Any) -> None:
    for coin in await stocked.find():
        token = stocked.tokens[coin]
        for filters in (
            {"issuance_id": token.issuance_id},
            {"owner_key": token.locking_key.hex()},
            {"device_id": token.bundle.attributes["device_id"]},
        ):
            (sums,) = (await stocked.ask({"aggregate": {"by": "country", **filters}})).result
            assert sums["bundles"] == 1
            assert sums["quantity_wh"] == token.bundle.energy_wh


async def test_expiry_is_computed(stocked: Any) -> None:
    answer = await stocked.ask({"aggregate": {"by": "status"}}, YEARS_LATER_MS)
    assert {each["status"]: each["bundles"] for each in answer.result} == {
        "Expired": 2,
        "Cancelled": 1,
        "Withdrawn": 1,
    }


async def test_bounds(small_node: Any) -> None:
    async with small_node(lookup_limit=1) as node:
        await node.issue()
        await node.issue(country_of_issuance="DK")
        with pytest.raises(BadRequest, match="has 2 rows, more than 1") as caught:
            await node.ask({"aggregate": {"by": "country"}})
        assert caught.value.code is ErrorCode.BAD_QUERY
        with pytest.raises(BadRequest, match="live outputs"):
            await node.ask({"aggregate": {"by": "country", "status": "lost"}})
