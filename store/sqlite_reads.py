"""Reads on one connection: merged point reads, walks, counts and aggregates."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

from store.port import Find, Key, Page, Total
from store.sqlite_keys import SHARED_KEY, SHARED_OF, quoted
from store.sqlite_table import Table
from store.sqlite_walk import covering, select
from store.walk import Segment, Walk

Read: TypeAlias = Callable[[sqlite3.Connection], Any]

_KEYS_PER_SELECT: Final = 256


def _chunks(keys: Iterable[Key]) -> Iterator[list[Key | None]]:
    """The keys without repeats, in lists of few lengths: powers of two, to which they are padded with NULL."""
    wanted = list(dict.fromkeys(keys))
    for start in range(0, len(wanted), _KEYS_PER_SELECT):
        chunk: list[Key | None] = [*wanted[start : start + _KEYS_PER_SELECT]]
        chunk.extend([None] * ((1 << (len(chunk) - 1).bit_length()) - len(chunk)))
        yield chunk


def rows_by_key(connection: sqlite3.Connection, table: Table, keys: Iterable[Key]) -> dict[Key, tuple[Any, ...]]:
    """The rows that exist, in few statements."""
    rows: dict[Key, tuple[Any, ...]] = {}
    for chunk in _chunks(keys):
        marks = ",".join("?" * len(chunk))
        sql = f"SELECT {table.column_list} FROM {table.keys.source} WHERE {table.keys.among(marks)}"  # noqa: S608
        rows.update((row[0], row) for row in connection.execute(sql, chunk).fetchall())
    return rows


def rows_of_each(
    connection: sqlite3.Connection, wanted: Sequence[tuple[Table, Sequence[Key]]]
) -> list[dict[Key, tuple[Any, ...]]]:
    """`rows_by_key` of several tables. Most keys that are asked for together are new ones: a tree that
    tables share is asked first which of the keys it has."""
    if len(wanted) == 1:
        return [rows_by_key(connection, *wanted[0])]
    keys: dict[str, list[Key]] = {}
    for table, asked in wanted:
        if table.keys.tree is not None:
            keys.setdefault(table.keys.tree, []).extend(asked)
    entries = {tree: _entries(connection, tree, asked) for tree, asked in keys.items()}
    present = [_present(table, asked, entries) for table, asked in wanted]
    return [
        rows_by_key(connection, table, there) if there else {}
        for (table, _), there in zip(wanted, present, strict=True)
    ]


def _present(table: Table, keys: Sequence[Key], entries: Mapping[str, set[tuple[Key, int]]]) -> Sequence[Key]:
    """The keys that may have a row."""
    if table.keys.tree is None:
        return keys
    there, number = entries[table.keys.tree], table.keys.number
    return [key for key in keys if (key, number) in there] if there else ()


def _entries(connection: sqlite3.Connection, tree: str, keys: Iterable[Key]) -> set[tuple[Key, int]]:
    """Which of the keys there are, each with the numbers of the collections that have it."""
    entries: set[tuple[Key, int]] = set()
    for chunk in _chunks(keys):
        marks = ",".join("?" * len(chunk))
        sql = f'SELECT "{SHARED_KEY}", "{SHARED_OF}" FROM {tree} WHERE "{SHARED_KEY}" IN ({marks})'  # noqa: S608
        entries.update(connection.execute(sql, chunk).fetchall())
    return entries


def find_page(connection: sqlite3.Connection, table: Table, find: Find) -> Page:
    """One page of a walk, as of one moment."""
    walk = Walk(table.collection, find)
    segments = list(walk.segments(compares_rows=True))
    if len(segments) < 2:
        return _page(connection, table, find, walk, segments)
    connection.execute("BEGIN")
    try:
        return _page(connection, table, find, walk, segments)
    finally:
        connection.execute("COMMIT")


def _page(
    connection: sqlite3.Connection, table: Table, find: Find, walk: Walk, segments: Sequence[Segment]
) -> Page:
    rows: list[tuple[Any, ...]] = []
    for segment in segments:
        statement = select(table, find, segment, find.limit + 1 - len(rows))
        rows += connection.execute(*statement).fetchall()
        if len(rows) > find.limit:
            break
    documents = [table.document(row) for row in rows[: find.limit]]
    return Page(documents, walk.position(documents[-1]) if len(rows) > find.limit else None)


def count(connection: sqlite3.Connection, table: Table, find: Find) -> int:
    """How many documents a walk covers."""
    covered, values = covering(table, find, is_counted=True)
    ((number,),) = connection.execute(f"SELECT COUNT(*){covered}", values).fetchall()
    return int(number)


def aggregate(
    connection: sqlite3.Connection, table: Table, find: Find, group_by: Sequence[str], total: str
) -> list[Total]:
    """Counts and sums by group. The sum is taken in two halves, since SQLite's own stops at 64 bits."""
    covered, values = covering(table, find)
    groups, summed = [quoted(name) for name in group_by], quoted(total)
    sums = f"COUNT(*), COALESCE(SUM({summed} >> 32), 0), COALESCE(SUM({summed} & 4294967295), 0)"
    tail = f" GROUP BY {', '.join(groups)} ORDER BY {', '.join(groups)}" if groups else ""
    sql = f"SELECT {', '.join([*groups, sums])}{covered}{tail}"
    rows = connection.execute(sql, values).fetchall()
    return [Total(tuple(row[:-3]), row[-3], (row[-2] << 32) + row[-1]) for row in rows if groups or row[-3]]
