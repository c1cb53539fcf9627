"""`create_sdr` and its allocation: a discharge, and which charges it draws on.

A discharge draws on charges of its own device and energy source that were over when it began. It is covered whole,
or refused with what is lacking; what is not covered by certificates is no matter of a discharge record. An account
keeps to one method of allocation, as EnergyTag's standard asks, until its discharges are withdrawn.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from fractions import Fraction
from typing import Any, Final

from certificates.bundle import source_word
from certificates.efficiency import MAX_INTERVAL_MS, Efficiency, Flow, measure
from config.errors import BadRequest, ErrorCode
from energytag.actions import Action
from energytag.creating import AttributesDiffer
from energytag.draft import Draft
from energytag.intervals import HOUR_MS
from energytag.issuing import IntervalInvalid
from energytag.models.common import moment_of_ms
from energytag.storage_allocating import allocated, charges_for, take
from energytag.storage_charging import interval_of
from energytag.storage_devices import storage_device
from energytag.storage_records import SCRS, SDRS, guard, ms_of
from store.pages import every
from store.port import Document, Find, Reader

BASE_FIELDS: Final = (
    "discharging_start_datetime",
    "discharging_end_datetime",
    "discharge_energy",
    "charging_energy_source",
    "scr_allocation_methodology",
    "efficiency_factor_methodology",
)
INTERVAL_FIELDS: Final = ("efficiency_factor_interval_start", "efficiency_factor_interval_end")


class RecordedTwice(BadRequest):
    """The discharge, or part of it, is recorded already."""

    default_code = ErrorCode.ISSUED_TWICE


async def draw_discharge(draft: Draft, action: Action) -> str:
    """Draw up the SDR of an action, and what it takes of its charges; its id is the action's."""
    body = action.request
    account_id, device_id = body["source_account_id"], body["device_id"]
    await storage_device(draft.reader, account_id, device_id)
    interval = interval_of(
        body["discharging_start_datetime"], body["discharging_end_datetime"], draft.now_ms, "discharging"
    )
    if interval[1] - interval[0] > HOUR_MS:
        raise IntervalInvalid("the discharging interval is longer than an hour, the longest that a bundle can have")
    await guard(draft, f"discharges/{account_id}")
    await _check_method(draft.reader, account_id, body["scr_allocation_methodology"])
    await _check_once(draft.reader, device_id, body["charging_energy_source"], interval)
    efficiency, factor, within = await _efficiency(draft.reader, body, interval)
    fields = {name: body[name] for name in BASE_FIELDS} | within
    record = {
        "_id": action.action_id,
        "rev": 0,
        "account_id": account_id,
        "device_id": device_id,
        "start_ms": interval[0],
        "end_ms": interval[1],
        "live": account_id,
        "factor": str(factor),
        "efficiency": None if efficiency is None else asdict(efficiency),
        "issued_by": None,
        "sdgc": None,
        "withdrawn_ms": None,
        "fields": fields,
    }
    charges = await charges_for(draft.reader, record, body.get("allocations"))
    allocation = allocated(charges, record, body.get("allocations"))
    take(draft, charges, record["_id"], allocation)
    drawn = [each.charge_id for each in allocation.draws]
    draft.insert(SDRS, {**record, "scrs": drawn, "first_scr": drawn[0]})
    return action.action_id


# Checks


async def _check_method(reader: Reader, account_id: str, method: str) -> None:
    page = await reader.find(SDRS, Find("live", {"live": account_id}, descending=True, limit=1))
    for sdr in page.documents:
        kept = sdr["fields"]["scr_allocation_methodology"]
        if kept != method:
            raise AttributesDiffer(f"scr_allocation_methodology: the account's discharges are allocated by {kept}")


async def _check_once(reader: Reader, device_id: str, source: str, interval: tuple[int, int]) -> None:
    """No second record of a source's discharge. A record is at most an hour long: none that began before can
    reach into this one."""
    find = Find("device", {"device_id": device_id}, interval[0] - HOUR_MS, interval[1])
    for sdr in await every(reader, SDRS, find):
        same = source_word(sdr["fields"]["charging_energy_source"]) == source_word(source)
        if same and sdr["withdrawn_ms"] is None and sdr["end_ms"] > interval[0]:
            raise RecordedTwice(f"record {sdr['_id']} has the device's discharge of that time, or part of it")


# Efficiency


async def _efficiency(
    reader: Reader, body: Mapping[str, Any], discharging: tuple[int, int]
) -> tuple[Efficiency | None, Fraction, dict[str, str]]:
    """The totals that the factor is of, None when it was stated; the factor; and the interval's fields."""
    within = {name: body[name] for name in INTERVAL_FIELDS if name in body}
    stated = body.get("efficiency_factor")
    if stated is not None:
        return None, Fraction(stated["numerator"], stated["denominator"]), within
    if not within:
        ends = (discharging[1] - MAX_INTERVAL_MS, discharging[1])
        within = {name: moment_of_ms(end) for name, end in zip(INTERVAL_FIELDS, ends, strict=True)}
    start_ms, end_ms = (ms_of(within[name]) for name in INTERVAL_FIELDS)
    charges, discharges = await flows(reader, body["device_id"], (start_ms, end_ms))
    discharges.append(Flow(*discharging, body["discharge_energy"]))
    efficiency = measure(charges, discharges, (start_ms, end_ms), body.get("parasitic_energy", 0))
    return efficiency, efficiency.factor, within


async def flows(reader: Reader, device_id: str, interval: tuple[int, int]) -> tuple[list[Flow], list[Flow]]:
    """What records say of a device's charges and discharges that begin in an interval; withdrawn ones aside."""
    if interval[1] - interval[0] > MAX_INTERVAL_MS:
        return [], []
    find = Find("device", {"device_id": device_id}, *interval)
    charges, discharges = await every(reader, SCRS, find), await every(reader, SDRS, find)
    return _flows(charges, "charging_energy"), _flows(discharges, "discharge_energy")


def _flows(records: Iterable[Document], energy: str) -> list[Flow]:
    return [
        Flow(each["start_ms"], each["end_ms"], each["fields"][energy])
        for each in records
        if each["withdrawn_ms"] is None
    ]
