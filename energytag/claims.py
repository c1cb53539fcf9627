"""`claim`: the beneficiary's statement that the attributes of a cancelled certificate are its own."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from certificates.lifecycle import Status
from certificates.ranges import Range
from config.errors import ErrorCode, Forbidden, MetawattError
from energytag.accounts import holder_of
from energytag.actions import Action
from energytag.choosing import Against, Choice, Demand, held_by
from energytag.ground import RegistryGround
from energytag.holdings import find
from energytag.moving import chosen, plan_moves, stands
from energytag.plan import Holder, Holding, Part, Plan, Scene
from energytag.selection import Criteria, NothingSelected
from energytag.storage_charging import backing_charges
from lookup.filters import Filters


class NotBeneficiary(Forbidden):
    """Only the beneficiary of a cancellation may claim it."""

    default_code = ErrorCode.NOT_BENEFICIARY


@dataclass(frozen=True, slots=True)
class Claims:
    """Cancelled certificates whose beneficiary is the source account itself."""

    ground: RegistryGround
    reads_holdings: bool = True

    async def plan(self, action: Action, scene: Scene) -> Plan:
        claimant = await holder_of(scene.reader, self.ground.keyring, action.request["source_account_id"])
        keys = {claimant.identity, self.ground.keyring.account(claimant.account_id).public}
        against = unless_beneficiary(claimant, keys)
        demand = Demand("be claimed", frozenset({Status.CANCELLED}), against, barred=backing_charges)
        try:
            choices = await chosen(action, scene, demand, self.ground)
        except NothingSelected:
            await _check_elsewhere(action, scene)
            raise

        def becomes(choice: Choice, part: Range) -> Part:
            extras = {"beneficiary": choice.holding.token.beneficiary}
            return stands(part, claimant, status=Status.CLAIMED, extras=extras)

        return await plan_moves(choices, becomes, claimant)


def unless_beneficiary(claimant: Holder, keys: Collection[bytes]) -> Against:
    """Cancelled for one of that account's identity keys: its user's, or the registry's for it, which it had
    before a user's wallet was bound to it."""
    held = held_by(claimant)
    own = {key.hex() for key in keys}

    def against(holding: Holding) -> MetawattError | None:
        beneficiary = holding.token.beneficiary
        named = beneficiary.get("identity_key") if type(beneficiary) is dict else None
        return held(holding) if named in own else NotBeneficiary()

    return against


async def _check_elsewhere(action: Action, scene: Scene) -> None:
    """`NotBeneficiary` when the issuance that was named is cancelled, for somebody else."""
    issuance_id = Criteria.read(action.request).issuance_id
    if issuance_id is not None:
        filters = Filters({"issuance_id": (issuance_id,)}, statuses=(Status.CANCELLED.value,))
        if await find(scene.reader, filters, scene.now_ms // 1000, 1):
            raise NotBeneficiary
