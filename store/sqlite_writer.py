"""The writer: one thread, one connection, one flush for all commits that wait."""

from __future__ import annotations

import logging
import sqlite3
from asyncio import AbstractEventLoop, Future
from collections import deque
from collections.abc import Sequence
from queue import Empty, SimpleQueue
from threading import Thread
from time import monotonic
from typing import Any, NamedTuple, TypeAlias

from config.errors import Internal
from store.port import StoreUnavailable
from store.sqlite_checkpoint import Checkpointer
from store.sqlite_connection import faults_reported
from store.sqlite_group import Group, Outcome
from store.sqlite_statements import SqlStep
from store.sqlite_turn import Turn

_logger = logging.getLogger(__name__)

_LINGER_SECS = 0.002

Settled: TypeAlias = list[tuple["Future[Any]", Any]]


class Commit(NamedTuple):
    """A commit that waits, and whom to tell."""

    steps: Sequence[SqlStep]
    done: Future[None]


def settle(settled: Settled) -> None:
    """Give each future that is still awaited its result or exception; runs on the event loop."""
    for future, outcome in settled:
        if future.done():
            continue
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)


class Writer:
    """Takes commits in the order in which they are put, and tells each of its outcome.

    A commit that was put is applied even if its caller stops waiting.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        turn: Turn,
        checkpointer: Checkpointer,
        loop: AbstractEventLoop,
        flush_max_writes: int,
    ) -> None:
        self._connection = connection
        self._turn = turn
        self._checkpointer = checkpointer
        self._group = Group(connection)
        self._loop = loop
        self._flush_max_writes = flush_max_writes
        self._queue: SimpleQueue[Sequence[Commit] | None] = SimpleQueue()
        self._held: deque[Commit] = deque()
        self._expected = 1
        self._thread = Thread(target=self._run, name="store-writer", daemon=True)

    def start(self) -> None:
        self._checkpointer.start()
        self._thread.start()

    def put(self, commits: Sequence[Commit]) -> None:
        self._queue.put(commits)

    def close(self) -> None:
        """Apply what was put, then end. Blocks."""
        self._queue.put(None)
        self._thread.join()
        self._checkpointer.close()
        self._connection.close()
        self._turn.close()

    def _run(self) -> None:
        while self._await_group():
            with self._turn:
                group = self._gather()
                outcomes = self._apply([commit.steps for commit in group])
                settled = [(commit.done, outcome) for commit, outcome in zip(group, outcomes, strict=True)]
                self._loop.call_soon_threadsafe(settle, settled)
                self._checkpoint(sum(len(commit.steps) for commit in group))
            self._expected = len(group)

    def _checkpoint(self, writes: int) -> None:
        try:
            self._checkpointer.finish(self._connection, writes)
        except sqlite3.Error as error:
            # The commits stand: their pages are in the log, and stay there until a checkpoint succeeds.
            _logger.warning("a checkpoint failed: %s", error)

    def _await_group(self) -> bool:
        """Return when there is something to commit; False when the writer is to end.

        A flush costs much the same however many share it, and those who were told of the last one are about to
        come again: as many are waited for, for a little while. One client alone never waits.
        """
        if not self._held and not self._take(None):
            return False
        deadline = monotonic() + _LINGER_SECS
        while len(self._held) < self._expected and (left := deadline - monotonic()) > 0:
            if not self._take(left):
                break
        return True

    def _gather(self) -> list[Commit]:
        """What waits by now, up to the bound of a flush."""
        while not self._queue.empty():
            if not self._take(0):
                break
        group = [self._held.popleft()]
        writes = len(group[0].steps)
        while self._held and (writes := writes + len(self._held[0].steps)) <= self._flush_max_writes:
            group.append(self._held.popleft())
        return group

    def _take(self, timeout_secs: float | None) -> bool:
        """Hold what was put next; False when nothing came in time, or when the writer is to end."""
        try:
            commits = self._queue.get(timeout=timeout_secs)
        except Empty:
            return False
        if commits is None:
            if self._held:
                self._queue.put(None)
            return False
        self._held.extend(commits)
        return True

    def _apply(self, commits: Sequence[Sequence[SqlStep]]) -> Sequence[Outcome]:
        try:
            with faults_reported():
                return self._group.commit(commits)
        except StoreUnavailable as error:
            return [StoreUnavailable(error.message) for _ in commits]
        except Exception as error:  # the thread must live, and its callers must hear of it
            return [Internal(f"a commit failed: {error!r}") for _ in commits]
