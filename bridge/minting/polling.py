"""A round of the minter: settle what is on its way, then sign for what is due, batch after batch until none is."""

from __future__ import annotations

from typing import Final

from bridge.minting.batches import Batches
from bridge.minting.context import Context
from bridge.minting.polls import PollResult
from bridge.minting.retry import ASKED_MS
from bridge.minting.sending import Sending
from bridge.minting.settling import Settling
from bridge.minting.taking import Batch, Taking
from bridge.records import READINGS
from store.port import Find

MOST_ON_THEIR_WAY: Final = 4_096
"""Transactions: at most so many are kept in memory and asked for, however long the cluster takes to be final."""
SETTLE_MS: Final = 500
LONGEST_MS: Final = 5_000
"""Of a poll at a stretch: in between, the operator's switches are looked at, and it is told that it moves."""


class Polling:
    """Rounds of one minter, one at a time."""

    def __init__(
        self, context: Context, taking: Taking, sending: Sending, settling: Settling, batches: Batches
    ) -> None:
        self._context = context
        self._taking = taking
        self._sending = sending
        self._settling = settling
        self._batches = batches
        self._settled_ms = -SETTLE_MS
        self.goes_on = False
        """Whether the last poll ended before all that was due was signed for."""

    async def settle(self) -> None:
        self._settled_ms = self._context.now_ms()
        await self._settling.settle()

    async def poll(self, batch_size: int, *, also_unasked: bool) -> PollResult:
        """Sign for all that is due and send it. It ends early, with `goes_on`, when too much is on its way, or when
        it takes long."""
        self.goes_on = True
        result, until_ms = PollResult(), self._context.now_ms() + LONGEST_MS
        while await self._has_room():
            batch = await self._taking.batch(batch_size, also_unasked=also_unasked)
            result = result.plus(batch.readings, len(batch.flights), batch.found)
            if not await self._sent(batch):
                # Whatever is the matter, the readings that are left wait for the next poll.
                self.goes_on = False
                break
            if not batch.goes_on:
                self.goes_on = batch.is_overtaken
                break
            if self._context.now_ms() >= until_ms:
                break
        return result

    @property
    def has_more(self) -> bool:
        """Whether the last poll ended although more could be sent at once."""
        return self.goes_on and len(self._context.flights) < MOST_ON_THEIR_WAY

    async def waiting(self, *, also_unasked: bool) -> int:
        """How many readings are due."""
        upper = self._context.now_ms() + 1 if also_unasked else ASKED_MS + 1
        return await self._context.store.count(READINGS, Find("due", upper=upper))

    async def _has_room(self) -> bool:
        """Whether more may be sent; settles on the way, so that a long poll does not put that off."""
        await self._hold()
        is_full = len(self._context.flights) >= MOST_ON_THEIR_WAY
        if is_full or self._context.now_ms() - self._settled_ms >= SETTLE_MS:
            await self.settle()
        return len(self._context.flights) < MOST_ON_THEIR_WAY

    async def _hold(self) -> None:
        if not await self._context.lease.hold():
            await self._context.lease.demand()

    async def _sent(self, batch: Batch) -> bool:
        """Send what was stored; False when the cluster takes nothing."""
        if not batch.flights:
            return True
        self._batches.begin(batch.flights[0].batch or "", batch.readings)
        sent = await self._sending.send(batch.flights)
        return not sent.is_stopped
