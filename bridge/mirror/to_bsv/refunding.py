"""Refunding on BSV: certificates that were locked to leave, and are Active again.

They go to the key that their owner named in the lock; else to the account that they name, where the registry has
it; else to the key that they were locked to before.
"""

from __future__ import annotations

from collections.abc import Sequence

from bridge.mirror.book import Page
from bridge.mirror.from_bsv.exits import leaving_of
from bridge.mirror.ground import MirrorGround
from bridge.mirror.message import Message
from bridge.mirror.states import Hold, State
from bridge.mirror.to_bsv.locked import LockedCoins, MoveLeg
from bridge.mirror.to_bsv.posting import Planned, Posted, Purpose, Refusals, Refused
from certificates.successor import refund
from certificates.token import Token
from config.errors import NotFound
from energytag.accounts import holder_of
from energytag.plan import Holding, Lock, Part


class Refunding:
    """The errand of refunds of exits."""

    purpose = Purpose.REFUND
    fault = Hold.DESTINATION_UNUSABLE

    def __init__(self, ground: MirrorGround) -> None:
        self._ground = ground
        self._coins = LockedCoins(ground)

    async def legs(self, messages: Sequence[Message]) -> tuple[list[MoveLeg], Refusals]:
        holdings, refused = await self._coins.of(messages)
        legs: list[MoveLeg] = []
        for message in messages:
            if (holding := holdings.get(message.id)) is None:
                continue
            try:
                legs.append(self._coins.leg(message, holding, await self._part(message, holding)))
            except Refused as refusal:
                refused.append((message, refusal.reason))
        return legs, refused

    async def _part(self, message: Message, holding: Holding) -> Part:
        owner = leaving_of(holding.token).get("owner")
        if isinstance(owner, str):
            return Part(_refunded, owner_key=bytes.fromhex(owner))
        try:
            keyring = self._ground.registry.ground.keyring
            return Part(_refunded, await holder_of(self._ground.store, keyring, holding.account_id))
        except NotFound:
            return _to_previous(message)

    async def plan(self, legs: Sequence[MoveLeg]) -> Planned:
        return Planned([leg.piece for leg in legs])

    async def enter(self, posted: Sequence[Posted], page: Page) -> None:
        for each in posted:
            page.move(
                each.message,
                State.DST_SIGNED,
                due_ms=None,
                facts=each.message.attempted(),
                destination_tx=each.txid,
                attempt=each.message.attempt + 1,
                is_refund=True,
            )


def _refunded(token: Token, lock: Lock) -> Token:
    return refund(token, lock.owner_key)


def _to_previous(message: Message) -> Part:
    previous = message.facts.get("previous")
    if not previous:
        raise Refused(Hold.DESTINATION_UNUSABLE, "nobody is known that the certificate could be given back to")
    return Part(_refunded, owner_key=bytes.fromhex(previous))
