"""Storage records as EnergyTag's API shows them."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from energytag.models.common import moment_of_ms
from energytag.models.storage import Ratio
from energytag.storage_records import ALLOCATIONS, allocation_key
from store.port import Document, Reader


def ratio(text: str | Fraction) -> dict[str, Any]:
    """A fraction as JSON, its numbers as digits."""
    return Ratio.of(Fraction(text)).model_dump()


def show_charge(scr: Document) -> dict[str, Any]:
    """EnergyTag's StorageChargeRecord."""
    shown = {
        **scr["fields"],
        "scr_allocation_id": scr["_id"],
        "account_id": scr["account_id"],
        "device_id": scr["device_id"],
        "energy_left": ratio(scr["left"]),
    }
    if scr["sdr"] is not None:
        shown["sdr_allocation_id"] = scr["sdr"]
    return shown | _withdrawn(scr)


async def show_discharges(reader: Reader, sdrs: Sequence[Document]) -> list[dict[str, Any]]:
    """EnergyTag's StorageDischargeRecord for each, with what it draws on."""
    keys = [allocation_key(scr_id, sdr["_id"]) for sdr in sdrs for scr_id in sdr["scrs"]]
    rows = await reader.get_many(ALLOCATIONS, keys) if keys else {}
    return [
        show_discharge(sdr, [(scr_id, rows[allocation_key(scr_id, sdr["_id"])]) for scr_id in sdr["scrs"]])
        for sdr in sdrs
    ]


def show_discharge(sdr: Document, allocations: Sequence[tuple[str, Document]]) -> dict[str, Any]:
    """One record with its allocations, each the charge's id and the row of `ALLOCATIONS`."""
    shown = {
        **sdr["fields"],
        "sdr_allocation_id": sdr["_id"],
        "scr_allocation_id": sdr["first_scr"],
        "account_id": sdr["account_id"],
        "device_id": sdr["device_id"],
        "efficiency_factor": ratio(sdr["factor"]),
        "allocations": [
            {"scr_allocation_id": scr_id, **show_allocation(row, sdr["fields"]["discharge_energy"])}
            for scr_id, row in allocations
        ],
    }
    if sdr["sdgc"] is not None:
        shown["sdgc_issuance_id"] = sdr["sdgc"]
    return shown | _withdrawn(sdr)


def show_allocation(row: Document, discharge_wh: int) -> dict[str, Any]:
    output_wh = Fraction(row["output"])
    return {
        "energy": ratio(output_wh),
        "charged_energy": ratio(row["input"]),
        "proportion": ratio(output_wh / discharge_wh),
    }


def _withdrawn(record: Document) -> dict[str, str]:
    at_ms = record["withdrawn_ms"]
    return {} if at_ms is None else {"withdrawn_datetime": moment_of_ms(at_ms)}
