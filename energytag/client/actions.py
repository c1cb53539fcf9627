"""Actions, and recurring ones."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from time import monotonic
from typing import Final

from energytag.client.connection import Connection, NotFinished
from energytag.client.refusals import refusal_of
from energytag.models.answers import ActionList, ActionRead
from energytag.models.recurring import RecurringList, RecurringRead

_FIRST_PAUSE_SECS: Final = 0.05
_LONGEST_PAUSE_SECS: Final = 2.0
_FINAL: Final = ("resolved", "rejected")


class Actions:
    """What became of the calls that change the registry."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def get(self, action_id: str) -> ActionRead:
        return await self._connection.read(ActionRead, "GET", f"/actions/{action_id}")

    async def list(self, account_id: str | None = None, state: str | None = None) -> AsyncIterator[ActionRead]:
        """Your own actions, or an account's, the latest first."""
        cursor: str | None = None
        while True:
            params = {"account_id": account_id, "state": state, "cursor": cursor}
            page = await self._connection.read(ActionList, "GET", "/actions", params=params)
            for action in page.actions:
                yield action
            cursor = page.cursor
            if cursor is None:
                return

    async def wait(self, action_id: str, timeout_secs: float = 60.0) -> ActionRead:
        """The action once it is resolved, or waits for a wallet's signature. A rejected one raises its reason;
        `NotFinished` when the time is up."""
        until, pause = monotonic() + timeout_secs, _FIRST_PAUSE_SECS
        while True:
            action = await self.get(action_id)
            if action.error is not None:
                raise refusal_of(action.error.model_dump())
            if action.action_state in _FINAL or action.to_sign is not None:
                return action
            if monotonic() >= until:
                raise NotFinished(action_id)
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_SECS)

    async def complete(self, action_id: str, beef: bytes) -> ActionRead:
        """Hand in the transaction (BEEF) that a user's wallet signed for an action."""
        return await self._connection.read(
            ActionRead,
            "POST",
            f"/actions/{action_id}/complete",
            content=beef,
            media_type="application/octet-stream",
        )

    async def resume(self, action_id: str) -> ActionRead:
        """Go on with an action that was set aside; for the administrator."""
        return await self._connection.read(ActionRead, "POST", f"/actions/{action_id}/resume")


class Recurring:
    """Series of actions; they are begun by `certificates.recurring_transfer` and its like."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def get(self, recurring_id: str) -> RecurringRead:
        return await self._connection.read(RecurringRead, "GET", f"/recurring/{recurring_id}")

    async def stop(self, recurring_id: str) -> RecurringRead:
        return await self._connection.read(RecurringRead, "POST", f"/recurring/{recurring_id}/stop")

    async def list(self, account_id: str) -> AsyncIterator[RecurringRead]:
        """An account's series, the oldest first, without their occurrences."""
        cursor: str | None = None
        while True:
            params = {"account_id": account_id, "cursor": cursor}
            page = await self._connection.read(RecurringList, "GET", "/recurring", params=params)
            for series in page.recurring:
                yield series
            cursor = page.cursor
            if cursor is None:
                return
