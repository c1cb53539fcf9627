"""Selection: which bundles, and which of their certificates, an action takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certificates.lifecycle import Status
from certificates.ranges import Range, disjoint, merge, partitions, subtract
from energytag.models.certificate_actions import GranularCertificateTransfer
from energytag.models.common import InvalidFields, read, written
from energytag.selection import Candidate, Criteria, NothingSelected, QuantityLacking, Taken, divide, suffices, take

ACCOUNT = "0b7cdd5c-2b0c-4d0e-9d1b-6f6f8a3d9d11"
DEVICE = "5d1f3f5e-93a2-4a6b-8f5d-0e6a9a1c7b42"
ISSUANCE = "83dc9641-5bf5-8b53-b7e8-9238baa82015"
HOUR = 3600


def body(**fields: Any) -> dict[str, Any]:
    return {"source_account_id": ACCOUNT, "source_user_id": ACCOUNT} | fields


def criteria(**fields: Any) -> Criteria:
    return Criteria.read(written(read(GranularCertificateTransfer, body(**fields))))


def ranges_of(**fields: Any) -> dict[str, Any]:
    names = {"start": "source_certificate_bundle_id_range_start", "end": "source_certificate_bundle_id_range_end"}
    return {names.get(name, name): value for name, value in fields.items()} | {
        "source_certificate_issuance_id": ISSUANCE
    }


def bundle(start: int, end: int, hour: int = 0, free: Sequence[tuple[int, int]] | None = None) -> Candidate:
    """A bundle whose outpoint tells its first number."""
    parts = tuple(Range(*each) for each in free) if free is not None else (Range(start, end),)
    outpoint = bytes([hour]) * 32 + start.to_bytes(4, "little")
    return Candidate(outpoint, f"issuance {hour}", hour * HOUR, Range(start, end), parts)


TWO_HOURS = [bundle(101, 200, 1), bundle(1, 100, 0)]
CUT = [bundle(1, 50), bundle(51, 60), bundle(61, 100)]


@pytest.mark.parametrize(
    ("asked", "bundles", "expected"),
    [
        ({}, TWO_HOURS, [(1, 100), (101, 200)]),
        ({"certificate_quantity": 1}, TWO_HOURS, [(1, 1)]),
        ({"certificate_quantity": 100}, TWO_HOURS, [(1, 100)]),
        ({"certificate_quantity": 101}, TWO_HOURS, [(1, 100), (101, 101)]),
        ({"certificate_quantity": 200}, TWO_HOURS, [(1, 100), (101, 200)]),
        (ranges_of(start=20, end=80), CUT, [(20, 50), (51, 60), (61, 80)]),
        (ranges_of(start=55), CUT, [(55, 60), (61, 100)]),
        (ranges_of(end=50), CUT, [(1, 50)]),
        (ranges_of(start=52, end=52), CUT, [(52, 52)]),
        (ranges_of(start=90, end=95, certificate_quantity=3), CUT, [(1, 3)]),
        ({}, [bundle(1, 100, 0, [(1, 10), (21, 100)])], [(1, 10), (21, 100)]),
        ({"certificate_quantity": 11}, [bundle(1, 100, 0, [(1, 10), (21, 100)])], [(1, 10), (21, 21)]),
        (ranges_of(start=5, end=9), [bundle(1, 100, 0, [(1, 10), (21, 100)])], [(5, 9)]),
    ],
)
def test_what_is_taken(asked: dict[str, Any], bundles: list[Candidate], expected: list[tuple[int, int]]) -> None:
    taken = take(criteria(**asked), bundles)
    assert [tuple(part) for each in taken for part in each.parts] == expected


@pytest.mark.parametrize(
    ("asked", "bundles", "error"),
    [
        ({}, [], NothingSelected),
        ({"certificate_quantity": 1}, [], NothingSelected),
        ({}, [bundle(1, 10, 0, [])], NothingSelected),
        ({"certificate_quantity": 201}, TWO_HOURS, QuantityLacking),
        (ranges_of(start=101, end=110), CUT, NothingSelected),
        (ranges_of(start=91, end=101), CUT, QuantityLacking),
        (ranges_of(start=1, end=60), [bundle(1, 50), bundle(61, 100)], QuantityLacking),
        (ranges_of(start=5, end=25), [bundle(1, 100, 0, [(1, 10), (21, 100)])], QuantityLacking),
    ],
)
def test_what_cannot_be_taken(asked: dict[str, Any], bundles: list[Candidate], error: type[Exception]) -> None:
    with pytest.raises(error):
        take(criteria(**asked), bundles)


def test_one_moment_is_ordered_by_numbers() -> None:
    bundles = [bundle(51, 60), bundle(1, 50), bundle(61, 100)]
    assert [each.whole.start for each in take(criteria(), bundles)] == [1, 51, 61]


def test_what_is_read_of_a_body() -> None:
    found = criteria(
        source_certificate_issuance_id=ISSUANCE,
        source_certificate_bundle_id_range_start=3,
        certificate_period_start="2026-01-01T01:00:00+01:00",
        certificate_period_end="2026-01-02T00:00:00Z",
        certificate_status="reserved",
        device_id=DEVICE,
        energy_source=["Solar PV", "wind", "solar_pv"],
    )
    assert found == Criteria(
        ACCOUNT, ISSUANCE, 3, None, 1767225600, 1767312000, None, Status.RESERVED, DEVICE, ("solar_pv", "wind")
    )
    (question,) = found.questions()
    assert question.equals == {
        "account_id": (ACCOUNT,),
        "issuance_id": (ISSUANCE,),
        "device_id": (DEVICE,),
        "energy_source": ("solar_pv", "wind"),
    }
    assert (question.period_start, question.period_end) == (1767225600, 1767312000)


def test_the_sparse_list_overrides_all_but_the_account_and_the_quantity() -> None:
    found = criteria(
        sparse_filter_list={DEVICE: "2026-01-01T00:30:00Z"},
        certificate_status="Cancelled",
        device_id=ISSUANCE,
        source_certificate_bundle_id_range_start=5,
        certificate_quantity=7,
    )
    assert found == Criteria(ACCOUNT, quantity=7, sparse={DEVICE: 1767227400})
    (question,) = found.questions()
    assert question.equals == {"account_id": (ACCOUNT,), "device_id": (DEVICE,)}


@pytest.mark.parametrize(
    ("start", "end", "is_meant"),
    [(0, 1, True), (0.5, 1, True), (0.25, 0.5, False), (0.75, 1, False), (1, 2, False)],
)
def test_a_sparse_moment_means_the_interval_that_holds_it(start: float, end: float, is_meant: bool) -> None:
    found = criteria(sparse_filter_list={DEVICE: "2026-01-01T00:30:00Z"})
    midnight = 1767225600
    record = {
        "device_id": DEVICE,
        "period_start": int(midnight + start * HOUR),
        "period_end": int(midnight + end * HOUR),
    }
    (question,) = found.questions()
    assert question.period_start is not None
    assert question.period_end is not None
    in_window = question.period_start <= record["period_start"] and record["period_end"] <= question.period_end
    assert found.admits(record) is is_meant
    assert in_window or not is_meant


@pytest.mark.parametrize(
    "fields",
    [
        {"source_certificate_bundle_id_range_start": 1},
        {"source_certificate_bundle_id_range_end": 1},
        ranges_of(start=2, end=1),
        {"certificate_quantity": 0},
        {"certificate_quantity": 1.5},
        {"certificate_status": "Gone"},
        {"energy_source": []},
        {"energy_source": "wind"},
        {"sparse_filter_list": {}},
        {"sparse_filter_list": {"no uuid": "2026-01-01T00:00:00Z"}},
        {"sparse_filter_list": {DEVICE: "2026-01-01T00:00:00"}},
        {"certificate_period_start": "2026-01-02T00:00:00Z", "certificate_period_end": "2026-01-02T00:00:00Z"},
        {"device": DEVICE},
    ],
)
def test_bodies_that_make_no_sense(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidFields):
        criteria(**fields)


def test_what_the_registry_fills_in_is_accepted_and_not_read() -> None:
    given_back = written(
        read(
            GranularCertificateTransfer,
            body(action_id=ISSUANCE, action_request_datetime="2026-01-01T00:00:00Z"),
        )
    )
    assert given_back == body()


@pytest.mark.parametrize(
    ("quantity", "until", "expected"), [(None, 9, False), (100, 0, False), (100, 1, True), (101, 1, False)]
)
def test_later_production_is_not_looked_at_when_there_is_enough(
    quantity: int | None, until: int, expected: bool
) -> None:
    assert suffices(Criteria(ACCOUNT, quantity=quantity), TWO_HOURS, until * HOUR) is expected


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [([10], [(1, 10), (11, 100)]), ([100], [(1, 100)]), ([1, 98, 1], [(1, 1), (2, 99), (100, 100)])],
)
def test_one_bundle_divided_by_sizes(sizes: list[int], expected: list[tuple[int, int]]) -> None:
    taken = Taken(bytes(36), Range(1, 100), (Range(1, 100),))
    assert [tuple(each) for each in divide(taken, sizes)] == expected


@pytest.mark.parametrize(
    ("parts", "sizes"), [(((1, 100),), [101]), (((1, 10), (21, 100)), [10]), (((1, 100),), [60, 41])]
)
def test_sizes_that_do_not_fit(parts: tuple[tuple[int, int], ...], sizes: list[int]) -> None:
    with pytest.raises(QuantityLacking):
        divide(Taken(bytes(36), Range(1, 100), tuple(Range(*each) for each in parts)), sizes)


@st.composite
def bundles_of_one_issuance(draw: st.DrawFn) -> list[Candidate]:
    """Bundles side by side, of some hours, with withdrawn numbers here and there; in any order."""
    bundles, start = [], draw(st.integers(0, 5))
    for index in range(draw(st.integers(1, 6))):
        end = start + draw(st.integers(0, 30))
        hole = draw(st.one_of(st.none(), st.tuples(st.integers(start, end), st.integers(0, 5))))
        holes = [] if hole is None else [Range(hole[0], hole[0] + hole[1])]
        outpoint = index.to_bytes(36, "big")
        free = tuple(subtract([Range(start, end)], holes))
        hour = draw(st.integers(0, 3)) * HOUR
        bundles.append(Candidate(outpoint, ISSUANCE, hour, Range(start, end), free))
        start = end + 1 + draw(st.integers(0, 3))
    return draw(st.permutations(bundles))


@given(
    bundles_of_one_issuance(), st.one_of(st.none(), st.integers(1, 120)), st.integers(0, 100), st.integers(0, 60)
)
def test_taken_and_kept_partition_each_bundle(
    bundles: list[Candidate], quantity: int | None, start: int, length: int
) -> None:
    asked = Criteria(ACCOUNT, ISSUANCE, start, start + length if length else None, quantity=quantity)
    free = {each.outpoint: each.within(asked.numbers).free for each in bundles}
    there = sum(part.quantity for parts in free.values() for part in parts)
    try:
        taken = take(asked, bundles)
    except NothingSelected:
        assert there == 0
        return
    except QuantityLacking:
        assert there < (quantity or length + 1)
        return
    for each in taken:
        assert partitions([*each.parts, *each.kept], [each.whole])
        assert disjoint(each.parts)
        assert not subtract(each.parts, free[each.outpoint])
    total = sum(each.quantity for each in taken)
    assert total == (there if quantity is None else quantity)
    if quantity is not None:
        _check_order(taken, {each.outpoint: each for each in bundles}, there - total)


def _check_order(taken: list[Taken], bundles: dict[bytes, Candidate], left: int) -> None:
    """All but the last bundle are taken whole, the last from its start, and what is left comes later."""
    for each in taken[:-1]:
        assert each.parts == bundles[each.outpoint].free
    last = taken[-1]
    rest = subtract(bundles[last.outpoint].free, last.parts)
    assert not rest or last.parts[-1].end < rest[0].start
    order = [(bundles[each.outpoint].period_start, each.whole) for each in taken]
    assert order == sorted(order)
    untouched = [each for each in bundles.values() if each.outpoint not in {one.outpoint for one in taken}]
    assert all((each.period_start, each.whole) > order[-1] for each in untouched if each.free)
    assert left == sum(each.quantity for each in [*rest, *(part for one in untouched for part in one.free)])


@given(st.lists(st.integers(1, 20), min_size=1, max_size=8), st.integers(0, 50))
def test_divided_parts_are_the_whole_again(sizes: list[int], more: int) -> None:
    whole = Range(7, 6 + sum(sizes) + more)
    parts = divide(Taken(bytes(36), whole, (whole,)), sizes)
    assert partitions(parts, [whole])
    assert [each.quantity for each in parts[: len(sizes)]] == sizes
    assert merge(parts) == [whole]
