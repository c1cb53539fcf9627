"""The query language: what is understood, and what is said of the rest."""

from __future__ import annotations

from typing import Any

import pytest

from config.errors import BadRequest, ErrorCode
from config.settings import LimitSettings
from lookup.filters import MAX_TEXT, MAX_VALUES
from lookup.query import Aggregate, Group, Listing, Ranges, Sort, parse_query

LIMITS = LimitSettings(lookup_limit=500)
KEY = "02" + "11" * 32

BAD: list[tuple[Any, str]] = [
    (None, "not NoneType"),
    (7, "not int"),
    ([], "not list"),
    ("everything", "'everything'"),
    ({"energy_sorce": "wind"}, "did you mean 'energy_source'"),
    ({"Country": "DE"}, "did you mean 'country'"),
    ({"xyzzy": 1}, "there are: account_id"),
    ({5: "x"}, "no '5'"),
    ({"energy_source": 5}, "energy_source must be text, not int"),
    ({"energy_source": ""}, "energy_source must be text, not empty"),
    ({"energy_source": []}, "1 to 32"),
    ({"energy_source": ["wind"] * (MAX_VALUES + 1)}, "1 to 32"),
    ({"energy_source": ["wind", None]}, "not NoneType"),
    ({"zone": "x" * (MAX_TEXT + 1)}, "longer than 256"),
    ({"device_name": "half \ud83d"}, "not Unicode"),
    ({"country": {"$ne": 1}}, "country must be text, not dict"),
    ({"issuer": "02"}, "66 hex digits"),
    ({"owner_key": "zz" * 33}, "66 hex digits"),
    ({"owner_key": "02 " + KEY[3:]}, "66 hex digits"),
    ({"status": "Retired"}, "not one of Active"),
    ({"period_start": "yesterday"}, "RFC 3339"),
    ({"period_start": "2026-06-01T10:00:00"}, "must name its zone"),
    ({"period_start": 1_780_000_000}, "must be text"),
    ({"period_start": "2026-06-01T10:00:00Z", "period_end": "2026-06-01T10:00:00Z"}, "before"),
    ({"min_quantity": "10"}, "integer from 0"),
    ({"min_quantity": -1}, "integer from 0"),
    ({"min_quantity": True}, "integer from 0"),
    ({"min_quantity": 2**53}, "integer from 0"),
    ({"bundle_id": "0x10"}, "integer from 0"),
    ({"bundle_id": "9" * 400}, "integer from 0"),
    ({"limit": 0}, "limit must be an integer from 1 to 500"),
    ({"limit": 501}, "limit must be an integer from 1 to 500"),
    ({"limit": 10.0}, "limit must be an integer"),
    ({"history": 101}, "history must be an integer from 0 to 100"),
    ({"sort": "newer"}, "did you mean 'newest'"),
    ({"cursor": 5}, "cursor must be the text"),
    ({"cursor": "x" * 300}, "cursor must be the text"),
    ({"type": "byDevice", "value": "x"}, "byIssuanceId"),
    ({"type": ["byIssuanceId"], "value": "x"}, "byIssuanceId"),
    ({"type": "byIssuanceId"}, "value must be text"),
    ({"type": "byIssuanceId", "valu": "x"}, "did you mean 'value'"),
    ({"aggregate": ["hour"]}, "aggregate must be an object"),
    ({"aggregate": {}}, "by must be text"),
    ({"aggregate": {"by": []}}, "by must list 1 to 4"),
    ({"aggregate": {"by": ["hours"]}}, "did you mean 'hour'"),
    ({"aggregate": {"by": [["hour"]]}}, "by must be text"),
    ({"aggregate": {"by": "hour", "topics": "tm_x"}}, "cannot be filtered by topics"),
    ({"aggregate": {"by": "hour", "limit": 5}}, "no 'limit'"),
    ({"aggregate": {"by": "hour"}, "country": "DE"}, "no 'country'"),
    ({"ranges": "x"}, "ranges must be an object"),
    ({"ranges": {}}, "ranges.issuance_id must be text"),
    ({"ranges": {"issuance": "x"}}, "did you mean 'issuance_id'"),
]


@pytest.mark.parametrize(("query", "message"), BAD, ids=[str(query)[:60] for query, _ in BAD])
def test_bad_queries(query: Any, message: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parse_query(query, LIMITS)
    assert caught.value.code is ErrorCode.BAD_QUERY
    assert message in caught.value.message


def test_values_take_the_index_s_spelling() -> None:
    query = parse_query(
        {"energy_source": ["Wind", "Solar PV", "wind"], "country": "de", "device_id": "ABC", "owner_key": KEY},
        LIMITS,
    )
    assert isinstance(query, Listing)
    assert query.filters.equals == {
        "energy_source": ("solar_pv", "wind"),
        "country": ("DE",),
        "device_id": ("abc",),
        "owner_key": (bytes.fromhex(KEY),),
    }


def test_the_digest_is_that_of_the_question() -> None:
    def digest(query: Any) -> bytes:
        parsed = parse_query(query, LIMITS)
        assert isinstance(parsed, Listing)
        return parsed.digest

    assert digest({"country": ["DK", "DE"], "limit": 5}) == digest({"country": ["de", "dk"], "history": 1})
    assert digest("all") == digest({}) == digest({"sort": "newest"})
    different = [{}, {"country": "DE"}, {"zone": "DE"}, {"status": "Active"}, {"bundle_id": 1}, {"min_quantity": 1}]
    different += [{"sort": "oldest"}, {"period_end": "2026-06-01T10:00:00Z"}, {"topics": "tm_metawatt_gc"}]
    assert len({digest(query) for query in different}) == len(different)


def test_limits_when_none_is_given() -> None:
    assert [parse_query(query, LIMITS).limit for query in ("all", {})] == [500, 100]  # type: ignore[union-attr]
    assert parse_query({}, LimitSettings(lookup_limit=20)).limit == 20  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("query", "sort"),
    [
        ({}, Sort.NEWEST),
        ({"country": "DE"}, Sort.NEWEST),
        ({"device_name": "x"}, Sort.LATEST_PERIOD),
        ({"account_id": "x"}, Sort.LATEST_PERIOD),
        ({"period_end": "2026-06-01T10:00:00Z"}, Sort.LATEST_PERIOD),
        ({"device_id": "x", "sort": "oldest"}, Sort.OLDEST),
    ],
)
def test_the_usual_sort(query: Any, sort: Sort) -> None:
    assert parse_query(query, LIMITS).sort is sort  # type: ignore[union-attr]


def test_the_other_questions() -> None:
    aggregate = parse_query({"aggregate": {"by": ["status", "hour"], "country": "DE"}}, LIMITS)
    assert isinstance(aggregate, Aggregate)
    assert aggregate.by == (Group.STATUS, Group.HOUR)
    assert parse_query({"ranges": {"issuance_id": "x"}}, LIMITS) == Ranges("x")
