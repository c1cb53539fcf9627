"""Moving: choices become coins to spend and the parts that take their place.

What is not taken of a coin stays where it is, as parts of its own. Only an Active certificate can be divided, so
what notices have withdrawn of a Reserved or Locked one, which is never taken, becomes Active again beside it.
"""

from __future__ import annotations

from asyncio import sleep
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final, TypeAlias

from certificates.document import Json
from certificates.lifecycle import Status
from certificates.ranges import Range
from certificates.successor import succeed
from certificates.token import Token
from energytag.actions import Action
from energytag.choosing import Choice, Demand, choose, chosen_before, memo_of
from energytag.ground import RegistryGround
from energytag.plan import Holder, Lock, Move, Part, Piece, Plan, Scene
from energytag.selection import Criteria

MOST_LISTED: Final = 1000
"""Issuance ids in an action's result."""
_MOVES_A_TURN: Final = 256

Becomes: TypeAlias = Callable[[Choice, Range], Part]
"""What takes the place of some numbers of a chosen certificate."""


async def chosen(action: Action, scene: Scene, demand: Demand, ground: RegistryGround) -> list[Choice]:
    """What an action takes: as it decided before, or as its criteria say."""
    if action.memo is not None:
        return await chosen_before(action.memo, scene.reader)
    most = ground.settings.registry.bundles_per_action
    return await choose(Criteria.read(action.request), demand, scene, most)


def stands(
    part: Range,
    holder: Holder,
    *,
    status: Status | None = None,
    extras: Mapping[str, Json] | None = None,
) -> Part:
    """A part that stands in an account."""
    return Part(partial(_successor, part=part, account_id=holder.account_id, status=status, extras=extras), holder)


def _successor(
    token: Token,
    lock: Lock,
    *,
    part: Range,
    account_id: str,
    status: Status | None,
    extras: Mapping[str, Json] | None,
) -> Token:
    return succeed(token, lock.owner_key, status=status, part=part, account_id=account_id, extras=extras)


def move(choice: Choice, becomes: Becomes, stays: Holder) -> Move:
    """The coin with its parts in the order of their numbers; `stays` holds what is kept."""
    is_active = choice.holding.token.bundle.status is Status.ACTIVE
    kept_as = None if is_active else Status.ACTIVE
    parts = [(each, becomes(choice, each)) for each in choice.parts]
    parts += [(each, stands(each, stays, status=kept_as)) for each in choice.kept]
    return Move(choice.holding, tuple(part for _, part in sorted(parts, key=lambda pair: pair[0])))


async def plan_moves(
    choices: Sequence[Choice], becomes: Becomes, stays: Holder, touches: Iterable[str] = (), **told: Any
) -> Plan:
    """The plan in which every choice becomes what `becomes` says. `told` goes into the result. Other tasks have
    their turn now and then, since there may be thousands."""
    pieces: list[Move] = []
    for each in choices:
        pieces.append(move(each, becomes, stays))
        if len(pieces) % _MOVES_A_TURN == 0:
            await sleep(0)
    return plan_of(choices, pieces, [stays.account_id, *touches], **told)


def plan_of(choices: Sequence[Choice], pieces: Sequence[Piece], touches: Iterable[str], **told: Any) -> Plan:
    return Plan(pieces, memo=memo_of(choices), result=result_of(choices) | told, touches=frozenset(touches))


def result_of(choices: Sequence[Choice]) -> dict[str, Any]:
    """How much was taken: bundles, certificates, energy in Wh, and of which issuances (the first of them)."""
    issuances = dict.fromkeys(each.holding.token.issuance_id for each in choices)
    return {
        "bundles": len(choices),
        "quantity": sum(each.quantity for each in choices),
        "energy_wh": sum(each.energy_wh for each in choices),
        "issuance_ids": list(issuances)[:MOST_LISTED],
    }


def plan_whole(choices: Sequence[Choice], holder: Holder, status: Status) -> Plan:
    """The plan in which every coin becomes one part of that status, in the same account."""
    pieces = [Move(each.holding, (stands(each.whole, holder, status=status),)) for each in choices]
    return plan_of(choices, pieces, [holder.account_id])
