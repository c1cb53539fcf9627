"""`reserve` and `release`: certificates that are kept for another registry, and those given free again.

Under registry configuration 2 a reservation is final (EnergyTag API v2, `target_registry`).
"""

from __future__ import annotations

from dataclasses import dataclass

from certificates.document import Json
from certificates.lifecycle import Status
from energytag.accounts import holder_of
from energytag.actions import Action
from energytag.cancellations import unless_final
from energytag.choosing import Demand, held_by
from energytag.ground import RegistryGround
from energytag.moving import chosen, plan_moves, plan_whole, stands
from energytag.plan import Plan, Scene


@dataclass(frozen=True, slots=True)
class Reservations:
    """Active certificates; `target_registry` goes into the token, as `reservation`."""

    ground: RegistryGround
    reads_holdings: bool = True

    async def plan(self, action: Action, scene: Scene) -> Plan:
        source = await holder_of(scene.reader, self.ground.keyring, action.request["source_account_id"])
        demand = Demand("be reserved", frozenset({Status.ACTIVE}), held_by(source))
        target = action.request.get("target_registry")
        extras: dict[str, Json] = {} if target is None else {"reservation": {"target_registry": target}}
        choices = await chosen(action, scene, demand, self.ground)
        return await plan_moves(
            choices, lambda _, part: stands(part, source, status=Status.RESERVED, extras=extras), source
        )


@dataclass(frozen=True, slots=True)
class Releases:
    """Reserved certificates, Active again."""

    ground: RegistryGround
    reads_holdings: bool = True

    async def plan(self, action: Action, scene: Scene) -> Plan:
        source = await holder_of(scene.reader, self.ground.keyring, action.request["source_account_id"])
        demand = Demand("be released", frozenset({Status.RESERVED}), unless_final(source))
        return plan_whole(await chosen(action, scene, demand, self.ground), source, Status.ACTIVE)
