"""One transaction for a group of commits.

The group is applied as a whole, in as few statements as its writes allow. When some write is at fault the
group is undone and halved until the commit at fault stands alone; the others go through, in their order.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeAlias

from config.errors import BadRequest, MetawattError
from store.grouping import batches
from store.port import Conflict
from store.sqlite_statements import SqlStep

Outcome: TypeAlias = MetawattError | None


@contextmanager
def refusals_reported() -> Iterator[None]:
    """Turn what the driver cannot bind, an int beyond 64 bits or half a surrogate pair, into BadRequest."""
    try:
        yield
    except (OverflowError, UnicodeEncodeError) as error:
        raise BadRequest(f"a value cannot be stored: {error}") from error


class Group:
    """Applies commits on one connection, in one transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._cursor = connection.cursor()

    def commit(self, commits: Sequence[Sequence[SqlStep]]) -> list[Outcome]:
        """What became of each commit: None, or why it was left out. Raises sqlite3.Error as it is."""
        try:
            self._cursor.execute("BEGIN IMMEDIATE")
            outcomes = self._outcomes(commits)
            self._cursor.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._cursor.execute("ROLLBACK")
            raise
        return outcomes

    def _outcomes(self, commits: Sequence[Sequence[SqlStep]]) -> list[Outcome]:
        try:
            self._run(commits)
        except MetawattError as error:
            # A savepoint costs two statements; a group that fails whole can do without one.
            self._cursor.execute("ROLLBACK")
            self._cursor.execute("BEGIN IMMEDIATE")
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
