"""Ranges of certificate ids: integers, both ends inclusive."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

from certificates.document import MAX_INTEGER


class Range(NamedTuple):
    """`start` to `end`, both included; a range is never empty. Build one of unchecked numbers with `of`."""

    start: int
    end: int

    @classmethod
    def of(cls, start: int, end: int) -> Range:
        """A checked range; ValueError unless 0 ≤ start ≤ end < 2^53."""
        if not 0 <= start <= end <= MAX_INTEGER:
            raise ValueError(f"{start}..{end} is not a range of certificate ids")
        return cls(start, end)

    @property
    def quantity(self) -> int:
        """How many ids the range has."""
        return self.end - self.start + 1

    def overlaps(self, other: Range) -> bool:
        return self.start <= other.end and other.start <= self.end

    def __str__(self) -> str:
        return f"{self.start}..{self.end}"


def disjoint(ranges: Iterable[Range]) -> bool:
    """Whether no id is in two of the ranges."""
    return all(left.end < right.start for left, right in pairwise(sorted(ranges)))


def merge(ranges: Iterable[Range]) -> list[Range]:
    """The same ids in the fewest ranges, ascending; overlaps and neighbours are joined."""
    merged: list[Range] = []
    for each in sorted(ranges):
        if merged and each.start <= merged[-1].end + 1:
            last = merged.pop()
            merged.append(Range(last.start, max(last.end, each.end)))
        else:
            merged.append(each)
    return merged


def partitions(parts: Sequence[Range], whole: Sequence[Range]) -> bool:
    """Whether the parts cover the whole exactly: every id once, none missing, none added (I5)."""
    return disjoint(parts) and disjoint(whole) and merge(parts) == merge(whole)


def subtract(whole: Iterable[Range], taken: Iterable[Range]) -> list[Range]:
    """What is left of `whole` without the ids of `taken`, ascending and joined; one pass over both."""
    left: list[Range] = []
    holes = merge(taken)
    position = 0
    for each in merge(whole):
        start = each.start
        while position < len(holes) and holes[position].start <= each.end:
            hole = holes[position]
            if start < hole.start:
                left.append(Range(start, hole.start - 1))
            start = max(start, hole.end + 1)
            if hole.end > each.end:
                break
            position += 1
        if start <= each.end:
            left.append(Range(start, each.end))
    return left


def split(whole: Range, sizes: Sequence[int]) -> list[Range]:
    """Consecutive parts of these sizes; ValueError unless they are positive and add up to the whole."""
    if not sizes or min(sizes) < 1 or sum(sizes) != whole.quantity:
        raise ValueError(f"sizes {list(sizes)} do not add up to the {whole.quantity} certificates of {whole}")
    parts, start = [], whole.start
    for size in sizes:
        parts.append(Range(start, start + size - 1))
        start += size
    return parts
