"""The registry: everything of EnergyTag behind one face, which the API, the CLI and background work use."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import structlog

from basket.funds import Treasury
from config.errors import ErrorCode, NotFound, Unavailable
from energytag import (
    acting,
    consumption,
    creating,
    directory,
    imports,
    measurements,
    publishing,
    recurring,
    storage,
)
from energytag.actions import Action, Kind, new_id
from energytag.completing import complete
from energytag.forge import Forge
from energytag.ground import RegistryGround
from energytag.intake import LOOK_SECS, Intake
from energytag.plan import Handler
from energytag.queue import Outcome, Queue
from energytag.records import ACTIONS, REBUILD_STATE
from energytag.sending import Deliver, Sender
from energytag.undone import Undoing
from overlay.clock import Sequence as Numbers
from overlay.records import STATE
from store.port import Conflict, Write

_POLL_SECS: Final = 0.025
_LONGEST_POLL_SECS: Final = 0.5
_IN_TURN: Final = (directory, acting, creating, publishing, recurring, imports, measurements, consumption, storage)

log = structlog.get_logger("metawatt.registry")


class Registry:
    """Actions come in by `act`. One process, the `primary`, works them off; the others store and wait.
    `look_secs` is how often the primary looks for what others have stored."""

    def __init__(
        self,
        ground: RegistryGround,
        treasury: Treasury,
        deliver: Deliver,
        *,
        primary: bool = True,
        look_secs: float = LOOK_SECS,
        forge: Forge | None = None,
    ) -> None:
        self.ground = ground
        self.treasury = treasury
        self.sender = Sender(ground, treasury, deliver, forge)
        most = ground.settings.registry.waiting_actions
        self.intake = Intake(ground.store, most, is_worker=primary, look_secs=look_secs)
        self.queue = Queue(ground, _handlers(ground), self.sender, self.intake)
        self.undoing = Undoing(ground, self.queue.measures)
        ground.engine.evictor.beside = self.undoing.note
        self._numbers = Numbers(ground.now_ms)
        self.is_primary = primary
        self._worker: asyncio.Task[None] | None = None

    @property
    def is_at_work(self) -> bool:
        """Whether this process works the queue off."""
        return self._worker is not None and not self._worker.done()

    async def start(self) -> None:
        """Take up what an earlier run left, and begin to work. `Unavailable(STORAGE_UNAVAILABLE)` when the registry
        is not whole."""
        if await self.ground.store.get(STATE, REBUILD_STATE) is not None:
            message = "the registry was being rebuilt, and is not whole: run `metawatt reindex` to its end"
            raise Unavailable(message, ErrorCode.STORAGE_UNAVAILABLE)
        if self.is_primary:
            await self.intake.look()
            self._worker = asyncio.create_task(self.queue.run(), name="registry queue")

    async def stop(self) -> None:
        """End the worker; a transaction that is under way is finished or was never begun."""
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.gather(self._worker, return_exceptions=True)

    async def act(
        self,
        kind: Kind,
        request: Mapping[str, Any],
        *,
        user_id: str | None,
        account_id: str | None = None,
        wait_secs: float | None = None,
        action_id: str | None = None,
        also: Sequence[Write] = (),
    ) -> Outcome:
        """Store an action, and wait a while for what comes of it.

        With an `action_id` of the caller's own, a repeat finds the first action instead of making a second.
        `also` is written with the action, or not at all. Raises `Busy` when too many actions wait.
        """
        now_ms = self.ground.now_ms()
        action = Action(
            action_id or new_id(now_ms), self._numbers.next(), kind, request, now_ms, user_id, account_id
        )
        waiting = None
        try:
            await self.intake.add(action, also)
            # The worker has not had its turn since.
            waiting = self.queue.outcome(action.action_id) if self.is_primary else None
        except Conflict:
            if action_id is None:
                raise
        wait_secs = self.ground.settings.registry.action_wait_secs if wait_secs is None else wait_secs
        return await self._outcome(action.action_id, waiting, wait_secs)

    async def _outcome(self, action_id: str, waiting: asyncio.Future[Outcome] | None, wait_secs: float) -> Outcome:
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_secs):
                return await (self._poll(action_id) if waiting is None else asyncio.shield(waiting))
        return Outcome(await self.action(action_id))

    async def _poll(self, action_id: str) -> Outcome:
        """Wait for somebody else to deal with the action."""
        pause_secs = _POLL_SECS
        while True:
            action = await self.action(action_id)
            if action.is_settled:
                return Outcome(action)
            await asyncio.sleep(pause_secs)
            pause_secs = min(_LONGEST_POLL_SECS, pause_secs * 1.25)

    async def action(self, action_id: str) -> Action:
        """`NotFound(ACTION_UNKNOWN)` when there is none."""
        document = await self.ground.store.get(ACTIONS, action_id)
        if document is None:
            raise NotFound(f"there is no action {action_id}", ErrorCode.ACTION_UNKNOWN)
        return Action.read(document)

    async def resume(self, action_id: str) -> Outcome:
        """Go on with an action that was set aside; one that was not stays as it is."""
        action = await self.action(action_id)
        if action.is_set_aside:
            try:
                await self.queue.take_up(action)
            except Conflict:
                return Outcome(await self.action(action_id))  # somebody else was faster
            waiting = self.queue.outcome(action_id) if self.is_primary else None
            return await self._outcome(action_id, waiting, self.ground.settings.registry.action_wait_secs)
        return Outcome(action)

    async def complete(self, action_id: str, beef: bytes) -> Outcome:
        """Take in the transaction that a user's wallet signed for an action."""
        action = await self.action(action_id)
        outcome = await complete(self.ground, self.sender, self.queue.handler(action.kind), action, beef)
        if outcome.made:
            self.queue.measures.signed(outcome.action)
        return outcome


def _handlers(ground: RegistryGround) -> dict[Kind, Handler]:
    handlers: dict[Kind, Handler] = {}
    for module in _IN_TURN:
        handlers |= module.handlers(ground)
    return handlers
