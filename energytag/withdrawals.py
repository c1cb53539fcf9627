"""`withdraw`: the issuing body's notice that certificates no longer stand, in whatever account they are.

Only what is Active, Reserved or Locked can be withdrawn. The notice spends no coin. When all of an issuance is
withdrawn, its interval is free to be issued again: the interval's row counts what is withdrawn, so that two
actions at once cannot both believe that the other's part still stands.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from certificates.lifecycle import WITHDRAWABLE
from certificates.ranges import Range, merge, subtract
from certificates.token import Token
from config.errors import ErrorCode, Forbidden, MetawattError
from energytag.accounts import account
from energytag.actions import Action
from energytag.choosing import Choice, Demand, choose, chosen_before
from energytag.ground import RegistryGround
from energytag.intervals import interval_key, series_key
from energytag.moving import plan_of
from energytag.plan import Holding, Notice, Plan, Scene
from energytag.records import INTERVALS
from energytag.selection import Criteria
from lookup.standing import notices_for
from store.port import Delete, Document, Patch, Write

_WITHDRAWN: Final = "withdrawn"
_NO_REASON: Final = "withdrawn by the issuing body"


class NotTheIssuer(Forbidden):
    """Only the body that issued a certificate may withdraw it."""

    default_code = ErrorCode.NOT_THE_ISSUER


@dataclass(frozen=True, slots=True)
class Withdrawals:
    """Of selected certificates of an account, or of a whole issuance wherever it is."""

    ground: RegistryGround
    reads_holdings: bool = True

    async def plan(self, action: Action, scene: Scene) -> Plan:
        await account(scene.reader, action.request["source_account_id"])
        choices = await self._chosen(action, scene)
        by_issuance = _by_issuance(choices)
        reason, reissued_as = action.request.get("reason") or _NO_REASON, action.request.get("reissued_as")
        notices = [
            Notice(token, part, reason, reissued_as) for token, parts in by_issuance.values() for part in parts
        ]
        writes = await _freed(choices, by_issuance, scene)
        plan = plan_of(choices, notices, {each.holding.account_id for each in choices}, reason=reason)
        return replace(plan, writes=writes)

    async def _chosen(self, action: Action, scene: Scene) -> list[Choice]:
        if action.memo is not None:
            return await chosen_before(action.memo, scene.reader)
        is_whole = bool(action.request.get("whole_issuance"))
        criteria = Criteria.read(action.request)
        if is_whole:
            criteria = Criteria(None, criteria.issuance_id)
        demand = Demand("be withdrawn", WITHDRAWABLE, self._against, is_strict=is_whole, spends=False)
        return await choose(criteria, demand, scene, self.ground.settings.registry.bundles_per_action)

    def _against(self, holding: Holding) -> MetawattError | None:
        return None if holding.token.issuer_key == self.ground.keyring.identity else NotTheIssuer()


_ByIssuance: TypeAlias = dict[str, tuple[Token, list[Range]]]


def _by_issuance(choices: Iterable[Choice]) -> _ByIssuance:
    """Per issuance a token of it, and what is withdrawn in the fewest ranges."""
    ranges: dict[str, list[Range]] = {}
    tokens: dict[str, Token] = {}
    for each in choices:
        token = each.holding.token
        tokens.setdefault(token.issuance_id, token)
        ranges.setdefault(token.issuance_id, []).extend(each.parts)
    return {issuance_id: (token, merge(ranges[issuance_id])) for issuance_id, token in tokens.items()}


@dataclass(slots=True)
class _Guarded:
    """An interval's row as a batch of plans leaves it: how much of the issuance is withdrawn, and what."""

    quantity: int | None
    ranges: list[Range]


async def _freed(choices: Sequence[Choice], by_issuance: _ByIssuance, scene: Scene) -> list[Write]:
    """Writes that count what is withdrawn of each interval, and that free those withdrawn whole."""
    records = {each.holding.token.issuance_id: each.holding.record for each in choices}
    notices = await notices_for(list(records.values()), scene.reader)
    keys = {issuance_id: _interval_of(token) for issuance_id, (token, _) in by_issuance.items()}
    rows = await scene.reader.get_many(INTERVALS, list(keys.values()))
    writes: list[Write] = []
    for issuance_id, (token, parts) in by_issuance.items():
        row = rows.get(keys[issuance_id])
        if row is None or row["issuance_id"] != issuance_id:
            continue
        known = [each.range for each in notices.get(issuance_id, ()) if each.issuer == token.issuer_key]
        guarded = scene.taken.setdefault((_WITHDRAWN, issuance_id), _Guarded(row.get(_WITHDRAWN), known))
        writes.append(_count(row, guarded, parts, token.issued))
    return writes


def _count(row: Document, guarded: _Guarded, parts: Sequence[Range], issued: Range) -> Write:
    expect = {"issuance_id": row["issuance_id"], _WITHDRAWN: guarded.quantity}
    guarded.ranges = merge([*guarded.ranges, *parts])
    guarded.quantity = issued.quantity - sum(each.quantity for each in subtract([issued], guarded.ranges))
    if guarded.quantity == issued.quantity:
        return Delete(INTERVALS, row["_id"], expect)
    return Patch(INTERVALS, row["_id"], {_WITHDRAWN: guarded.quantity}, expect)


def _interval_of(token: Token) -> bytes:
    tag = token.bundle.attributes
    return interval_key(series_key(tag["device_id"], tag["energy_carrier"]), token.bundle.period_ms[0])
