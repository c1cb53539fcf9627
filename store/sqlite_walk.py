"""Walks as SQL."""

from __future__ import annotations

from collections.abc import Sequence

from store.port import Find, Scalar
from store.sqlite_table import Table, quoted
from store.walk import Segment, Term


def _condition(term: Term) -> str:
    if term.value is not None:
        return f"{quoted(term.field)} {term.operator} ?"
    return f"{quoted(term.field)} {'IS NULL' if term.operator == '=' else 'IS NOT NULL'}"


def where(terms: Sequence[Term]) -> tuple[str, list[Scalar]]:
    """A WHERE clause (empty for no terms) and its parameters."""
    if not terms:
        return "", []
    values: list[Scalar] = [term.value for term in terms if term.value is not None]
    return " WHERE " + " AND ".join(map(_condition, terms)), values


def source(table: Table, find: Find) -> str:
    """The table, pinned to the walk's index."""
    return table.name + table.index_hint(find.index)


def select(table: Table, find: Find, segment: Segment, limit: int) -> tuple[str, list[Scalar]]:
    """The statement that reads a segment in order, and its parameters."""
    clause, values = where(segment.terms)
    if segment.beyond is not None:
        names, marks = ", ".join(map(quoted, segment.order)), ", ".join("?" * len(segment.beyond))
        clause += " AND " if clause else " WHERE "
        clause += f"({names}) {'<' if find.descending else '>'} ({marks})"
        values += segment.beyond
    direction = " DESC" if find.descending else ""
    order = ", ".join(quoted(name) + direction for name in segment.order)
    sql = f"SELECT {table.column_list} FROM {source(table, find)}{clause} ORDER BY {order} LIMIT ?"  # noqa: S608
    return sql, [*values, limit]
