"""Which index answers which question."""

from __future__ import annotations

from typing import Any

import pytest

from lookup.filters import Filters, parse_filters
from lookup.planner import MOST_WALKS, plan
from lookup.query import Sort
from lookup.records import CERTIFICATES

WINDOW = {"period_start": "1970-01-01T00:00:10Z", "period_end": "1970-01-01T00:00:20Z"}
KEY = "02" + "11" * 32

TABLE: list[tuple[dict[str, Any], Sort, list[str], bool]] = [
    ({}, Sort.NEWEST, ["live"], False),
    ({}, Sort.EARLIEST_PERIOD, ["live_period"], False),
    ({"country": "DE"}, Sort.NEWEST, ["live_country"], False),
    ({"country": "DE"}, Sort.LATEST_PERIOD, ["live_period"], False),
    ({"energy_source": "wind"}, Sort.OLDEST, ["live_source"], False),
    ({"energy_source": "wind", "country": "DE"}, Sort.NEWEST, ["live_country_source"], False),
    ({"energy_source": "wind", "country": "DE"}, Sort.LATEST_PERIOD, ["live_period"], False),
    (
        {"energy_source": ["wind", "hydro"], "country": ["DE", "DK"]},
        Sort.NEWEST,
        ["live_country_source"] * 4,
        False,
    ),
    ({"zone": "DE-LU"}, Sort.NEWEST, ["live"], False),
    ({"issuance_id": "i", "country": "DE"}, Sort.NEWEST, ["issuance"], False),
    ({"issuance_id": "i"}, Sort.LATEST_PERIOD, ["issuance"], True),
    ({"issuance_id": ["i", "j"]}, Sort.NEWEST, ["issuance"] * 2, False),
    ({"owner_key": KEY, "device_id": "d"}, Sort.NEWEST, ["owner"], False),
    ({"device_id": "d", "status": "lost"}, Sort.LATEST_PERIOD, ["lost_period"], False),
    ({"device_id": "d"}, Sort.LATEST_PERIOD, ["device"], False),
    ({"device_id": "d"}, Sort.NEWEST, ["device"], True),
    ({"account_id": "a", "status": "Active"}, Sort.LATEST_PERIOD, ["account"], False),
    ({"account_id": "a", "status": "Cancelled"}, Sort.LATEST_PERIOD, ["account"], False),
    ({"account_id": "a", "status": "Expired"}, Sort.LATEST_PERIOD, ["account"] * 2, False),
    ({"account_id": "a"}, Sort.LATEST_PERIOD, ["account"] * 7, False),
    ({"account_id": "a", "status": "Withdrawn"}, Sort.NEWEST, [*["account"] * 4, "lost"], True),
    ({"status": "Active"}, Sort.NEWEST, ["live"], False),
    ({"status": "Cancelled"}, Sort.NEWEST, ["other_status"], False),
    ({"status": ["Cancelled", "Claimed"]}, Sort.LATEST_PERIOD, ["other_status_period"] * 2, False),
    ({"status": ["Cancelled", "Active"]}, Sort.NEWEST, ["live"], False),
    ({"status": "Cancelled", "country": "DE"}, Sort.NEWEST, ["other_status"], False),
    (
        {"status": "Cancelled", "country": "DE", "energy_source": "wind"},
        Sort.NEWEST,
        ["live_country_source"],
        False,
    ),
    ({"status": "Expired"}, Sort.NEWEST, ["live"], False),
    ({"status": "Withdrawn"}, Sort.NEWEST, ["live", "lost"], False),
    ({"status": "Withdrawn", "issuance_id": "i"}, Sort.NEWEST, ["issuance"], False),
    ({"status": "lost"}, Sort.NEWEST, ["lost"], False),
    ({"status": ["lost", "Reserved"]}, Sort.NEWEST, ["other_status", "lost"], False),
]


@pytest.mark.parametrize(("filters", "sort", "indexes", "is_gathered"), TABLE)
def test_the_plan(filters: dict[str, Any], sort: Sort, indexes: list[str], is_gathered: bool) -> None:
    way = plan(parse_filters(filters), sort)
    assert [walk.index for walk in way.walks] == indexes
    assert way.is_gathered is is_gathered


@pytest.mark.parametrize(("filters", "sort", "indexes", "is_gathered"), TABLE)
def test_a_plan_can_be_walked_and_merged(
    filters: dict[str, Any], sort: Sort, indexes: list[str], is_gathered: bool
) -> None:
    """Every walk fixes a prefix of its index, and what follows is the sort field alone, unless gathered."""
    for walk in plan(parse_filters(filters | WINDOW), sort).walks:
        fields = CERTIFICATES.index(walk.index).fields
        assert tuple(walk.equals) == fields[:-1]
        assert is_gathered or fields[-1] == sort.field
        bounded = fields[-1] == "period_start"
        assert (walk.lower, walk.upper) == ((10, 20) if bounded else (None, None))


def test_walks_are_bounded() -> None:
    """Two long lists would multiply: one of them is then filtered from the other's walks."""
    countries = tuple(f"C{number:02}" for number in range(MOST_WALKS))
    way = plan(Filters({"country": countries, "energy_source": ("hydro", "wind")}), Sort.NEWEST)
    assert [walk.index for walk in way.walks] == ["live_country"] * MOST_WALKS


def test_every_index_serves_some_question() -> None:
    used = {index for *_, indexes, _ in TABLE for index in indexes}
    assert used == {index.name for index in CERTIFICATES.indexes}


@pytest.mark.parametrize("standings", [(None,), (None, "Reserved"), ("Cancelled",)])
def test_an_account_s_tokens_of_some_statuses_alone(standings: tuple[str | None, ...]) -> None:
    """What is asked of the tokens themselves, whatever notices say, leads to these runs and no others."""
    way = plan(Filters({"account_id": ("a",), "other_status": standings}), Sort.EARLIEST_PERIOD)
    assert [walk.equals for walk in way.walks] == [
        {"live": 1, "account_id": "a", "other_status": each} for each in standings
    ]
