"""Locked certificates as coins that the bridge spends: of exits that are completed or given back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bridge.mirror.from_bsv.exits import leaving_of
from bridge.mirror.ground import MirrorGround
from bridge.mirror.message import Message
from bridge.mirror.states import Hold
from bridge.mirror.to_bsv.posting import Leg, Refusals, Refused
from certificates.lifecycle import Status
from certificates.token import Token
from energytag.compose import ANYONE
from energytag.holdings import load
from energytag.plan import Holding, Move, Part
from overlay.records import SPENDS
from overlay.transaction import show_outpoint
from store.port import Document


@dataclass(frozen=True, slots=True)
class MoveLeg(Leg):
    """A coin of the bridge's, and what takes its place."""

    piece: Move


class LockedCoins:
    """Finds the coins of exits."""

    def __init__(self, ground: MirrorGround) -> None:
        self._ground = ground
        self._keyring = ground.registry.ground.keyring

    async def of(self, messages: Sequence[Message]) -> tuple[dict[bytes, Holding], Refusals]:
        """Holdings that the bridge can unlock, by the message's id; and the messages that have none."""
        outpoints = [each.source_event for each in messages]
        loaded = {each.outpoint: each for each in await load(self._ground.store, outpoints)}
        spends = await self._ground.store.get_many(SPENDS, list(outpoints))
        found: dict[bytes, Holding] = {}
        refused: Refusals = []
        for message in messages:
            try:
                found[message.id] = self._own(message, loaded.get(message.source_event), spends)
            except Refused as refusal:
                refused.append((message, refusal.reason))
        return found, refused

    def _own(self, message: Message, holding: Holding | None, spends: Mapping[Any, Document]) -> Holding:
        name = show_outpoint(message.source_event)
        if holding is None:
            raise Refused(Hold.SOURCE_LOST, f"the certificate at {name} is not here")
        if message.source_event in spends:
            spender = spends[message.source_event]["txid"][::-1].hex()
            raise Refused(Hold.DESTINATION_CONFLICT, f"the certificate at {name} was spent by {spender}")
        key_id = _key_id(holding.token)
        if holding.token.bundle.status is not Status.LOCKED:
            raise Refused(Hold.SOURCE_LOST, f"the certificate at {name} is not locked")
        if holding.token.locking_key == self._keyring.identity:
            key_id = None
        elif key_id is None:
            raise Refused(Hold.SOURCE_LOST, f"the certificate at {name} is not locked by a key ID")
        if self._keyring.bridge_key(key_id).public != holding.token.locking_key:
            raise Refused(Hold.SOURCE_LOST, f"the certificate at {name} is locked to another bridge")
        return replace(holding, key_id=key_id, sender=ANYONE)

    def leg(self, message: Message, holding: Holding, part: Part) -> MoveLeg:
        piece = Move(holding, (part,))
        return MoveLeg(message, piece.outputs, self._ground.registry.sender.topics_of(piece), piece)


def _key_id(token: Token) -> str | None:
    key_id = leaving_of(token).get("key_id")
    return key_id if isinstance(key_id, str) else None
