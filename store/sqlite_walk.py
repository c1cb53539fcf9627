"""Walks along an index as SQL: keyset pagination with None sorted first.

A page that starts after a position is cut into segments, each a contiguous range of the index, so that
SQLite reads no entry that it does not return. Mostly one segment is enough: a row-value comparison.
That comparison is never true for NULLs, so where NULLs can be ahead (descending) or behind (a position
that holds None) there is one segment per free field: for fields a, b and position (x, y, k), ascending,
`a = x, b = y, key > k`, then `a = x, b > y`, then `a > x`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from store.port import Document, Find, Scalar
from store.sqlite_table import Table, quoted
from store.values import KEY_FIELD, free_fields


class Condition(NamedTuple):
    """A term of a WHERE clause, and its parameters."""

    sql: str
    values: tuple[Scalar, ...] = ()


class Segment(NamedTuple):
    """A contiguous range of an index, and the fields that order it."""

    conditions: list[Condition]
    order: Sequence[str]


def _equal(name: str, value: Scalar) -> Condition:
    if value is None:
        return Condition(f"{quoted(name)} IS NULL")
    return Condition(f"{quoted(name)} = ?", (value,))


def _compared(name: str, operator: str, value: Scalar) -> Condition:
    return Condition(f"{quoted(name)} {operator} ?", (value,))


def clause(conditions: Sequence[Condition]) -> tuple[str, list[Scalar]]:
    """A WHERE clause (empty for no conditions) and its parameters."""
    if not conditions:
        return "", []
    where = " WHERE " + " AND ".join(condition.sql for condition in conditions)
    return where, [value for condition in conditions for value in condition.values]


class Walk:
    """A `Find` over one table, as SQL. `find` has been checked."""

    def __init__(self, table: Table, find: Find) -> None:
        self._table = table
        self._find = find
        self._free = free_fields(table.collection, find)
        self._shared = [_equal(name, value) for name, value in find.equals.items()]
        index = None if find.index is None else table.collection.index(find.index)
        self._is_partial = index is not None and index.partial
        if index is not None and index.partial:
            self._shared.append(Condition(f"{quoted(index.fields[0])} IS NOT NULL"))

    def covered(self) -> list[Condition]:
        """What the walk covers, its position aside."""
        return [*self._shared, *self._bounds(self._find)]

    def segments(self) -> Iterator[Segment]:
        """What is left of the walk, in order."""
        find = self._trimmed()
        if find is None:
            return
        covered = [*self._shared, *self._bounds(find)]
        if find.after is None:
            yield Segment(covered, self._free)
        elif self._is_contiguous(find.after):
            yield Segment([*covered, self._beyond(find.after)], self._free)
        else:
            for conditions, order in self._levels(find.after):
                yield Segment([*covered, *conditions], order)

    def select(self, segment: Segment, limit: int) -> tuple[str, list[Scalar]]:
        """The statement that reads a segment in order."""
        direction = " DESC" if self._find.descending else ""
        order = ", ".join(quoted(name) + direction for name in segment.order)
        where, values = clause(segment.conditions)
        sql = f"SELECT {self._table.column_list} FROM {self.source}{where} ORDER BY {order} LIMIT ?"  # noqa: S608
        return sql, [*values, limit]

    @property
    def source(self) -> str:
        """The table, pinned to the walk's index."""
        return self._table.name + self._table.index_hint(self._find.index)

    def position(self, document: Document) -> tuple[Scalar, ...]:
        """Where in the walk a document lies."""
        return tuple(document[name] for name in self._free)

    @property
    def _is_bounded(self) -> bool:
        return self._find.lower is not None or self._find.upper is not None

    def _trimmed(self) -> Find | None:
        """The walk with the further of its position and the bound that it starts at; None when it is over.

        Left with both, SQLite may seek to the bound and then step over all that was read before.
        """
        find = self._find
        if find.after is None or not self._is_bounded:
            return find
        start, descending = find.after[0], find.descending
        if start is None:
            return None if descending else replace(find, after=None)
        if descending:
            is_past = find.upper is None or start < find.upper  # type: ignore[operator]
            return replace(find, upper=None) if is_past else replace(find, after=None)
        is_past = find.lower is None or start >= find.lower  # type: ignore[operator]
        return replace(find, lower=None) if is_past else replace(find, after=None)

    def _bounds(self, find: Find) -> Iterator[Condition]:
        if find.lower is not None:
            yield _compared(self._free[0], ">=", find.lower)
        if find.upper is not None:
            yield _compared(self._free[0], "<", find.upper)

    def _is_contiguous(self, after: Sequence[Scalar]) -> bool:
        """Whether no NULL can lie in what is left, nor in the position."""
        if None in after:
            return False
        if not self._find.descending:
            return True
        first_is_present = self._is_bounded or (self._is_partial and not self._find.equals)
        return len(self._free) == 1 or (len(self._free) == 2 and first_is_present)

    def _beyond(self, after: Sequence[Scalar]) -> Condition:
        names = ", ".join(map(quoted, self._free))
        marks = ", ".join("?" * len(after))
        operator = "<" if self._find.descending else ">"
        return Condition(f"({names}) {operator} ({marks})", tuple(after))

    def _levels(self, after: Sequence[Scalar]) -> Iterator[Segment]:
        for depth in reversed(range(len(self._free))):
            prefix = [_equal(name, value) for name, value in zip(self._free[:depth], after, strict=False)]
            for condition in self._further(self._free[depth], after[depth], depth):
                yield Segment([*prefix, condition], self._free[depth:])

    def _further(self, name: str, value: Scalar, depth: int) -> Iterator[Condition]:
        """What lies beyond `value` in one field, None included."""
        if not self._find.descending:
            yield _compared(name, ">", value) if value is not None else Condition(f"{quoted(name)} IS NOT NULL")
            return
        if value is None:
            return
        yield _compared(name, "<", value)
        is_never_null = name == KEY_FIELD or (depth == 0 and self._is_bounded)
        if not is_never_null:
            yield Condition(f"{quoted(name)} IS NULL")
