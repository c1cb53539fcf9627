"""Solana as a destination: releases of what was locked on BSV, and refunds of what came from Solana.

Where it may die, and who goes on (tests/bridge/test_mirror_release_crashes.py dies at each of them):

    before the page of the signed releases          nothing is stored, nobody has seen them: the messages are due
    after it, before or between the sends           the releases are open: sent by whoever comes next, as they are
    after a send, before its answer                 the same; the bytes are identical, and land once
    after a release was seen, or was final          it is found by its signature, and settled
    before the page of what was found out           it is found out again
    before the page of a receipt                    the receipt is made again
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence

from bridge.minting.funds import Funds
from bridge.mirror.ground import MirrorGround
from bridge.mirror.message import Message
from bridge.mirror.ports import Accounting, Receipts
from bridge.mirror.receipts.receipting import Receipting
from bridge.mirror.to_solana.context import ReleaseContext
from bridge.mirror.to_solana.following import Following
from bridge.mirror.to_solana.releases import Releases


class SolanaDestination:
    """A `ports.Destination`. It asks the cluster who has to sign when it is first used. `counts` are transactions,
    by what became of them: signed, sent, resent, refused, unanswered, disputed, final, failed, expired."""

    def __init__(self, ground: MirrorGround, accounting: Accounting, receipts: Receipts) -> None:
        self._ground = ground
        self._receipting = Receipting(ground, accounting, receipts)
        self._opening = asyncio.Lock()
        self._parts: tuple[ReleaseContext, Releases, Following] | None = None

    @property
    def counts(self) -> Counter[str]:
        return Counter() if self._parts is None else self._parts[0].counts

    @property
    def funds(self) -> Funds | None:
        """What the payer has; None before the first use."""
        return None if self._parts is None else self._parts[0].funds

    async def deliver(self, messages: Sequence[Message]) -> None:
        """See `ports.Destination`. Raises `Unavailable` when the cluster does not answer or the payer has too few
        lamports, `Conflict` when messages were changed meanwhile, `Lost`."""
        _, releases, _ = await self._open()
        await releases.deliver(messages)

    async def follow(self) -> int:
        """See `ports.Destination`. Raises `Unavailable` when the cluster does not answer, `Lost`."""
        _, _, following = await self._open()
        return await following.follow()

    async def complete(self, messages: Sequence[Message]) -> None:
        """Refunds of what came from Solana: DST_FINAL → REFUNDED, with the receipts, in one page. Releases are for
        BSV to complete, where their certificates are withdrawn."""
        assert all(each.is_refund for each in messages), "a release is completed on BSV"
        receipts = await self._receipting.written(messages)
        await self._receipting.end([each for each in messages if each.id in receipts], receipts)

    async def _open(self) -> tuple[ReleaseContext, Releases, Following]:
        async with self._opening:  # the lanes and whoever follows come at once
            if self._parts is None:
                context = await ReleaseContext.open(self._ground)
                releases = Releases(context)
                self._parts = (context, releases, Following(context, releases))
            return self._parts
