"""BSV as a destination: certificates are issued for what comes from Solana, given back where an exit is refunded,
and withdrawn where one is completed."""

from __future__ import annotations

from collections.abc import Sequence

from bridge.mirror.ground import MirrorGround
from bridge.mirror.message import Message
from bridge.mirror.ports import Accounting, Provenance, Receipts
from bridge.mirror.receipts.receipting import Receipting
from bridge.mirror.states import Direction
from bridge.mirror.to_bsv.completing import Completing
from bridge.mirror.to_bsv.earlier import Earlier
from bridge.mirror.to_bsv.following import Following
from bridge.mirror.to_bsv.issuing import Issuing
from bridge.mirror.to_bsv.posting import Poster
from bridge.mirror.to_bsv.refunding import Refunding


class BsvDestination:
    """`ports.Destination` of the lane in, and of the refunds and the completion of the lane out."""

    def __init__(
        self, ground: MirrorGround, provenance: Provenance, accounting: Accounting, receipts: Receipts
    ) -> None:
        self._poster = Poster(ground)
        self._issuing = Issuing(ground)
        self._refunding = Refunding(ground)
        receipting = Receipting(ground, accounting, receipts)
        self._completing = Completing(ground, provenance, accounting, receipting, self._poster)
        self._following = Following(ground, self._completing.again)
        self._earlier = Earlier(ground)

    async def deliver(self, messages: Sequence[Message]) -> None:
        """Messages from Solana are issued, exits are refunded. Raises `Unavailable`, `Lost`."""
        clear, spending = await self._earlier.settle(messages)
        if coming := [each for each in clear if each.direction is Direction.IN]:
            await self._poster.carry_out(self._issuing, coming, spending)
        if back := [each for each in clear if each.direction is Direction.OUT]:
            await self._poster.carry_out(self._refunding, back)

    async def follow(self) -> int:
        return await self._following.follow()

    async def complete(self, messages: Sequence[Message]) -> None:
        """DST_FINAL → RECEIPTED | REFUNDED: messages that are final here, and exits that are final on Solana."""
        await self._completing.complete(messages)
