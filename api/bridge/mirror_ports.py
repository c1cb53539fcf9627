"""What the mirror's routes and figures ask of `bridge.mirror.mirror.Mirror`."""

from __future__ import annotations

from typing import Protocol

from bridge.mirror.parity import Parity

from bridge.mirror.commands import Desk
from bridge.mirror.ground import Asset, MirrorGround
from bridge.mirror.limits import Limits
from bridge.mirror.pauses import Pauses
from config.settings import Settings
from store.port import Store


class MirrorParts(Protocol):
    """The parts of a mirror that is connected."""

    @property
    def ground(self) -> MirrorGround: ...

    @property
    def parity(self) -> Parity: ...


class Mirror(Protocol):
    """One process's mirror. What is stored may be asked of it from the start."""

    @property
    def settings(self) -> Settings: ...

    @property
    def store(self) -> Store: ...

    @property
    def pauses(self) -> Pauses: ...

    @property
    def limits(self) -> Limits: ...

    @property
    def desk(self) -> Desk: ...

    @property
    def trouble(self) -> str | None:
        """Why it is not connected to Solana; None once it is."""
        ...

    @property
    def identity(self) -> bytes:
        """The bridge's identity key on BSV, 33 B."""
        ...

    @property
    def asset(self) -> Asset | None:
        """None until Solana has answered."""
        ...

    @property
    def parts(self) -> MirrorParts:
        """Raises `Unavailable` until Solana has answered."""
        ...

    @property
    def parity(self) -> Parity:
        """Raises `Unavailable` until Solana has answered."""
        ...
