"""Where the node is between listening and gone, as the HTTP side sees it."""

from __future__ import annotations

from enum import Enum

from config.errors import ErrorCode, Unavailable


class Phase(Enum):
    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"


class Lifecycle:
    """The node listens before it is ready; `demand_ready` is what turns early and late requests away."""

    def __init__(self, phase: Phase = Phase.STARTING) -> None:
        self.phase = phase

    @property
    def ready(self) -> bool:
        return self.phase is Phase.READY

    def demand_ready(self) -> None:
        """`Unavailable(STARTING | SHUTTING_DOWN)` unless the node is ready."""
        if self.phase is Phase.STARTING:
            raise Unavailable("The node is starting", ErrorCode.STARTING)
        if self.phase is Phase.STOPPING:
            raise Unavailable("The node is shutting down", ErrorCode.SHUTTING_DOWN)
