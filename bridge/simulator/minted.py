"""Follows accepted readings until they are minted, by asking the gateway for their state."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from bridge.simulator.backlog import Due
from bridge.simulator.gateway import Gateway, NotNow
from bridge.simulator.tally import Tally
from config.errors import Forbidden, MetawattError, Unauthorized

AT_ONCE: Final = 16
_A_ROUND: Final = 256
"""Readings that are asked for in a round: beyond it the count lags, and the token balances are what is true."""
_LAST_ROUNDS: Final = 5
_MOST_FOLLOWED: Final = 200_000


class Following:
    """Accepted readings whose tokens are still to come, the oldest first."""

    def __init__(self, gateway: Gateway, tally: Tally, pause_secs: float = 1.0) -> None:
        self._gateway = gateway
        self._tally = tally
        self._pause_secs = pause_secs
        self._open: deque[tuple[str, Due]] = deque()
        self._known: set[str] = set()
        self.is_allowed = True
        """False once the gateway has said that it does not tell us."""

    def __len__(self) -> int:
        return len(self._open)

    def follow(self, reading_id: str, due: Due) -> None:
        if self.is_allowed and reading_id not in self._known and len(self._known) < _MOST_FOLLOWED:
            self._known.add(reading_id)
            self._open.append((reading_id, due))

    async def work(self) -> None:
        """Until it is cancelled."""
        while True:
            await self.round()
            await asyncio.sleep(self._pause_secs)

    async def catch_up(self) -> None:
        """Ask for all that are open, for a few rounds: the gateway learns a little after the cluster."""
        for _ in range(_LAST_ROUNDS):
            await self.round()
            if not self._open:
                return
            await asyncio.sleep(self._pause_secs)

    async def round(self) -> None:
        """Ask once for those that wait longest."""
        asked = [self._open.popleft() for _ in range(min(_A_ROUND, len(self._open)))]
        for start in range(0, len(asked), AT_ONCE):
            some = asked[start : start + AT_ONCE]
            ended = await asyncio.gather(*(self._has_ended(reading_id, due) for reading_id, due in some))
            self._open.extend(one for one, end in zip(some, ended, strict=True) if not end)

    async def _has_ended(self, reading_id: str, due: Due) -> bool:
        try:
            shown = await self._gateway.reading(reading_id)
        except NotNow:
            return False
        except (Unauthorized, Forbidden):
            self.is_allowed = False
            self._open.clear()
            return True
        except MetawattError as error:
            self._tally.lost[error.code] += 1
            return True
        if shown.get("minted"):
            self._tally.minted(due.kind, due.measured.energy.surplus_mwh)
            return True
        return False
