"""Ranges against sets of integers."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certificates import ranges
from certificates.ranges import Range

each = st.tuples(st.integers(0, 30), st.integers(0, 12)).map(lambda pair: Range(pair[0], pair[0] + pair[1]))
many = st.lists(each, max_size=6)


def ids(some: list[Range]) -> list[int]:
    return sorted(number for one in some for number in range(one.start, one.end + 1))


@given(many)
def test_merge_keeps_the_ids_in_the_fewest_ranges(some: list[Range]) -> None:
    merged = ranges.merge(some)
    assert ids(merged) == sorted(set(ids(some)))
    assert all(left.end + 1 < right.start for left, right in pairwise(merged))


@given(many)
def test_disjoint(some: list[Range]) -> None:
    assert ranges.disjoint(some) == (len(ids(some)) == len(set(ids(some))))


@given(many, many)
def test_partitions_is_every_id_exactly_once(parts: list[Range], whole: list[Range]) -> None:
    exact = ids(parts) == ids(whole) and ranges.disjoint(whole)
    assert ranges.partitions(parts, whole) == exact


@given(many, many)
def test_subtract(whole: list[Range], taken: list[Range]) -> None:
    left = ranges.subtract(whole, taken)
    assert ids(left) == sorted(set(ids(whole)) - set(ids(taken)))
    assert left == ranges.merge(left)


@given(each, st.data())
def test_split_partitions(whole: Range, data: st.DataObject) -> None:
    cuts = data.draw(st.sets(st.integers(1, whole.quantity - 1)) if whole.quantity > 1 else st.just(set()))
    edges = [0, *sorted(cuts), whole.quantity]
    sizes = [right - left for left, right in pairwise(edges)]
    parts = ranges.split(whole, sizes)
    assert [part.quantity for part in parts] == sizes
    assert ranges.partitions(parts, [whole])


@pytest.mark.parametrize("sizes", [[], [0, 10], [11], [9], [-1, 11], [5, 5, 1]])
def test_split_refuses_sizes_that_do_not_add_up(sizes: list[int]) -> None:
    with pytest.raises(ValueError, match="add up"):
        ranges.split(Range(1, 10), sizes)


@pytest.mark.parametrize(("start", "end"), [(-1, 5), (5, 4), (0, 2**53)])
def test_of_refuses(start: int, end: int) -> None:
    with pytest.raises(ValueError, match="not a range"):
        Range.of(start, end)
