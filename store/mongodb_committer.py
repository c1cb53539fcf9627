"""Group commit on MongoDB: what waits goes into one transaction.

A group that meets a conflict is undone and halved until the commit at fault stands alone. A transaction
that the server gives up (a write conflict with another one, a change of primary) is tried again.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from itertools import count
from typing import Final, NamedTuple, TypeAlias

from pymongo import AsyncMongoClient
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import PyMongoError

from config.errors import Internal, MetawattError
from store.grouping import batches
from store.mongodb_statements import MongoStep
from store.port import Conflict, Document, StoreUnavailable

Steps: TypeAlias = Sequence[MongoStep]

_FIRST_PAUSE_SECS: Final = 0.002
_LONGEST_PAUSE_SECS: Final = 0.5


class _Commit(NamedTuple):
    steps: Steps
    done: asyncio.Future[None]


def pause_secs(tries: int) -> float:
    """How long to wait before the next try: doubling, bounded, at random between half and whole."""
    longest = min(_LONGEST_PAUSE_SECS, _FIRST_PAUSE_SECS * 2 ** min(tries, 16))
    return random.uniform(longest / 2, longest)  # noqa: S311


class Committer:
    """Takes commits in the order in which they are put, and tells each of its outcome.

    A commit that was put is applied even if its caller stops waiting.
    """

    def __init__(self, client: AsyncMongoClient[Document], flush_max_writes: int, timeout_secs: float) -> None:
        self._client = client
        self._timeout_secs = timeout_secs
        self._flush_max_writes = flush_max_writes
        self._waiting: deque[_Commit] = deque()
        self._wake = asyncio.Event()
        self._is_closing = False
        self._task = asyncio.create_task(self._run(), name="store-committer")

    def put(self, steps: Steps) -> asyncio.Future[None]:
        """Queue a commit; the future tells its outcome."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Commit(steps, done))
        self._wake.set()
        return done

    async def close(self) -> None:
        """Apply what was put, then end."""
        self._is_closing = True
        self._wake.set()
        await asyncio.shield(self._task)

    async def _run(self) -> None:
        while self._waiting or not self._is_closing:
            if not self._waiting:
                self._wake.clear()
                await self._wake.wait()
                continue
            await self._apply(self._gather())

    def _gather(self) -> list[_Commit]:
        group = [self._waiting.popleft()]
        writes = len(group[0].steps)
        while self._waiting and writes + len(self._waiting[0].steps) <= self._flush_max_writes:
            writes += len(self._waiting[0].steps)
            group.append(self._waiting.popleft())
        return group

    async def _apply(self, group: Sequence[_Commit]) -> None:
        """Settle every commit of the group, together if they go through together."""
        error = await self._outcome([commit.steps for commit in group])
        if isinstance(error, MetawattError) and not isinstance(error, StoreUnavailable) and len(group) > 1:
            middle = len(group) // 2
            await self._apply(group[:middle])
            await self._apply(group[middle:])
            return
        for commit in group:
            _settle(commit.done, error)

    async def _outcome(self, commits: Sequence[Steps]) -> MetawattError | None:
        try:
            await self._retried(commits)
        except MetawattError as error:
            return error
        except PyMongoError as error:
            return StoreUnavailable(f"MongoDB does not answer: {error}")
        except Exception as error:  # the task must live, and its callers must hear of it
            return Internal(f"a commit failed: {error!r}")
        return None

    async def _retried(self, commits: Sequence[Steps]) -> None:
        await self._until_settled(partial(self._transaction, commits), "TransientTransactionError")

    async def _until_settled(self, attempt: Callable[[], Awaitable[None]], label: str) -> None:
        """Try again while the server gives errors of this label, for a bounded time."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._timeout_secs
        for tries in count():
            try:
                await attempt()
                return
            except PyMongoError as error:
                if not error.has_error_label(label) or loop.time() >= deadline:
                    raise
                await asyncio.sleep(pause_secs(tries))

    async def _transaction(self, commits: Sequence[Steps]) -> None:
        async with self._client.start_session() as session:
            await session.start_transaction()
            try:
                await _run_steps(session, commits)
            except BaseException:
                await session.abort_transaction()
                raise
            # While the server cannot say whether it committed, it is asked again; a commit may be repeated.
            await self._until_settled(session.commit_transaction, "UnknownTransactionCommitResult")


async def _run_steps(session: AsyncClientSession, commits: Sequence[Steps]) -> None:
    """All writes; those of a commit that stands alone one by one, so that the one at fault is known."""
    if len(commits) > 1:
        for statement, rows in batches(commits):
            await statement.run(session, rows)
        return
    for index, (statement, _, row) in enumerate(commits[0]):
        try:
            await statement.run(session, [row])
        except Conflict as conflict:
            raise Conflict(conflict.message, index) from conflict


def _settle(done: asyncio.Future[None], error: MetawattError | None) -> None:
    if done.done():
        return
    if error is None:
        done.set_result(None)
    else:
        done.set_exception(error)
