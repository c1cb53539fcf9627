"""Walks as SQL."""

from __future__ import annotations

from store.port import Find, Scalar
from store.sqlite_keys import quoted
from store.sqlite_table import Table
from store.values import KEY_FIELD
from store.walk import Segment, Term, Walk


def _column(table: Table, find: Find, name: str) -> str:
    return quoted(table.keys.column if find.index is None and name == KEY_FIELD else name)


def _condition(column: str, term: Term) -> str:
    if term.value is not None:
        return f"{column} {term.operator} ?"
    return f"{column} {'IS NULL' if term.operator == '=' else 'IS NOT NULL'}"


def where(table: Table, find: Find, segment: Segment) -> tuple[str, list[Scalar]]:
    """A WHERE clause (empty when all is covered) and its parameters."""
    conditions = [_condition(_column(table, find, term.field), term) for term in segment.terms]
    values: list[Scalar] = [term.value for term in segment.terms if term.value is not None]
    if segment.beyond is not None:
        names = ", ".join(_column(table, find, name) for name in segment.order)
        conditions.append(f"({names}) {'<' if find.descending else '>'} ({', '.join('?' * len(segment.beyond))})")
        values += segment.beyond
    if find.index is None and table.keys.covered is not None:
        conditions.append(table.keys.covered)
    return " WHERE " + " AND ".join(conditions) if conditions else "", values


def select(table: Table, find: Find, segment: Segment, limit: int) -> tuple[str, list[Scalar]]:
    """The statement that reads a segment in order, and its parameters."""
    clause, values = where(table, find, segment)
    direction = " DESC" if find.descending else ""
    order = ", ".join(_column(table, find, name) + direction for name in segment.order)
    source = table.walked(find.index)
    sql = f"SELECT {table.column_list} FROM {source}{clause} ORDER BY {order} LIMIT ?"  # noqa: S608
    return sql, [*values, limit]


def covering(table: Table, find: Find, *, is_counted: bool = False) -> tuple[str, list[Scalar]]:
    """The FROM and WHERE clauses of all that a walk covers, and their parameters. Rows that are only
    counted are not read."""
    segment = Segment(Walk(table.collection, find).covered(), ())
    if find.index is not None or segment.terms:
        source = table.keys.entries if is_counted and find.index is None else table.walked(find.index)
    elif is_counted and not table.has_whole_index:
        source = table.keys.entries
    else:
        return f" FROM {table.name}", []
    clause, values = where(table, find, segment)
    return f" FROM {source}{clause}", values
