"""Measurements of consumption: what an account's meters counted in a market zone. Beyond EnergyTag's API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from config.errors import ErrorCode, NotFound
from energytag.actions import Action, Kind
from energytag.draft import is_there
from energytag.ground import RegistryGround
from energytag.plan import Handler, Plan, Scene
from energytag.readings import Series, given, in_row, plan_of, series_digest, settle_all
from energytag.records import ACCOUNTS
from store.port import Collection, Index, Reader

CONSUMPTION: Final = Collection(
    "energytag_consumption",
    key="bytes",
    fields={"account_id": "text", "start": "int"},
    indexes=(Index("account", ("account_id", "start")),),
    clustered=True,
)
"""Key: `readings.reading_key` of account and zone. `account_id`, `zone`, `start` and `end` (epoch seconds),
`energy_wh`, `action_id`."""


def consumption_digest(account_id: str, zone: str) -> bytes:
    return series_digest(account_id, zone)


@dataclass(frozen=True, slots=True)
class Consuming:
    """The handler: readings of accounts, all of an action's or none."""

    reads_holdings: bool = False

    async def plan(self, action: Action, scene: Scene) -> Plan:
        await _check_accounts(scene.reader, action.request["series"])
        series = series_of(action.request)
        settled = await settle_all(CONSUMPTION, series, scene)
        return plan_of(CONSUMPTION, series, settled, action.action_id)


async def _check_accounts(reader: Reader, series: Sequence[Mapping[str, Any]]) -> None:
    """`NotFound(ACCOUNT_UNKNOWN)` names the first account that is not there."""
    found = await reader.get_many(ACCOUNTS, list(dict.fromkeys(each["account_id"] for each in series)))
    for each in series:
        document = found.get(each["account_id"])
        if document is None or not is_there(document):
            raise NotFound(f"{in_row(each)}there is no account {each['account_id']}", ErrorCode.ACCOUNT_UNKNOWN)


def handlers(_ground: RegistryGround) -> dict[Kind, Handler]:
    return {Kind.CONSUMPTION: Consuming()}


def series_of(request: Mapping[str, Any]) -> list[Series]:
    """An action's series."""
    return [
        Series(
            consumption_digest(each["account_id"], each["zone"]),
            {"account_id": each["account_id"], "zone": each["zone"]},
            given(each["readings"]),
            each.get("rows"),
        )
        for each in request["series"]
    ]
