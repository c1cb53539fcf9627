"""Completing: an action goes on with the transaction that a user's wallet has signed."""

from __future__ import annotations

from energytag.actions import Action
from energytag.ground import RegistryGround
from energytag.plan import Handler
from energytag.queue import Outcome
from energytag.sending import Sender


async def complete(
    ground: RegistryGround, sender: Sender, handler: Handler, action: Action, beef: bytes
) -> Outcome:
    raise NotImplementedError
