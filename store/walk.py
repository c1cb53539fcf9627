"""Walks along an index with None sorted first, cut into contiguous ranges; shared by the drivers.

A page that starts after a position is read as segments, each a contiguous range of the index, so that a
database looks at no entry that it does not return. For free fields a, b and position (x, y, k), ascending:
`a = x, b = y, key > k`, then `a = x, b > y`, then `a > x`; descending, the documents that hold None come
as ranges of their own, last.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Literal, NamedTuple, TypeAlias

from store.port import Collection, Document, Find, Scalar
from store.values import KEY_FIELD, free_fields

Operator: TypeAlias = Literal["=", "<", ">", ">="]


class Term(NamedTuple):
    """A comparison of one field. `= None` is "holds None", `> None` is "holds something"."""

    field: str
    operator: Operator
    value: Scalar


class Segment(NamedTuple):
    """A contiguous range of an index, and the fields that order it.

    `beyond`, when given, is a position of all fields of `order` that the range starts after.
    """

    terms: list[Term]
    order: Sequence[str]
    beyond: tuple[Scalar, ...] | None = None


class Walk:
    """A `Find` that has been checked, cut up."""

    def __init__(self, collection: Collection, find: Find) -> None:
        self._find = find
        self.free = free_fields(collection, find)
        index = None if find.index is None else collection.index(find.index)
        self._is_bounded = find.lower is not None or find.upper is not None
        excludes_none = index is not None and index.partial and not find.equals
        self._first_is_present = self._is_bounded or excludes_none
        self._shared = [Term(name, "=", value) for name, value in find.equals.items()]
        if excludes_none:
            self._shared.append(Term(self.free[0], ">", None))

    def covered(self) -> list[Term]:
        """What the walk covers, its position aside."""
        return [*self._shared, *self._bounds(self._find)]

    def segments(self, *, compares_rows: bool) -> Iterator[Segment]:
        """What is left of the walk, in order. A database that `compares_rows` is given `beyond` where
        one range will do."""
        find = self._trimmed()
        if find is None:
            return
        covered = [*self._shared, *self._bounds(find)]
        if find.after is None:
            yield Segment(covered, self.free)
        elif compares_rows and self._is_contiguous(find.after):
            yield Segment(covered, self.free, find.after)
        else:
            for terms, order, _ in self._levels(find.after):
                # Deeper levels fix the field that the bounds are on, at a value inside them. Given both,
                # SQLite takes the bound for its range and sorts.
                is_outermost = len(order) == len(self.free)
                yield Segment([*(covered if is_outermost else self._shared), *terms], order)

    def position(self, document: Document) -> tuple[Scalar, ...]:
        """Where in the walk a document lies."""
        return tuple(document[name] for name in self.free)

    def _trimmed(self) -> Find | None:
        """The walk with the further of its position and the bound that it starts at; None when it is over.

        Left with both, a database may seek to the bound and then step over all that was read before.
        """
        find = self._find
        if find.after is None or not self._is_bounded:
            return find
        start = find.after[0]
        if start is None:
            return None if find.descending else replace(find, after=None)
        is_below = find.lower is not None and start < find.lower  # type: ignore[operator]
        is_above = find.upper is not None and start >= find.upper  # type: ignore[operator]
        if is_above if find.descending else is_below:
            return replace(find, after=None)
        if is_below or is_above:
            return None
        return replace(find, upper=None) if find.descending else replace(find, lower=None)

    def _bounds(self, find: Find) -> Iterator[Term]:
        if find.lower is not None:
            yield Term(self.free[0], ">=", find.lower)
        if find.upper is not None:
            yield Term(self.free[0], "<", find.upper)

    def _is_contiguous(self, after: Sequence[Scalar]) -> bool:
        """Whether no None can lie in what is left, nor in the position."""
        if None in after:
            return False
        if not self._find.descending:
            return True
        return len(self.free) == 1 or (len(self.free) == 2 and self._first_is_present)

    def _levels(self, after: Sequence[Scalar]) -> Iterator[Segment]:
        for depth in reversed(range(len(self.free))):
            prefix = [Term(name, "=", value) for name, value in zip(self.free[:depth], after, strict=False)]
            for term in self._further(depth, after[depth]):
                yield Segment([*prefix, term], self.free[depth:])

    def _further(self, depth: int, value: Scalar) -> Iterator[Term]:
        """What lies beyond `value` in one field, None included."""
        name = self.free[depth]
        if not self._find.descending:
            yield Term(name, ">", value)
            return
        if value is None:
            return
        yield Term(name, "<", value)
        if name != KEY_FIELD and not (depth == 0 and self._first_is_present):
            yield Term(name, "=", None)
