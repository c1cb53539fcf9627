"""Measurements of production: what the meters of registered devices counted.

A reading is kept with the device's zone and energy source of its time: the residual mix of a zone is made from
them, and must not change when a device is registered anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from certificates.bundle import source_word
from config.errors import ErrorCode, NotFound
from energytag.actions import Action, Kind
from energytag.draft import is_there
from energytag.ground import RegistryGround
from energytag.intervals import interval_key, series_key
from energytag.models.common import secs_of
from energytag.plan import Handler, Plan, Scene
from energytag.readings import Series, given, in_row, plan_of, series_digest, settle_all
from energytag.records import DEVICES, INTERVALS
from store.port import Collection, Index, Reader

CARRIER: Final = "electricity"
"""What meters of production count."""
MEASUREMENTS: Final = Collection(
    "energytag_measurements",
    key="bytes",
    fields={"zone": "text", "start": "int"},
    indexes=(Index("zone", ("zone", "start"), partial=True),),
    clustered=True,
)
"""Key: `readings.reading_key` of the device, whose readings so lie together by start. `device_id`, `start` and
`end` (epoch seconds), `energy_wh`, `zone`, `energy_source` as topics spell it, `action_id`."""


def device_digest(device_id: str) -> bytes:
    return series_digest(device_id)


@dataclass(frozen=True, slots=True)
class Measuring:
    """The handler: readings of registered devices, all of an action's or none."""

    reads_holdings: bool = False

    async def plan(self, action: Action, scene: Scene) -> Plan:
        settings = await _registered(scene.reader, action.request["series"])
        series = series_of(action.request, settings)
        settled = await settle_all(MEASUREMENTS, series, scene)
        plan = plan_of(MEASUREMENTS, series, settled, action.action_id)
        return replace(plan, result={**plan.result, "devices": settings})


async def not_issued(
    reader: Reader, device_id: str, readings: Sequence[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    """Those of a request's readings, zero ones aside, of whose interval nothing was issued yet."""
    series = series_key(device_id, CARRIER)
    keys = [interval_key(series, secs_of(each["start"]) * 1000) for each in readings]
    issued = await reader.get_many(INTERVALS, keys)
    return [each for each, key in zip(readings, keys, strict=True) if each["energy_wh"] and key not in issued]


def handlers(_ground: RegistryGround) -> dict[Kind, Handler]:
    return {Kind.MEASUREMENTS: Measuring()}


def series_of(request: Mapping[str, Any], devices: Mapping[str, Mapping[str, Any]]) -> list[Series]:
    """An action's series; `devices` has zone and energy source of each."""
    return [
        Series(
            device_digest(each["device_id"]),
            {"device_id": each["device_id"], **devices[each["device_id"]]},
            given(each["readings"]),
            each.get("rows"),
        )
        for each in request["series"]
    ]


async def _registered(reader: Reader, series: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Zone and energy source of each device; `NotFound(DEVICE_UNKNOWN)` names the first that is not registered."""
    found = await reader.get_many(DEVICES, list(dict.fromkeys(each["device_id"] for each in series)))
    settings = {}
    for each in series:
        device_id = each["device_id"]
        device = found.get(device_id)
        if device is None or not is_there(device):
            raise NotFound(f"{in_row(each)}there is no device {device_id}", ErrorCode.DEVICE_UNKNOWN)
        source = str(device["energy_source"])
        settings[device_id] = {"zone": device.get("zone"), "energy_source": source_word(source) or source}
    return settings
