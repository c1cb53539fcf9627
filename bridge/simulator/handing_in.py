"""Hands readings in, one by one or many a call, and counts what the gateway says of each."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from bridge.simulator.backlog import Backlog, Due
from bridge.simulator.gateway import Gateway, NotNow
from bridge.simulator.minted import Following
from bridge.simulator.tally import Tally
from config.errors import ErrorCode, MetawattError

_PASSING: Final = frozenset(
    {
        ErrorCode.RATE_LIMITED,
        ErrorCode.OVERLOADED,
        ErrorCode.STARTING,
        ErrorCode.SHUTTING_DOWN,
        ErrorCode.STORAGE_UNAVAILABLE,
        ErrorCode.STORAGE_CONFLICT,
        ErrorCode.INTERNAL,
    }
)
"""Of a batch's entries: what may go well another time."""
REST_SECS: Final = 1.0
"""After the gateway was not to be had for all tries."""


class HandingIn:
    """One worker of several that draw from the same backlog."""

    def __init__(self, gateway: Gateway, backlog: Backlog, tally: Tally, following: Following, most: int) -> None:
        self._gateway = gateway
        self._backlog = backlog
        self._tally = tally
        self._following = following
        self._most = most

    async def work(self) -> None:
        """Until it is cancelled."""
        while True:
            due = await self._backlog.take(self._most)
            again = await self._hand_in(due)
            await self._backlog.done(len(due) - len(again))
            if again:
                await self._backlog.put_back(again)
                await asyncio.sleep(REST_SECS)

    async def _hand_in(self, due: Sequence[Due]) -> list[Due]:
        """Those that are to be tried again."""
        try:
            answers = await self._answers(due)
        except NotNow as error:
            self._tally.troubles[error.code] += 1
            return list(due)
        except MetawattError as error:
            # Nothing was taken in: a single reading is at fault, or the call as a whole.
            for one in due:
                self._tally.refused(one.kind, error.code)
            return []
        return [one for one, answer in zip(due, answers, strict=True) if self._is_passing(one, answer)]

    async def _answers(self, due: Sequence[Due]) -> list[dict[str, Any]]:
        if self._most == 1:
            return [await self._gateway.submit(due[0].body)]
        return await self._gateway.submit_many([one.body for one in due])

    def _is_passing(self, due: Due, answer: dict[str, Any]) -> bool:
        """Count one reading's answer; whether it is to be tried again instead."""
        code = answer.get("code")
        if code is None:
            self._tally.accepted(due.kind, due.measured)
            self._following.follow(str(answer.get("id") or due.reading_id), due)
            return False
        if code in _PASSING:
            self._tally.troubles[code] += 1
            return True
        self._tally.refused(due.kind, str(code))
        return False
