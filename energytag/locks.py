"""`lock` and `unlock`: certificates handed to a bridge to another chain, and given back by it.

A bridge is known by its identity key (`topics.bridge_keys`). The lock is to a child of that key which everybody can
derive, from the key ID in `exit`. This node can give back what is locked to its own identity key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

from certificates.document import Json
from certificates.lifecycle import Status
from certificates.ranges import Range
from certificates.successor import lock, succeed
from certificates.token import OWNER_PROTOCOL, Token
from config.errors import BadRequest, ErrorCode, MetawattError
from energytag.accounts import holder_of
from energytag.actions import Action
from energytag.cancellations import open_key_id
from energytag.choosing import Choice, Demand, StatusForbids, held_by
from energytag.ground import RegistryGround
from energytag.moving import chosen, plan_moves, plan_whole
from energytag.plan import Holding, Lock, Part, Plan, Scene
from overlay.keys import derive_for_anyone


@dataclass(frozen=True, slots=True)
class Locks:
    """Active certificates to a bridge; `exit` says where they are to go."""

    ground: RegistryGround
    reads_holdings: bool = True

    async def plan(self, action: Action, scene: Scene) -> Plan:
        source = await holder_of(scene.reader, self.ground.keyring, action.request["source_account_id"])
        bridge = self._bridge(action.request.get("bridge"))
        leaving = action.request["exit"]
        demand = Demand("be locked", frozenset({Status.ACTIVE}), held_by(source))
        choices = await chosen(action, scene, demand, self.ground)

        def becomes(choice: Choice, part: Range) -> Part:
            key_id = open_key_id(choice.holding.outpoint, part)
            owner_key = derive_for_anyone(bridge, OWNER_PROTOCOL, key_id)
            return Part(partial(_locked, part=part, leaving={**leaving, "key_id": key_id}), owner_key=owner_key)

        return await plan_moves(choices, becomes, source, bridge=bridge.hex())

    def _bridge(self, named: str | None) -> bytes:
        bridges = self.ground.policy.bridge_keys
        if named is None and len(bridges) != 1:
            message = f"name one of the {len(bridges)} bridges" if bridges else "this node knows no bridge"
            raise BadRequest(message, ErrorCode.INVALID_FIELD)
        bridge = next(iter(bridges)) if named is None else bytes.fromhex(named)
        if bridge not in bridges:
            raise BadRequest(f"{named} is no bridge that this node knows", ErrorCode.INVALID_FIELD)
        return bridge


@dataclass(frozen=True, slots=True)
class Unlocks:
    """Locked certificates, Active again in the account that locked them."""

    ground: RegistryGround
    reads_holdings: bool = True

    async def plan(self, action: Action, scene: Scene) -> Plan:
        source = await holder_of(scene.reader, self.ground.keyring, action.request["source_account_id"])
        demand = Demand("be unlocked", frozenset({Status.LOCKED}), self._against)
        choices = [self._with_key(each) for each in await chosen(action, scene, demand, self.ground)]
        return plan_whole(choices, source, Status.ACTIVE)

    def _against(self, holding: Holding) -> MetawattError | None:
        """Against what is locked to another bridge, or must be given back to a key that the owner named; and
        against all of it on a node that mirrors: tokens may be out already for what is locked."""
        if self.ground.settings.mirrors:
            return StatusForbids("what is locked to this bridge is given back by it alone: ask for a refund")
        identity = self.ground.keyring.identity
        key_id = _key_id(holding.token)
        if key_id is None or derive_for_anyone(identity, OWNER_PROTOCOL, key_id) != holding.token.locking_key:
            return StatusForbids("the certificate is locked to a bridge which this node is not")
        if "owner" in holding.token.exit:
            return StatusForbids("the certificate's owner has bound the refund to a key of its own")
        return None

    @staticmethod
    def _with_key(choice: Choice) -> Choice:
        key_id = _key_id(choice.holding.token)
        return replace(choice, holding=replace(choice.holding, key_id=key_id, sender=b"anyone"))


def _locked(token: Token, to: Lock, *, part: Range, leaving: Mapping[str, Json]) -> Token:
    return lock(succeed(token, to.owner_key, part=part), to.owner_key, leaving)


def _key_id(token: Token) -> str | None:
    key_id = token.exit.get("key_id") if type(token.exit) is dict else None
    return key_id if type(key_id) is str else None
