"""Where the node is between listening and gone, as the HTTP side sees it."""

from __future__ import annotations

import asyncio
from enum import Enum

from config.errors import ErrorCode, Unavailable


class Phase(Enum):
    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"


class Lifecycle:
    """The node listens, at `port`, before it is ready; `demand_ready` is what turns early and late requests away.
    Requests under way are counted, so that the node can leave when the last one is answered."""

    def __init__(self, phase: Phase = Phase.STARTING) -> None:
        self.phase = phase
        self.port: int | None = None
        self.in_flight = 0
        self._idle: asyncio.Future[None] | None = None

    @property
    def ready(self) -> bool:
        return self.phase is Phase.READY

    def demand_ready(self) -> None:
        """`Unavailable(STARTING | SHUTTING_DOWN)` unless the node is ready."""
        if self.phase is Phase.STARTING:
            raise Unavailable("The node is starting", ErrorCode.STARTING)
        if self.phase is Phase.STOPPING:
            raise Unavailable("The node is shutting down", ErrorCode.SHUTTING_DOWN)

    def left(self) -> None:
        """A request was answered."""
        self.in_flight -= 1
        if self._idle is not None and self.in_flight == 0 and not self._idle.done():
            self._idle.set_result(None)

    async def drained(self, timeout_secs: float) -> bool:
        """Wait until no request is under way; False when that takes too long."""
        if self.in_flight == 0:
            return True
        self._idle = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(timeout_secs):
                await self._idle
        except TimeoutError:
            return False
        return True
