"""The chain behind a discharge in one answer: what was issued from it, the discharge, its charges, and the
cancelled certificates that back them, with exact energies, losses and proportions."""

from __future__ import annotations

from asyncio import gather
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from certificates.efficiency import Efficiency
from certificates.ranges import Range
from config.errors import ErrorCode, NotFound
from energytag.holdings import load
from energytag.storage_certificates import standing
from energytag.storage_discharging import INTERVAL_FIELDS
from energytag.storage_records import ALLOCATIONS, SCRS, SDRS, allocation_key
from energytag.storage_shown import ratio, show_allocation, show_charge, show_discharge
from lookup.records import CERTIFICATES
from store.port import Document, Find, Reader


async def lineage(reader: Reader, wanted_id: str, now_secs: int) -> dict[str, Any]:
    """The chain of a discharge, by its own id or the id of the issuance of its certificates.

    `NotFound(RECORD_UNKNOWN)` when neither is known, or the issuance is of no discharge.
    """
    sdr = await reader.get(SDRS, wanted_id) or await _discharge_of(reader, wanted_id)
    keys = [allocation_key(scr_id, sdr["_id"]) for scr_id in sdr["scrs"]]
    charges, rows = await reader.get_each([(SCRS, sdr["scrs"]), (ALLOCATIONS, keys)])
    drawn = [(charges[scr_id], rows[key]) for scr_id, key in zip(sdr["scrs"], keys, strict=True)]
    discharge_wh = sdr["fields"]["discharge_energy"]
    input_wh = sum((Fraction(row["input"]) for _, row in drawn), Fraction(0))
    return {
        "record": show_discharge(sdr, [(scr["_id"], row) for scr, row in drawn]),
        "sdgc_issuance_id": sdr["sdgc"],
        "certificates": await _issued(reader, sdr, now_secs),
        "efficiency": _efficiency(sdr),
        "energy": discharge_wh,
        "charged_energy": ratio(input_wh),
        "losses": ratio(input_wh - discharge_wh if drawn else Fraction(0)),
        "charges": await _charges(reader, drawn, discharge_wh, now_secs),
    }


async def _discharge_of(reader: Reader, issuance_id: str) -> Document:
    """The discharge that the certificates of an issuance name."""
    page = await reader.find(CERTIFICATES, Find("issuance", {"issuance_id": issuance_id}, limit=1))
    for holding in await load(reader, [record["_id"] for record in page.documents]):
        sdr_id = holding.token.bundle.attributes.get("sdr_allocation_id")
        sdr = await reader.get(SDRS, sdr_id) if isinstance(sdr_id, str) else None
        if sdr is not None:
            return sdr
    raise NotFound(f"There is no discharge record of {issuance_id}", ErrorCode.RECORD_UNKNOWN)


async def _issued(reader: Reader, sdr: Document, now_secs: int) -> list[dict[str, Any]]:
    return [] if sdr["sdgc"] is None else await standing(reader, sdr["sdgc"], now_secs)


async def _charges(
    reader: Reader, drawn: Sequence[tuple[Document, Document]], discharge_wh: int, now_secs: int
) -> list[dict[str, Any]]:
    backing = await gather(
        *(
            standing(
                reader,
                scr["fields"]["gc_issuance_id"],
                now_secs,
                Range(scr["first_number"], scr["last_number"]),
            )
            for scr, _ in drawn
        )
    )
    return [
        {
            "record": show_charge(scr),
            **show_allocation(row, discharge_wh),
            "losses": ratio(Fraction(row["input"]) - Fraction(row["output"])),
            "certificates": certificates,
        }
        for (scr, row), certificates in zip(drawn, backing, strict=True)
    ]


def _efficiency(sdr: Document) -> dict[str, Any]:
    fields = sdr["fields"]
    told = {"factor": ratio(sdr["factor"]), "methodology": fields["efficiency_factor_methodology"]}
    names = zip(("interval_start", "interval_end"), INTERVAL_FIELDS, strict=True)
    told |= {name: fields[field] for name, field in names if field in fields}
    if sdr["efficiency"] is None:
        return told
    efficiency = Efficiency(**sdr["efficiency"])
    return told | {
        "input_energy": efficiency.input_wh,
        "output_energy": efficiency.output_wh,
        "parasitic_energy": efficiency.parasitic_wh,
        "losses": efficiency.losses_wh,
    }
