"""Whether what was made for a message at its destination may have landed, or may yet.

Where it may, nothing is given back, and on Solana nothing is begun anew at a person's word.
"""

from __future__ import annotations

from typing import Final

from bridge.mirror.ground import MirrorGround
from bridge.mirror.message import Message
from bridge.mirror.records import RELEASES
from bridge.mirror.states import Hold
from bridge.mirror.to_bsv.fates import Fate, Fates
from bridge.programs.mode import is_guard
from bridge.programs.release import crossing_marker
from bridge.records import AttemptState

_DEAD: Final = (AttemptState.EXPIRED, AttemptState.FAILED)
_PAID: Final = "its marker is on Solana: something of the bridge's key has paid for it"


class Landing:
    """Asks the records of both destinations."""

    def __init__(self, ground: MirrorGround) -> None:
        self._ground = ground
        self._store = ground.store
        self._fates = Fates(ground)

    async def against_refund(self, message: Message) -> str | None:
        """Why a message cannot be given back, for people; None when nothing can have landed, or ever will. Raises
        `Unavailable` when a chain does not tell."""
        if message.reason is not None and message.reason.code is Hold.MARKER_FOREIGN:
            return _PAID
        if message.ends_on_bsv:
            return await self._on_bsv(message)
        return await self._on_solana(message) or await self._by_marker(message)

    async def against_release(self, message: Message) -> str | None:
        """Why a message that is in the books cannot go on. On BSV its earlier transactions are settled before
        another is made. A marker that was found is looked up again, and lets nothing be paid twice."""
        is_looked_up = message.reason is not None and message.reason.code is Hold.MARKER_FOREIGN
        return None if is_looked_up or message.ends_on_bsv else await self._on_solana(message)

    async def _on_bsv(self, message: Message) -> str | None:
        fates = (await self._fates.of(message.attempts)).values()
        is_dead = all(each.fate is Fate.DEAD for each in fates)
        return None if is_dead else "a transaction of it may be mined yet: what excludes that is not deep enough"

    async def _on_solana(self, message: Message) -> str | None:
        if message.destination_tx is None:
            return None
        row = await self._store.get(RELEASES, message.destination_tx)
        if row is not None and row["state"] in _DEAD:
            return None
        return "its transaction on Solana was signed, and has neither failed nor expired"

    async def _by_marker(self, message: Message) -> str | None:
        """The books may be older than the chain, as those of a restored database are: every endpoint is asked."""
        asset, base = self._ground.asset, self._ground.signers[0].public
        _, marker = crossing_marker(asset.genesis, asset.mint, base, message.crossing_id)
        for endpoint in (self._ground.rpc, *self._ground.witnesses):
            (account,) = await endpoint.accounts([marker])
            if is_guard(account):
                return _PAID
        return None
