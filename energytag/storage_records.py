"""Storage records: what the registry keeps of energy that goes through stores.

    SCRS         scr id           a charge: energy that went into a store, backed by cancelled certificates
    SDRS         sdr id           a discharge, and which charges it draws on
    ALLOCATIONS  scr id/sdr id    what a discharge takes of a charge
    GUARDS       what it guards   a revision that goes up with every change of what one index holds together

Documents are JSON as they stand, so that the log of actions can carry them. Energy that is measured is an
integer of Wh; what is computed from it is a fraction, kept as text (`1000/9`) since it may be longer than a
database's numbers. Moments are epoch milliseconds.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from fractions import Fraction
from typing import Any, Final

from certificates.bundle import EPOCH, source_word
from config.errors import ErrorCode, NotFound
from energytag.draft import Draft
from store.port import Collection, Document, Index, Reader

SCRS: Final = Collection(
    "energytag_scrs",
    key="text",
    fields={
        "account_id": "text",
        "device_id": "text",
        "start_ms": "int",
        "end_ms": "int",
        "open": "text",
        "backing": "text",
        "first_number": "int",
    },
    indexes=(
        Index("account", ("account_id", "start_ms")),
        Index("device", ("device_id", "start_ms")),
        Index("open", ("open", "end_ms", "start_ms"), partial=True),
        Index("backing", ("backing", "first_number"), partial=True),
    ),
)
"""`open` is `store_of` while there is energy `left`, `backing` the issuance whose certificates `first_number` to
`last_number` back it, until it is withdrawn. `sdr` is the discharge that has drawn on it longest. `fields` are
those of EnergyTag's schema."""
SDRS: Final = Collection(
    "energytag_sdrs",
    key="text",
    fields={"account_id": "text", "device_id": "text", "start_ms": "int", "end_ms": "int", "live": "text"},
    indexes=(
        Index("account", ("account_id", "start_ms")),
        Index("device", ("device_id", "start_ms")),
        Index("live", ("live", "start_ms"), partial=True),
    ),
)
"""`live` is the account until it is withdrawn; `scrs` the charges it draws on, `factor` its efficiency, and
`efficiency` the totals that the factor is of, None when it was stated. `issued_by` is the action that issued
certificates from it, `sdgc` their issuance."""
ALLOCATIONS: Final = Collection("energytag_allocations", key="text", clustered=True)
"""`input` is what of the charge the discharge takes, `output` what of the discharge that covers."""
GUARDS: Final = Collection("energytag_storage_guards", key="text", clustered=True)
COLLECTIONS: Final = (SCRS, SDRS, ALLOCATIONS, GUARDS)

_MILLISECOND: Final = timedelta(milliseconds=1)


def store_of(device_id: str, energy_source: str) -> str:
    """What discharges draw from: the energy of one source in one device."""
    return f"{device_id}/{source_word(energy_source)}"


def allocation_key(scr_id: str, sdr_id: str) -> str:
    return f"{scr_id}/{sdr_id}"


def ms_of(moment: str) -> int:
    """Epoch milliseconds of a moment's text."""
    return (datetime.fromisoformat(moment) - EPOCH) // _MILLISECOND


def left_of(scr: Document) -> Fraction:
    """What of a charge is not allocated, Wh of energy that went in."""
    return Fraction(scr["left"])


def taken_from(scr: Document, left_wh: Fraction) -> dict[str, Any]:
    """The changes of a charge of which so much is left now."""
    is_open = left_wh > 0 and scr["withdrawn_ms"] is None
    store = store_of(scr["device_id"], scr["fields"]["charging_energy_source"])
    return {"left": str(left_wh), "open": store if is_open else None}


async def charge_record(reader: Reader, scr_id: str) -> Document:
    """The SCR; `NotFound(RECORD_UNKNOWN)` when there is none."""
    return _found(await reader.get(SCRS, scr_id), "storage charge record", scr_id)


async def discharge_record(reader: Reader, sdr_id: str) -> Document:
    """The SDR; `NotFound(RECORD_UNKNOWN)` when there is none."""
    return _found(await reader.get(SDRS, sdr_id), "storage discharge record", sdr_id)


def _found(document: Document | None, what: str, record_id: str) -> Document:
    if document is None:
        raise NotFound(f"There is no {what} {record_id}", ErrorCode.RECORD_UNKNOWN)
    return document


async def guard(draft: Draft, name: str) -> None:
    """Make the draft fail when anything else under the same guard is changed before it is written."""
    known = await draft.reader.get(GUARDS, name)
    if known is None:
        draft.insert(GUARDS, {"_id": name, "rev": 0})
    else:
        draft.change(GUARDS, known, {})
