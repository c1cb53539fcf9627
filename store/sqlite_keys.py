"""Where a table's keys are looked up: in an index of its own, or in the tree that its family shares.

A family's tree has an entry (key, number of the collection, row) for each document of its collections. A
transaction, its outputs, what spends them and what lookup services record of them all have keys that begin
with one txid, so their entries lie side by side: a submission dirties one page of the tree for each of its
transactions, where an index per table would cost it one page for each document.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final, Protocol

from store.port import Collection
from store.values import KEY_FIELD

SHARED_KEY: Final = "_key"
SHARED_OF: Final = "_of"
_SHARED_COLUMNS: Final = '"_key" BLOB, "_of" INTEGER, "_row" INTEGER, PRIMARY KEY ("_key", "_of")'


def quoted(name: str) -> str:
    """`name` as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


class Keys(Protocol):
    """The ways to a table's rows by key. `tree` is the shared one, None for keys of a table's own, and `number`
    the collection's in it."""

    tree: str | None
    number: int

    @property
    def source(self) -> str:
        """The FROM clause of a walk along the keys."""
        ...

    @property
    def entries(self) -> str:
        """The FROM clause of the keys alone."""
        ...

    @property
    def column(self) -> str:
        """The column of `source` that holds the key, unquoted."""
        ...

    @property
    def covered(self) -> str | None:
        """A condition of every walk along `source`."""
        ...

    def create_sql(self) -> Sequence[str]: ...

    def holding(self, marks: str) -> str:
        """The condition on the table's rows that their keys are among `marks`."""
        ...

    def among(self, marks: str) -> str:
        """The same as a condition on `source` or `entries`."""
        ...

    def matching(self, alias: str, column: str) -> str:
        """The condition that a row of `alias`, the table, has the key in `column`."""
        ...

    def link(self, cursor: sqlite3.Cursor) -> None:
        """Enter the keys of the rows that `cursor` has just inserted; sqlite3.IntegrityError for one that
        exists."""
        ...

    def unlink(self, cursor: sqlite3.Cursor, marks: str, keys: Sequence[object]) -> None:
        """Remove the entries of keys whose rows were deleted."""
        ...


class OwnKeys:
    """Keys in a unique index of the table, or in the tree of its rows when it is clustered."""

    column: Final = KEY_FIELD
    covered: Final = None

    def __init__(self, collection: Collection, *, is_clustered: bool) -> None:
        self.tree: str | None = None
        self.number = 0
        self._table = quoted(collection.name)
        self._index = quoted(f"{collection.name}.{KEY_FIELD}")
        self._is_clustered = is_clustered

    @property
    def source(self) -> str:
        return self._table if self._is_clustered else f"{self._table} INDEXED BY {self._index}"

    @property
    def entries(self) -> str:
        return self.source

    def create_sql(self) -> Sequence[str]:
        if self._is_clustered:
            return ()
        return (f"CREATE UNIQUE INDEX IF NOT EXISTS {self._index} ON {self._table} ({quoted(KEY_FIELD)})",)

    def holding(self, marks: str) -> str:
        return f"{quoted(KEY_FIELD)} IN ({marks})"

    def among(self, marks: str) -> str:
        return self.holding(marks)

    def matching(self, alias: str, column: str) -> str:
        return f"{alias}.{quoted(KEY_FIELD)} = {column}"

    def link(self, cursor: sqlite3.Cursor) -> None:
        """SQLite keeps the index."""

    def unlink(self, cursor: sqlite3.Cursor, marks: str, keys: Sequence[object]) -> None:
        """SQLite keeps the index."""


class SharedKeys:
    """Keys in the tree of the collection's family, under the collection's number there."""

    column: Final = SHARED_KEY

    def __init__(self, collection: Collection, number: int) -> None:
        self._table = quoted(collection.name)
        self._tree = quoted(f"keys.{collection.family}")
        self.tree: str | None = self._tree
        self.number = number
        self.covered = f'"_of" = {number}'

    @property
    def source(self) -> str:
        return f'{self._tree} CROSS JOIN {self._table} ON {self._table}.rowid = "_row"'

    @property
    def entries(self) -> str:
        return self._tree

    def create_sql(self) -> Sequence[str]:
        return (f"CREATE TABLE IF NOT EXISTS {self._tree} ({_SHARED_COLUMNS}) WITHOUT ROWID",)

    def holding(self, marks: str) -> str:
        return f'rowid IN (SELECT "_row" FROM {self._tree} WHERE {self.among(marks)})'  # noqa: S608

    def among(self, marks: str) -> str:
        return f'"_key" IN ({marks}) AND {self.covered}'

    def matching(self, alias: str, column: str) -> str:
        entry = f'"_key" = {column} AND {self.covered}'
        return f'{alias}.rowid = (SELECT "_row" FROM {self._tree} WHERE {entry})'  # noqa: S608

    def link(self, cursor: sqlite3.Cursor) -> None:
        count, last = cursor.rowcount, cursor.lastrowid
        if count < 1:
            return
        assert last is not None
        rows = f"SELECT {quoted(KEY_FIELD)}, {self.number}, rowid FROM {self._table}"  # noqa: S608
        sql = f"INSERT INTO {self._tree} {rows} WHERE rowid BETWEEN ? AND ?"
        cursor.execute(sql, (last - count + 1, last))

    def unlink(self, cursor: sqlite3.Cursor, marks: str, keys: Sequence[object]) -> None:
        cursor.execute(f"DELETE FROM {self._tree} WHERE {self.among(marks)}", keys)  # noqa: S608
