"""The writer: commits that wait share one transaction and one flush.

A group is applied on the event loop when it is small, since what costs there is the interpreter, of which there is
one: a thread would ask for it anew at every statement, and be kept waiting each time. What blocks, a turn that
another process has and the flush, has a thread, and so have groups that would hold up the loop.
"""

from __future__ import annotations

import logging
import sqlite3
from asyncio import AbstractEventLoop, Future, TimerHandle
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from queue import SimpleQueue
from threading import Thread
from time import monotonic
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

from config.errors import Internal
from store.port import StoreUnavailable
from store.sqlite_checkpoint import Checkpointer
from store.sqlite_connection import BUSY_TIMEOUT_SECS, faults_reported
from store.sqlite_group import LOCKED, Group, Outcome
from store.sqlite_statements import SqlStep
from store.sqlite_turn import Turn

_logger = logging.getLogger(__name__)

_LINGER_GROUPS: Final = 2.0
_MOST_LINGER_SECS: Final = 0.02
_SMALL_WRITES: Final = 512
"""Writes that are applied on the event loop: a few milliseconds."""
_SLOW_SECS: Final = 0.02
"""A small group that took longer read from a disk; the next ones wait for theirs in the thread."""
_SPARED_SECS: Final = 1.0

Settled: TypeAlias = list[tuple["Future[Any]", Any]]
T = TypeVar("T")


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

    A commit that was put is applied even if its caller stops waiting. One group is under way at a time: the event
    loop has the connection until it hands the group to the thread, and again when the thread is done with it.
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
        self._held: deque[Commit] = deque()
        self._is_busy = False
        self._expected = 1
        self._linger_secs = 0.0
        self._begun = 0.0
        self._lingering: TimerHandle | None = None
        self._spared_until = 0.0
        self._idle: Future[None] | None = None
        self._tasks: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = Thread(target=self._run, name="store-writer", daemon=True)

    def start(self) -> None:
        self._checkpointer.start()
        self._thread.start()

    async def drain(self) -> None:
        """Return when everything that was put is settled."""
        while self._is_busy or self._held:
            self._idle = self._loop.create_future()
            await self._idle

    def close(self) -> None:
        """End; nothing may be under way. Blocks."""
        self._tasks.put(None)
        self._thread.join()
        self._checkpointer.close()
        self._connection.close()
        self._turn.close()

    # On the event loop

    @property
    def idle_connection(self) -> sqlite3.Connection | None:
        """The connection, to read with at once, while no group is under way; None when one is. It has the pages
        that the next group will change, and still has those that the last one did."""
        return None if self._is_busy else self._connection

    def put(self, commits: Sequence[Commit]) -> None:
        """Have these carried out."""
        self._held.extend(commits)
        self._look()

    def _look(self) -> None:
        """Begin, when nothing is under way.

        A group costs much the same however many share it, and those who were told of the last one are about to
        come again: as many are waited for, for as long as two such groups take. One client alone never waits.
        """
        if self._is_busy or not self._held:
            return
        if len(self._held) >= self._expected:
            self._begin()
        elif self._lingering is None:
            self._lingering = self._loop.call_later(self._linger_secs, self._begin)

    def _begin(self) -> None:
        if self._lingering is not None:
            self._lingering.cancel()
            self._lingering = None
        self._is_busy = True
        self._begun = monotonic()
        if self._turn.taken():
            self._apply()
        else:
            self._tasks.put(self._await_turn)

    def _apply(self) -> None:
        """It is this store's turn, and what waits by now shares it."""
        group = self._gathered()
        outcomes = self._applied(group) if self._is_quick(group) else None
        self._tasks.put(partial(self._finish, group, outcomes))

    def _gathered(self) -> list[Commit]:
        """What waits, up to the bound of a flush."""
        group = [self._held.popleft()]
        writes = len(group[0].steps)
        while self._held and (writes := writes + len(self._held[0].steps)) <= self._flush_max_writes:
            group.append(self._held.popleft())
        return group

    def _is_quick(self, group: Sequence[Commit]) -> bool:
        return _writes(group) <= _SMALL_WRITES and monotonic() >= self._spared_until

    def _applied(self, group: Sequence[Commit]) -> Sequence[Outcome] | None:
        """What became of each commit; None when another program has the file locked."""
        started = monotonic()
        outcomes = self._guarded(group, lambda: self._outcomes(group) if self._group.begin() else None)
        if monotonic() - started > _SLOW_SECS:
            self._spared_until = started + _SPARED_SECS
        return outcomes

    def _finished(self, settled: Settled) -> None:
        self._is_busy = False
        self._expected = len(settled)
        self._linger_secs = min(_LINGER_GROUPS * (monotonic() - self._begun), _MOST_LINGER_SECS)
        settle(settled)
        self._look()
        if self._idle is not None and not (self._is_busy or self._held):
            self._idle.set_result(None)
            self._idle = None

    # In the thread

    def _run(self) -> None:
        while (task := self._tasks.get()) is not None:
            task()

    def _await_turn(self) -> None:
        self._turn.take()
        self._loop.call_soon_threadsafe(self._apply)

    def _finish(self, group: Sequence[Commit], outcomes: Sequence[Outcome] | None) -> None:
        """Flush the group, applying it first when that is not done yet, and give the turn away."""
        settled = list(zip([commit.done for commit in group], self._flushed(group, outcomes), strict=True))
        self._checkpoint(_writes(group))
        self._turn.give()
        self._loop.call_soon_threadsafe(self._finished, settled)

    def _flushed(self, group: Sequence[Commit], outcomes: Sequence[Outcome] | None) -> Sequence[Outcome]:
        def work() -> Sequence[Outcome]:
            if outcomes is None and not self._group.begin(BUSY_TIMEOUT_SECS):
                raise StoreUnavailable(LOCKED)
            found = self._outcomes(group) if outcomes is None else outcomes
            self._group.flush()
            return found

        return self._guarded(group, work)

    def _checkpoint(self, writes: int) -> None:
        try:
            self._checkpointer.finish(self._connection, writes)
        except sqlite3.Error as error:
            # The commits stand: their pages are in the log, and stay there until a checkpoint succeeds.
            _logger.warning("a checkpoint failed: %s", error)

    # In either

    def _outcomes(self, group: Sequence[Commit]) -> Sequence[Outcome]:
        return self._group.apply([commit.steps for commit in group])

    def _guarded(self, group: Sequence[Commit], work: Callable[[], T]) -> T | Sequence[Outcome]:
        """The work's outcomes; when it fails as a whole, nothing is left of it, and each commit is told."""
        try:
            with faults_reported():
                return work()
        except StoreUnavailable as error:
            failed: list[Outcome] = [StoreUnavailable(error.message) for _ in group]
        except Exception as error:  # the writer must live on, and its callers must hear of it
            failed = [Internal(f"a commit failed: {error!r}") for _ in group]
        self._group.undo()
        return failed


def _writes(group: Sequence[Commit]) -> int:
    return sum(len(commit.steps) for commit in group)
