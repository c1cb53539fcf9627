"""Storage records, held against the certificates and against each other: R5 and R6 of `audit.py`."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from fractions import Fraction

from certificates.lifecycle import Status
from certificates.ranges import Range, merge, subtract
from energytag.storage_records import ALLOCATIONS, SCRS, SDRS, store_of
from lookup.records import CERTIFICATES
from lookup.standing import is_lost
from store.pages import every, pages
from store.port import Document, Find, Reader


@dataclass(slots=True)
class _Taken:
    """What discharges take of charges, Wh: input by charge, output and charges by discharge."""

    input_wh: dict[str, Fraction] = field(default_factory=lambda: defaultdict(Fraction))
    output_wh: dict[str, Fraction] = field(default_factory=lambda: defaultdict(Fraction))
    charges: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))


async def check_storage_records(reader: Reader) -> list[str]:
    """Faults, each as a sentence that begins with the invariant's number; empty when all hold."""
    faults: list[str] = []
    async for rows in pages(reader, SCRS):
        for scr in rows:
            faults += await _backing(reader, scr)
    faults += await _backed_twice(reader)
    taken = await _taken(reader)
    async for rows in pages(reader, SCRS):
        faults += [fault for scr in rows for fault in _charge(scr, taken.input_wh.pop(scr["_id"], Fraction()))]
    async for rows in pages(reader, SDRS):
        faults += [fault for sdr in rows for fault in _discharge(sdr, taken)]
    faults += [f"R6: there is no charge {each}, of which a discharge takes energy" for each in taken.input_wh]
    return faults + [f"R6: there is no discharge {each}, which takes energy of charges" for each in taken.charges]


# R5


async def _backing(reader: Reader, scr: Document) -> list[str]:
    if scr["backing"] is None:
        return []
    numbers = Range(scr["first_number"], scr["last_number"])
    missing = subtract([numbers], await _cancelled(reader, scr["backing"]))
    if not missing:
        return []
    shown = ", ".join(map(str, missing[:8]))
    return [f"R5: charge {scr['_id']} is backed by {shown} of {scr['backing']}, which are not cancelled"]


async def _cancelled(reader: Reader, issuance_id: str) -> list[Range]:
    return merge(
        Range(record["range_start"], record["range_end"])
        for record in await every(reader, CERTIFICATES, Find("issuance", {"issuance_id": issuance_id}))
        if record["status"] == Status.CANCELLED and (record["live"] or is_lost(record))
    )


async def _backed_twice(reader: Reader) -> list[str]:
    """Charges in the order of the certificates that back them: neighbours must be apart."""
    faults: list[str] = []
    last: Document | None = None
    async for scrs in pages(reader, SCRS, Find("backing")):
        for scr in scrs:
            if last is not None and _overlap(last, scr):
                faults.append(f"R5: charges {last['_id']} and {scr['_id']} are backed by the same certificates")
            last = scr
    return faults


def _overlap(before: Document, scr: Document) -> bool:
    return bool(before["backing"] == scr["backing"] and before["last_number"] >= scr["first_number"])


# R6


async def _taken(reader: Reader) -> _Taken:
    taken = _Taken()
    async for rows in pages(reader, ALLOCATIONS):
        for row in rows:
            scr_id, _, sdr_id = row["_id"].partition("/")
            taken.input_wh[scr_id] += Fraction(row["input"])
            taken.output_wh[sdr_id] += Fraction(row["output"])
            taken.charges[sdr_id].add(scr_id)
    return taken


def _charge(scr: Document, input_wh: Fraction) -> list[str]:
    left_wh, energy_wh = Fraction(scr["left"]), scr["fields"]["charging_energy"]
    if input_wh + left_wh != energy_wh or left_wh < 0:
        told = f"discharges take {input_wh} Wh of charge {scr['_id']}, and {left_wh} Wh are left"
        return [f"R6: {told}; it has {energy_wh} Wh"]
    is_open = left_wh > 0 and scr["withdrawn_ms"] is None
    if scr["open"] != (store_of(scr["device_id"], scr["fields"]["charging_energy_source"]) if is_open else None):
        return [f"R6: charge {scr['_id']} is {'not ' if is_open else ''}open to discharges"]
    return []


def _discharge(sdr: Document, taken: _Taken) -> list[str]:
    output_wh = taken.output_wh.pop(sdr["_id"], Fraction())
    charges = taken.charges.pop(sdr["_id"], set())
    energy_wh = 0 if sdr["withdrawn_ms"] is not None else sdr["fields"]["discharge_energy"]
    if output_wh != energy_wh:
        return [f"R6: {output_wh} Wh of discharge {sdr['_id']} are covered by charges; it has {energy_wh} Wh"]
    if charges != set(sdr["scrs"]):
        return [f"R6: discharge {sdr['_id']} draws on other charges than it says"]
    return []
