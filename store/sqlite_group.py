"""One transaction for a group of commits.

The group is applied as a whole, in as few statements as its writes allow. When some write is at fault the
group is undone and halved until the commit at fault stands alone; the others go through, in their order.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from time import monotonic, sleep
from typing import Final, TypeAlias

from config.errors import BadRequest, MetawattError
from store.grouping import batches
from store.port import Conflict, StoreUnavailable
from store.sqlite_statements import SqlStep

Outcome: TypeAlias = MetawattError | None

LOCKED: Final = "the database is locked by another program"
_PRIMARY_CODE: Final = 0xFF
_LOCKED_SECS: Final = 0.01


@contextmanager
def refusals_reported() -> Iterator[None]:
    """Turn what the driver cannot bind, an int beyond 64 bits or half a surrogate pair, into BadRequest."""
    try:
        yield
    except (OverflowError, UnicodeEncodeError) as error:
        raise BadRequest(f"a value cannot be stored: {error}") from error


class Group:
    """Applies commits on one connection, in one transaction: `begin`, `apply`, `flush`, or `undo`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._cursor = connection.cursor()
        self._cursor.execute("PRAGMA busy_timeout = 0").fetchall()

    def begin(self, patience_secs: float = 0.0) -> bool:
        """Begin a transaction; False when another program has the file locked all that time."""
        deadline = monotonic() + patience_secs
        while True:
            try:
                self._cursor.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & _PRIMARY_CODE != sqlite3.SQLITE_BUSY:
                    raise
                if monotonic() >= deadline:
                    return False
                sleep(_LOCKED_SECS)
            else:
                return True

    def flush(self) -> None:
        """Commit the transaction, if there is one still."""
        if self._connection.in_transaction:
            self._cursor.execute("COMMIT")

    def undo(self) -> None:
        """Leave nothing of the transaction, whatever happened to it."""
        if self._connection.in_transaction:
            with suppress(sqlite3.Error):
                self._cursor.execute("ROLLBACK")

    def apply(self, commits: Sequence[Sequence[SqlStep]]) -> list[Outcome]:
        """Apply commits in the transaction: None for each, or why it was left out. What SQLite raises is not
        caught, and leaves the transaction to be undone."""
        try:
            self._run(commits)
        except MetawattError as error:
            # A savepoint costs two statements; a group that fails whole can do without one.
            self._cursor.execute("ROLLBACK")
            if not self.begin():
                raise StoreUnavailable(LOCKED) from error
            return self._apart(commits, error)
        return [None] * len(commits)

    def _run(self, commits: Sequence[Sequence[SqlStep]]) -> None:
        with refusals_reported():
            for statement, rows in batches(commits):
                statement.run(self._cursor, rows)

    def _apart(self, commits: Sequence[Sequence[SqlStep]], error: MetawattError) -> list[Outcome]:
        """Outcomes of commits that do not go through together."""
        if len(commits) > 1:
            middle = len(commits) // 2
            return self._part(commits[:middle]) + self._part(commits[middle:])
        return [self._located(commits[0], error)]

    def _part(self, commits: Sequence[Sequence[SqlStep]]) -> list[Outcome]:
        self._cursor.execute("SAVEPOINT part")
        try:
            self._run(commits)
            outcomes: list[Outcome] = [None] * len(commits)
        except MetawattError as error:
            self._cursor.execute("ROLLBACK TO part")
            outcomes = self._apart(commits, error)
        self._cursor.execute("RELEASE part")
        return outcomes

    def _located(self, steps: Sequence[SqlStep], error: MetawattError) -> MetawattError:
        """The error of a commit that is known to fail, with the index of the write at fault."""
        self._cursor.execute("SAVEPOINT alone")
        for index, (statement, _, row) in enumerate(steps):
            try:
                with refusals_reported():
                    statement.run(self._cursor, [row])
            except Conflict as conflict:
                error = Conflict(conflict.message, index)
                break
        self._cursor.execute("ROLLBACK TO alone")
        self._cursor.execute("RELEASE alone")
        return error
