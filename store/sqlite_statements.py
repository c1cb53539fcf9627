"""Writes as SQL statements that each take many rows.

Every call into SQLite may cost a hand-over of the interpreter's lock, so one statement carries as many
rows as there are: rows are given as VALUES lists whose lengths are powers of two (few texts, so that the
prepared statements stay cached) and the unused tail is NULL keys, which match nothing.

A statement raises `Conflict` when some row of its batch is at fault; which one is only sure when the
batch has one row. The writer counts on that.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import chain
from typing import Any, Final, Protocol, TypeAlias

from store.grouping import Row, Step
from store.port import Absent, Conflict, Delete, Document, Insert, Key, Patch, Put, Write
from store.sqlite_keys import quoted
from store.sqlite_table import DOC_COLUMN, Table, decoded_rest, encoded_rest
from store.values import KEY_FIELD

_MAX_ROWS: Final = 512
_MAX_VARIABLES: Final = 32_000


class Statement(Protocol):
    """One kind of write to one table."""

    def run(self, cursor: sqlite3.Cursor, rows: Sequence[Row]) -> None: ...


SqlStep: TypeAlias = Step[Statement]


def _chunks(rows: Sequence[Row], width: int) -> Iterator[Sequence[Row]]:
    size = _MAX_ROWS
    while size * width > _MAX_VARIABLES:
        size //= 2
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def _padded_length(count: int) -> int:
    return 1 << (count - 1).bit_length()


@lru_cache(maxsize=1024)
def _values(count: int, width: int) -> str:
    row = "(" + ",".join("?" * width) + ")"
    return "VALUES " + ",".join([row] * count)


def _flat(rows: Sequence[Row], count: int, width: int) -> list[Any]:
    values = list(chain.from_iterable(rows))
    values.extend([None] * ((count - len(rows)) * width))
    return values


def _marks(count: int) -> str:
    return ",".join("?" * count)


def _existing(table: Table, marks: str) -> str:
    """The statement that reads which of the keys `marks` exist."""
    return f"SELECT {quoted(table.keys.column)} FROM {table.keys.entries} WHERE {table.keys.among(marks)}"  # noqa: S608


def _exists(cursor: sqlite3.Cursor, table: Table, key: Key) -> bool:
    return bool(cursor.execute(_existing(table, "?"), (key,)).fetchall())


class InsertRows:
    """INSERT of whole rows. A key that exists is a `Conflict`, or its row is left as it is when `is_kept`."""

    def __init__(self, table: Table, *, is_kept: bool = False) -> None:
        self._width = len(table.columns)
        self._head = f"INSERT INTO {table.name} ({table.column_list}) "
        self._tail = f" AND NOT EXISTS ({_existing(table, 'column1')})" if is_kept else ""
        self._keys = table.keys
        self._name = table.collection.name

    def _sql(self, count: int) -> str:
        if count == 1 and not self._tail:
            return self._head + _values(1, self._width)
        rows = f"SELECT * FROM ({_values(count, self._width)}) WHERE column1 IS NOT NULL"  # noqa: S608
        return self._head + rows + self._tail

    def run(self, cursor: sqlite3.Cursor, rows: Sequence[Row]) -> None:
        try:
            for chunk in _chunks(rows, self._width):
                count = _padded_length(len(chunk))
                cursor.execute(self._sql(count), _flat(chunk, count, self._width))
                self._keys.link(cursor)
        except sqlite3.IntegrityError as error:
            raise Conflict(f"a document of {self._name} exists already") from error


class PutRows:
    """UPDATE of the rows whose keys exist, INSERT of the others."""

    def __init__(self, table: Table) -> None:
        self._update = PatchColumns(table, table.columns[1:], (), must_exist=False)
        self._insert = InsertRows(table, is_kept=True)

    def run(self, cursor: sqlite3.Cursor, rows: Sequence[Row]) -> None:
        self._update.run(cursor, rows)
        self._insert.run(cursor, rows)


class PatchColumns:
    """UPDATE of declared columns; a row is the key, the new values, and the values expected now."""

    def __init__(self, table: Table, changes: tuple[str, ...], expect: tuple[str, ...], must_exist: bool) -> None:
        self._table = table
        self._width = 1 + len(changes) + len(expect)
        self._may_find_less = not must_exist and not expect
        self._must_exist = must_exist
        assignments = [f"{quoted(name)} = v.column{i}" for i, name in enumerate(changes, 2)]
        conditions = [table.keys.matching("t", "v.column1")]
        conditions += [f"t.{quoted(name)} IS v.column{i}" for i, name in enumerate(expect, 2 + len(changes))]
        self._head = f"UPDATE {table.name} AS t SET {', '.join(assignments)} FROM ("  # noqa: S608
        self._tail = f") AS v WHERE {' AND '.join(conditions)}"

    def run(self, cursor: sqlite3.Cursor, rows: Sequence[Row]) -> None:
        for chunk in _chunks(rows, self._width):
            count = _padded_length(len(chunk))
            sql = self._head + _values(count, self._width) + self._tail
            cursor.execute(sql, _flat(chunk, count, self._width))
            if cursor.rowcount != len(chunk) and not self._may_find_less:
                self._explain(cursor, chunk, cursor.rowcount)

    def _explain(self, cursor: sqlite3.Cursor, rows: Sequence[Row], updated: int) -> None:
        """Some rows were not updated: none there, which may be allowed, or another value than expected."""
        name = self._table.collection.name
        found = sum(_exists(cursor, self._table, row[0]) for row in rows)
        if self._must_exist and found != len(rows):
            raise Conflict(f"no such document of {name}")
        if updated != found:
            raise Conflict(f"a document of {name} holds another value than expected")


class PatchDocument:
    """Read, check, write: for a patch that touches undeclared fields. A row is the key and the patch.

    Only columns that change are assigned: the indexes of the others are left alone."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._held = table.keys.holding("?")
        self._select = f"SELECT {table.column_list} FROM {table.name} WHERE {self._held}"  # noqa: S608

    def run(self, cursor: sqlite3.Cursor, rows: Sequence[Row]) -> None:
        for key, patch in rows:
            self._apply(cursor, key, patch)

    def _apply(self, cursor: sqlite3.Cursor, key: Key, patch: Patch) -> None:
        found = cursor.execute(self._select, (key,)).fetchall()
        if not found:
            if patch.must_exist:
                raise Conflict(f"no such document of {self._table.collection.name}")
            return
        check_expected(self._table, self._table.document(found[0]), patch.expect)
        if changed := self._changed(found[0], patch.changes):
            assignments = ", ".join(f"{quoted(name)} = ?" for name in changed)
            update = f"UPDATE {self._table.name} SET {assignments} WHERE {self._held}"  # noqa: S608
            cursor.execute(update, (*changed.values(), key))

    def _changed(self, row: Row, changes: Mapping[str, Any]) -> dict[str, Any]:
        """The columns that hold something else after the patch, with their new values."""
        before = dict(zip(self._table.columns, row, strict=True))
        after: dict[str, Any] = {}
        rest: Document = {}
        for name, value in changes.items():
            if name in self._table.kinds:
                after[name] = self._table.value(name, value)
            else:
                rest[name] = value
        if rest:
            after[DOC_COLUMN] = encoded_rest(decoded_rest(before[DOC_COLUMN]) | rest)
        return {name: value for name, value in after.items() if value != before[name]}


class DeleteKeys:
    """DELETE by key, whatever the documents hold. A row is the key."""

    def __init__(self, table: Table) -> None:
        self._name = table.name
        self._keys = table.keys

    def run(self, cursor: sqlite3.Cursor, rows: Sequence[Row]) -> None:
        for chunk in _chunks(rows, 1):
            count = _padded_length(len(chunk))
            marks, keys = _marks(count), _flat(chunk, count, 1)
            cursor.execute(f"DELETE FROM {self._name} WHERE {self._keys.holding(marks)}", keys)  # noqa: S608
            self._keys.unlink(cursor, marks, keys)


class DeleteExpecting:
    """DELETE of a document that must hold some values. A row is the key and the values."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._select = f"SELECT {table.column_list} FROM {table.name} WHERE {table.keys.holding('?')}"  # noqa: S608
        self._delete = DeleteKeys(table)

    def run(self, cursor: sqlite3.Cursor, rows: Sequence[Row]) -> None:
        for key, expect in rows:
            for found in cursor.execute(self._select, (key,)).fetchall():
                check_expected(self._table, self._table.document(found), expect)
                self._delete.run(cursor, [(key,)])


class AbsentKeys:
    """The guard: no document under any of the keys. A row is the key."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def run(self, cursor: sqlite3.Cursor, rows: Sequence[Row]) -> None:
        for chunk in _chunks(rows, 1):
            count = _padded_length(len(chunk))
            sql = _existing(self._table, _marks(count)) + " LIMIT 1"
            if cursor.execute(sql, _flat(chunk, count, 1)).fetchall():
                raise Conflict(f"a document of {self._table.collection.name} exists already")


def check_expected(table: Table, document: Document, expect: Mapping[str, Any] | None) -> None:
    """Conflict when `document` does not hold the values of `expect` (a field left out counts as None)."""
    for name, value in (expect or {}).items():
        if document.get(name) != value:
            raise Conflict(f"a document of {table.collection.name} holds another {name} than expected")


class Statements:
    """All statements of one table, each made once."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self._name = table.collection.name
        self._insert = InsertRows(table)
        self._keep = InsertRows(table, is_kept=True)
        self._put = PutRows(table)
        self._patch_document = PatchDocument(table)
        self._patches: dict[tuple[tuple[str, ...], tuple[str, ...], bool], PatchColumns] = {}
        self._delete = DeleteKeys(table)
        self._delete_expecting = DeleteExpecting(table)
        self._absent = AbsentKeys(table)

    def step(self, write: Write) -> SqlStep:
        """A write made ready; BadRequest when it cannot be stored."""
        match write:
            case Insert():
                return self._row_step(self._keep if write.keep else self._insert, write.document)
            case Put():
                return self._row_step(self._put, write.document)
            case Absent():
                key = self.table.key(write.key)
                return Step(self._absent, (self._name, key), (key,))
            case Patch():
                return self._patch_step(write, self.table.key(write.key))
            case Delete():
                return self._delete_step(write, self.table.key(write.key))

    def _row_step(self, statement: Statement, document: Document) -> SqlStep:
        row = self.table.row(document)
        return Step(statement, (self._name, row[0]), row)

    def _delete_step(self, delete: Delete, key: Key) -> SqlStep:
        if delete.expect:
            return Step(self._delete_expecting, (self._name, key), (key, self._copied(delete.expect)))
        return Step(self._delete, (self._name, key), (key,))

    def _patch_step(self, patch: Patch, key: Key) -> SqlStep:
        table, expect = self.table, patch.expect or {}
        target = (self._name, key)
        if KEY_FIELD in patch.changes:
            raise ValueError("a patch cannot change a document's key")
        if not patch.changes or not (patch.changes.keys() | expect.keys()) <= table.kinds.keys():
            copied = replace(patch, changes=self._copied(patch.changes), expect=self._copied(expect))
            return Step(self._patch_document, target, (key, copied))
        values = [table.value(name, value) for name, value in patch.changes.items()]
        values += [table.value(name, value) for name, value in expect.items()]
        statement = self._columns_statement(tuple(patch.changes), tuple(expect), patch.must_exist)
        return Step(statement, target, (key, *values))

    def _copied(self, fields: Mapping[str, Any]) -> Document:
        """A deep copy, checked: the caller may go on changing what it handed in."""
        kinds = self.table.kinds
        copied = decoded_rest(encoded_rest({name: value for name, value in fields.items() if name not in kinds}))
        copied.update({name: self.table.value(name, value) for name, value in fields.items() if name in kinds})
        return copied

    def _columns_statement(self, changes: tuple[str, ...], expect: tuple[str, ...], must_exist: bool) -> Statement:
        shape = (changes, expect, must_exist)
        if shape not in self._patches:
            self._patches[shape] = PatchColumns(self.table, *shape)
        return self._patches[shape]
