"""Measurements of consumption: what an account's meters counted in a market zone. Beyond EnergyTag's API."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from energytag.accounts import account
from energytag.actions import Action, Kind
from energytag.ground import RegistryGround
from energytag.plan import Handler, Plan, Scene
from energytag.readings import Series, given, plan_of, series_digest, settle_all
from store.port import Collection, Index

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
        for account_id in dict.fromkeys(each["account_id"] for each in action.request["series"]):
            await account(scene.reader, account_id)
        series = series_of(action.request)
        settled = await settle_all(CONSUMPTION, series, scene)
        return plan_of(CONSUMPTION, series, settled, action.action_id)


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
