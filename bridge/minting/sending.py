"""Sending: only what is stored, and always the identical bytes, so that a send too many does no harm.

No answer means nothing: the transaction may have landed. A refusal by preflight is one node's opinion of one
moment, and says nothing of bytes that were sent before. So neither ends an attempt; they are remembered, and
settling goes by the chain.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from bridge.minting import changes
from bridge.minting.context import Context
from bridge.minting.flights import Flight
from bridge.records import AttemptState

AT_ONCE: Final = 20

log = structlog.get_logger("metawatt.minting")


@dataclass(frozen=True, slots=True)
class Sent:
    """How a number of sends went."""

    taken: int = 0
    refused: int = 0
    unanswered: int = 0

    @property
    def is_stopped(self) -> bool:
        """Whether to sign no more for now: the cluster does not answer, or refuses all that is sent to it."""
        return self.unanswered > 0 or (self.refused > 0 and self.taken == 0)


class Sending:
    """Sends flights, a bounded number at once."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def send(self, flights: Sequence[Flight]) -> Sent:
        """Send flights that are stored, and record how it went."""
        results = await asyncio.gather(*map(self._send, flights))
        sent = Sent(*(results.count(each) for each in ("sent", "refused", "unanswered")))
        self._context.measures.transactions.update(results)
        resent = sum(flight.sends > 1 for flight in flights)
        if resent:
            self._context.measures.transactions["resent"] += resent
        await self._record(flights)
        return sent

    async def _send(self, flight: Flight) -> str:
        async with self._slots:
            flight.sent(self._context.now_ms())
            return await flight.hand_in(self._context.rpc, log)

    async def _record(self, flights: Sequence[Flight]) -> None:
        """For whoever looks at an attempt; nothing goes by it. One that is over meanwhile is left as it is."""
        for flight in flights:
            flight.state = AttemptState.SENT
        await self._context.commit([changes.attempt_at(each, each.state, None) for each in flights])
