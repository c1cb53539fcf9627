"""`transfer` and `split`: Active certificates to another account, or into parts that stay."""

from __future__ import annotations

from dataclasses import dataclass, replace

from certificates.lifecycle import Status
from config.errors import BadRequest, ErrorCode, Forbidden
from energytag.accounts import account, holder_of
from energytag.actions import Action
from energytag.choosing import Choice, Demand, held_by
from energytag.ground import RegistryGround
from energytag.moving import chosen, plan_moves, stands
from energytag.plan import Holder, Plan, Scene
from energytag.selection import Taken, divide
from store.port import Reader


class NotWhitelisted(Forbidden):
    """The target account does not accept transfers from the source account."""

    default_code = ErrorCode.NOT_WHITELISTED


@dataclass(frozen=True, slots=True)
class Transfers:
    """To `target_account_id`, which must accept it."""

    ground: RegistryGround
    reads_holdings: bool = True

    async def plan(self, action: Action, scene: Scene) -> Plan:
        source = await holder_of(scene.reader, self.ground.keyring, action.request["source_account_id"])
        target = await self._target(action, source, scene.reader)
        demand = Demand("be transferred", frozenset({Status.ACTIVE}), held_by(source))
        choices = await chosen(action, scene, demand, self.ground)
        return await plan_moves(
            choices,
            lambda _, part: stands(part, target),
            source,
            [target.account_id],
            target_account_id=target.account_id,
        )

    async def _target(self, action: Action, source: Holder, reader: Reader) -> Holder:
        target_id = action.request.get("target_account_id")
        if target_id is None:
            raise BadRequest("target_account_id is missing", ErrorCode.INVALID_FIELD)
        if target_id == source.account_id:
            raise BadRequest("target_account_id is the source account itself", ErrorCode.INVALID_FIELD)
        whitelist = (await account(reader, target_id))["whitelist"]
        if whitelist is not None and source.account_id not in whitelist:
            raise NotWhitelisted(f"account {target_id} does not accept transfers from {source.account_id}")
        return await holder_of(reader, self.ground.keyring, target_id)


@dataclass(frozen=True, slots=True)
class Splits:
    """What is selected becomes a part of its own; `sizes` divide one bundle further."""

    ground: RegistryGround
    reads_holdings: bool = True

    async def plan(self, action: Action, scene: Scene) -> Plan:
        source = await holder_of(scene.reader, self.ground.keyring, action.request["source_account_id"])
        demand = Demand("be split", frozenset({Status.ACTIVE}), held_by(source))
        choices = await chosen(action, scene, demand, self.ground)
        if action.memo is None:
            choices = self._divided(choices, action)
        return await plan_moves(choices, lambda _, part: stands(part, source), source)

    def _divided(self, choices: list[Choice], action: Action) -> list[Choice]:
        sizes = action.request.get("sizes")
        if sizes is not None:
            choices = self._by_sizes(choices, sizes)
        cut = [each for each in choices if len(each.parts) > 1 or each.kept]
        if not cut:
            raise BadRequest("nothing is divided: what is selected are whole bundles", ErrorCode.RANGE_INVALID)
        return cut

    def _by_sizes(self, choices: list[Choice], sizes: list[int]) -> list[Choice]:
        most = self.ground.settings.registry.bundles_per_transaction
        if len(choices) != 1 or len(sizes) >= most:
            message = f"sizes divide one bundle into at most {most} parts; {len(choices)} bundles are selected"
            raise BadRequest(message, ErrorCode.RANGE_INVALID)
        only = choices[0]
        taken = Taken(only.holding.outpoint, only.whole, only.parts)
        return [replace(only, parts=tuple(divide(taken, sizes)))]
