"""The schema: numbered steps, and what collections declare, applied at open under the write lock.

`version` is what the newest code that opened the file knows; `compatible` is the oldest code that may
still use it. Code adds columns and indexes freely (older code carries columns along that it does not
declare); a step that older code cannot live with raises `compatible`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from config.errors import Internal
from store.port import Collection, Kind, StoreTooNew
from store.sqlite_keys import quoted
from store.sqlite_table import COLUMN_TYPES, DOC_COLUMN, Table, decoded_rest, encoded_rest
from store.values import KEY_FIELD

_KINDS: Final[Mapping[str, Kind]] = {sql: kind for kind, sql in COLUMN_TYPES.items()}
_BACKFILL_ROWS: Final = 1000


def _make_meta(connection: sqlite3.Connection) -> None:
    connection.execute(
        "CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID"
    )


def _carry_raw_bytes(_: sqlite3.Connection) -> None:
    """Small transactions' documents carry their raw bytes from now on, where older code does not look for them."""


# Each step is applied once, in order, and must do no harm when applied again.
STEPS: Final[Mapping[int, Callable[[sqlite3.Connection], None]]] = {1: _make_meta, 2: _carry_raw_bytes}
VERSION: Final = max(STEPS)
COMPATIBLE: Final = 2


def apply_schema(connection: sqlite3.Connection, collections: Sequence[Collection]) -> list[Table]:
    """Bring the file up to date; gives the tables as they are then. Raises StoreTooNew."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        _apply_steps(connection)
        tables = [_apply_collection(connection, collection) for collection in collections]
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return tables


def _meta(connection: sqlite3.Connection) -> dict[str, int]:
    if not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'meta'").fetchall():
        return {"version": 0, "compatible": 0}
    return dict(connection.execute("SELECT name, value FROM meta").fetchall())


def _apply_steps(connection: sqlite3.Connection) -> None:
    meta = _meta(connection)
    if meta["compatible"] > VERSION:
        raise StoreTooNew(
            f"the database needs a release that knows schema {meta['compatible']}; this one knows {VERSION}"
        )
    for number in range(meta["version"] + 1, VERSION + 1):
        STEPS[number](connection)
    if meta["version"] < VERSION:
        values = [("version", VERSION), ("compatible", max(COMPATIBLE, meta["compatible"]))]
        connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", values)


def _number(connection: sqlite3.Connection, collection: Collection) -> int:
    """The collection's number in its family's tree, given when it is first declared; 0 without a family."""
    if not collection.family:
        return 0
    name = f"{collection.family}:{collection.name}"
    connection.execute("INSERT OR IGNORE INTO meta SELECT ?, COUNT(*) FROM meta", (name,))
    ((number,),) = connection.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchall()
    return int(number)


def _columns(connection: sqlite3.Connection, collection: Collection) -> dict[str, str]:
    rows = connection.execute(f"PRAGMA table_info({quoted(collection.name)})").fetchall()
    return {row[1]: row[2] for row in rows}


def _apply_collection(connection: sqlite3.Connection, collection: Collection) -> Table:
    existing = _columns(connection, collection)
    declared = {KEY_FIELD: collection.key, **collection.fields}
    for name, kind in declared.items():
        if name in existing and existing[name] != COLUMN_TYPES[kind]:
            raise Internal(f"{collection.name}.{name} is {existing[name]} in the database, not {kind}")
    found = {name: _KINDS[sql] for name, sql in existing.items() if name not in (KEY_FIELD, DOC_COLUMN)}
    table = Table(collection, found, _number(connection, collection))
    if not existing:
        for statement in table.create_sql():
            connection.execute(statement)
    elif missing := [name for name in collection.fields if name not in existing]:
        _add_columns(connection, table, missing)
    _apply_indexes(connection, table)
    return table


def _add_columns(connection: sqlite3.Connection, table: Table, names: Sequence[str]) -> None:
    """New columns, filled with what documents carry under these names."""
    for name in names:
        sql_type = COLUMN_TYPES[table.kinds[name]]
        connection.execute(f"ALTER TABLE {table.name} ADD COLUMN {quoted(name)} {sql_type}")
    assignments = ", ".join(f"{quoted(name)} = ?" for name in (*names, DOC_COLUMN))
    update = f"UPDATE {table.name} SET {assignments} WHERE {table.place} = ?"  # noqa: S608
    for place, blob in _documents(connection, table):
        rest = decoded_rest(blob)
        if any(name in rest for name in names):
            values = [table.value(name, rest.pop(name, None)) for name in names]
            connection.execute(update, (*values, encoded_rest(rest), place))


def _documents(connection: sqlite3.Connection, table: Table) -> Iterator[tuple[Any, bytes]]:
    """The places of all rows with undeclared fields, and these, a bounded number in memory at a time."""
    place, doc = table.place, quoted(DOC_COLUMN)
    sql = f"SELECT {place}, {doc} FROM {table.name} WHERE {{}} ORDER BY {place} LIMIT {_BACKFILL_ROWS}"  # noqa: S608
    rows = connection.execute(sql.format("TRUE")).fetchall()
    while rows:
        yield from ((row[0], row[1]) for row in rows if row[1] is not None)
        rows = connection.execute(sql.format(f"{place} > ?"), (rows[-1][0],)).fetchall()


def _apply_indexes(connection: sqlite3.Connection, table: Table) -> None:
    """Make missing indexes, and make anew those that are declared differently now."""
    existing = dict(connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'index'").fetchall())
    for index in table.collection.indexes:
        name, sql = table.index_name(index), table.index_sql(index)
        if existing.get(name) == sql:
            continue
        connection.execute(f"DROP INDEX IF EXISTS {quoted(name)}")
        connection.execute(sql)
