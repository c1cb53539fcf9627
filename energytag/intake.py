"""The intake: actions are stored, and stand in order until they are worked off.

Where several processes serve, one of them is the worker. The others only store; the worker looks for what they have
stored. Looking takes it a small part of its time, however long the queue is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from time import monotonic
from typing import Final

from config.errors import Busy, ErrorCode
from energytag.actions import Action
from energytag.records import ACTIONS
from store.pages import pages
from store.port import Find, Insert, Store, Write

LOOK_SECS: Final = 1.0
QUICK_LOOK_SECS: Final = 0.05
"""For where others store actions too: what looking adds to their time."""
_COUNT_SECS: Final = 1.0
_SHARE: Final = 20
_QUEUED: Final = Find("queued", {"queued": 1})


class Intake:
    """`waiting` are actions by id, in order. The `is_worker`'s process keeps them; the others only store."""

    def __init__(self, store: Store, most: int, *, is_worker: bool = True, look_secs: float = LOOK_SECS) -> None:
        self.waiting: dict[str, Action] = {}
        self._store = store
        self._most = most
        self._is_worker = is_worker
        self._look_secs = look_secs
        self._look_at = float("-inf")
        self._coming: set[str] = set()
        self._stirred = asyncio.Event()
        self._elsewhere = 0
        self._counted = float("-inf")

    async def add(self, action: Action, also: Sequence[Write] = ()) -> None:
        """Store an action, together with `also`; it is durable on return. `Busy` when too many wait;
        `Conflict` when one of that id exists."""
        if await self._count() >= self._most:
            raise Busy("too many actions wait", ErrorCode.OVERLOADED)
        # The worker may find it stored before this task has put it into the queue.
        self._coming.add(action.action_id)
        try:
            await self._store.commit([Insert(ACTIONS, action.document()), *also])
        finally:
            self._coming.discard(action.action_id)
        self.enqueue(action)

    async def _count(self) -> int:
        """Actions that wait; where the worker is another process, as they were within the last second."""
        if self._is_worker:
            return len(self.waiting)
        if monotonic() - self._counted >= _COUNT_SECS:
            self._counted = monotonic()
            self._elsewhere = await self._store.count(ACTIONS, _QUEUED)
        return self._elsewhere

    def enqueue(self, action: Action) -> None:
        """Let an action that is stored as queued wait its turn."""
        if self._is_worker and action.action_id not in self.waiting:
            self.waiting[action.action_id] = action
            self._stirred.set()

    async def wait(self) -> None:
        """Until an action comes in, or it is time to look."""
        self._stirred.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._look_secs):
                await self._stirred.wait()

    @property
    def is_time_to_look(self) -> bool:
        return monotonic() >= self._look_at

    async def look(self) -> None:
        """Find actions that other processes, or an earlier run, have stored."""
        began = monotonic()
        try:
            if await self._store.count(ACTIONS, _QUEUED) > len(self.waiting):
                await self._find()
        finally:
            ended = monotonic()
            self._look_at = ended + max(self._look_secs, _SHARE * (ended - began))

    async def _find(self) -> None:
        before = len(self.waiting)
        async for documents in pages(self._store, ACTIONS, _QUEUED):
            for document in documents:
                if document["_id"] not in self.waiting and document["_id"] not in self._coming:
                    self.enqueue(Action.read(document))
        if len(self.waiting) > before:
            self.waiting = dict(sorted(self.waiting.items(), key=lambda item: item[1].seq))
