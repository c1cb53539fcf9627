"""What discharges take of charges: allocated, given back, chosen anew."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any, Final

from certificates.allocation import Allocation, Charge, EnergyLacking, Method, allocate, allocate_chosen, shown_wh
from energytag.actions import Action
from energytag.choosing import StatusForbids
from energytag.creating import AttributesDiffer
from energytag.draft import Draft, StillInUse
from energytag.issuing import IntervalInvalid
from energytag.models.storage import MOST_CHARGES
from energytag.storage_certificates import stands_issued
from energytag.storage_records import (
    ALLOCATIONS,
    SCRS,
    SDRS,
    allocation_key,
    charge_record,
    discharge_record,
    left_of,
    store_of,
    taken_from,
)
from store.port import Document, Find, Reader

_FIRST_PAGE: Final = 16
MOST_BITS: Final = 4096
"""Longest numerator or denominator of energy; each new efficiency factor adds some 40 bits to those before it."""


async def draw_allocation(draft: Draft, action: Action) -> str:
    """Put another choice of the operator's in the place of the one that a discharge has."""
    body = action.request
    sdr = await discharge_record(draft.reader, body["sdr_allocation_id"])
    check_account(sdr, body["source_account_id"])
    await _check_open_to_choice(draft.reader, sdr)
    free, rows = await given_back(draft.reader, [sdr])
    charges = {scr["_id"]: scr for scr in free}
    named = [each["scr_allocation_id"] for each in body["allocations"]]
    charges |= {each: await charge_record(draft.reader, each) for each in named if each not in charges}
    check_charges([charges[each] for each in named], sdr)
    allocation = allocated([charges[each] for each in named], sdr, body["allocations"])
    left_out = [scr for scr in free if scr["_id"] not in named]
    give_back(draft, left_out, [row for row in rows if row["_id"].partition("/")[0] not in named])
    take(draft, [charges[each] for each in named], sdr["_id"], allocation, rows)
    draft.change(SDRS, sdr, {"scrs": named, "first_scr": named[0]})
    return str(sdr["_id"])


async def _check_open_to_choice(reader: Reader, sdr: Document) -> None:
    if sdr["withdrawn_ms"] is not None:
        raise StatusForbids(f"discharge {sdr['_id']} was withdrawn")
    if await stands_issued(reader, sdr):
        raise StillInUse(f"certificates were issued from discharge {sdr['_id']}")
    method = sdr["fields"]["scr_allocation_methodology"]
    if method != Method.DISCRETION:
        raise AttributesDiffer(f"discharge {sdr['_id']} is allocated by {method}, not by choice")


def check_account(record: Document, account_id: str) -> None:
    """`AttributesDiffer` when a record is another account's."""
    if record["account_id"] != account_id:
        raise AttributesDiffer(f"record {record['_id']} is of another account")


async def given_back(reader: Reader, sdrs: Sequence[Document]) -> tuple[list[Document], list[Document]]:
    """The charges that these discharges draw on, as they are once these have given back what they took, and the
    rows of `ALLOCATIONS` that then have no meaning."""
    keys = [allocation_key(scr_id, sdr["_id"]) for sdr in sdrs for scr_id in sdr["scrs"]]
    scr_ids = list(dict.fromkeys(key.partition("/")[0] for key in keys))
    rows, charges = await reader.get_each([(ALLOCATIONS, keys), (SCRS, scr_ids)])
    for key in keys:
        scr = charges[key.partition("/")[0]]
        charges[scr["_id"]] = {**scr, **taken_from(scr, left_of(scr) + Fraction(rows[key]["input"]))}
    gone = {sdr["_id"] for sdr in sdrs}
    free = [{**scr, "sdr": await _drawing(reader, scr, gone)} for scr in charges.values()]
    return free, list(rows.values())


async def _drawing(reader: Reader, scr: Document, gone: set[str]) -> str | None:
    """A discharge that goes on drawing on a charge."""
    if scr["sdr"] not in gone:
        return str(scr["sdr"])
    find = Find(lower=f"{scr['_id']}/", upper=f"{scr['_id']}0", limit=len(gone) + 1)
    left = (row["_id"].partition("/")[2] for row in (await reader.find(ALLOCATIONS, find)).documents)
    return next((each for each in left if each not in gone), None)


def give_back(draft: Draft, free: Iterable[Document], rows: Iterable[Document]) -> None:
    """Write what `given_back` found."""
    for scr in free:
        draft.change(SCRS, scr, {name: scr[name] for name in ("left", "open", "sdr")})
    for row in rows:
        draft.remove(ALLOCATIONS, row["_id"])


def check_charges(scrs: Iterable[Document], sdr: Mapping[str, Any]) -> None:
    """That an operator's choice is among what the discharge may draw on."""
    store = store_of(sdr["device_id"], sdr["fields"]["charging_energy_source"])
    for scr in scrs:
        if scr["withdrawn_ms"] is not None:
            raise StatusForbids(f"charge {scr['_id']} was withdrawn")
        if store_of(scr["device_id"], scr["fields"]["charging_energy_source"]) != store:
            raise AttributesDiffer(f"charge {scr['_id']} is of another device, or of another energy source")
        if scr["end_ms"] > sdr["start_ms"]:
            raise IntervalInvalid(f"charge {scr['_id']} was not over when the discharge began")


async def charges_for(reader: Reader, sdr: Mapping[str, Any], choice: Any) -> list[Document]:
    """The charges that a discharge may draw on: those chosen, else those that are open, in the method's order."""
    if choice is not None:
        scrs = [await charge_record(reader, each["scr_allocation_id"]) for each in choice]
        check_charges(scrs, sdr)
        return scrs
    method = sdr["fields"]["scr_allocation_methodology"]
    store = store_of(sdr["device_id"], sdr["fields"]["charging_energy_source"])
    find = Find("open", {"open": store}, None, sdr["start_ms"] + 1, method == Method.LIFO, limit=_FIRST_PAGE)
    if method != Method.WEIGHTED_AVERAGE:
        needed_wh = sdr["fields"]["discharge_energy"] / Fraction(sdr["factor"])
        return (await _open(reader, find, needed_wh))[:MOST_CHARGES]
    found = await _open(reader, replace(find, limit=MOST_CHARGES + 1), None)
    if len(found) > MOST_CHARGES:
        raise EnergyLacking(f"a weighted average is of at most {MOST_CHARGES} charges that are not used up")
    return found


async def _open(reader: Reader, find: Find, needed_wh: Fraction | None) -> list[Document]:
    """Open charges until they have what is needed, None for all, or are more than a discharge may draw on."""
    found: list[Document] = []
    while True:
        page = await reader.find(SCRS, find)
        found += page.documents
        is_enough = needed_wh is not None and sum(map(left_of, found)) >= needed_wh
        if is_enough or page.last is None or len(found) > MOST_CHARGES:
            return found
        find = replace(find, limit=2 * find.limit, after=page.last)


def allocated(scrs: Sequence[Document], sdr: Mapping[str, Any], choice: Any) -> Allocation:
    """The allocation of a whole discharge; `EnergyLacking` says how much is not covered."""
    charges = [Charge(scr["_id"], scr["start_ms"], scr["end_ms"], left_of(scr)) for scr in scrs]
    discharge_wh, factor = sdr["fields"]["discharge_energy"], Fraction(sdr["factor"])
    if choice is not None:
        chosen_wh = {each["scr_allocation_id"]: each["energy"] for each in choice}
        allocation = allocate_chosen(charges, chosen_wh, discharge_wh, factor)
    else:
        method = Method(sdr["fields"]["scr_allocation_methodology"])
        allocation = allocate(charges, discharge_wh, factor, method)
    if allocation.uncovered_wh > 0:
        raise EnergyLacking(
            f"{shown_wh(allocation.uncovered_wh)} Wh of {discharge_wh} Wh are not covered: at an efficiency of "
            f"{factor}, {len(charges)} charges that were over by then give {shown_wh(allocation.output_wh)} Wh"
        )
    if allocation.bits > MOST_BITS:
        raise EnergyLacking("efficiency factors changed too often for exact fractions; keep to the last one")
    return allocation


def take(
    draft: Draft, scrs: Iterable[Document], sdr_id: str, allocation: Allocation, rows: Iterable[Document] = ()
) -> None:
    """Write what a discharge takes of these charges; `rows` are what it took before and was given back."""
    draws = {draw.charge_id: draw for draw in allocation.draws}
    before = {row["_id"]: row for row in rows}
    for scr in scrs:
        draw = draws.get(scr["_id"])
        if draw is None:
            continue
        draft.change(SCRS, scr, {**taken_from(scr, left_of(scr) - draw.input_wh), "sdr": scr["sdr"] or sdr_id})
        key = allocation_key(scr["_id"], sdr_id)
        energy = {"input": str(draw.input_wh), "output": str(draw.output_wh)}
        if key in before:
            draft.change(ALLOCATIONS, before[key], energy)
        else:
            draft.insert(ALLOCATIONS, {"_id": key, "rev": 0, **energy})
