"""Lots, verified against the messages that took of them: no Wh was given twice at a time, and none is lost.

taken   what is gone from a lot is what messages have of it that were not refunded
place   a lot stands in line where it should, or does not
exits   a lot that an exit brought is as large as the exit, which ended
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from bridge.mirror.provenance.lots import FROM_MINT, Lot
from bridge.mirror.records import LOTS, MESSAGES
from bridge.mirror.states import Kind, State
from store.pages import pages
from store.port import Document, Find, Reader


async def check_lots(reader: Reader) -> list[str]:
    """Faults, each as a sentence that begins with I6; empty when all holds."""
    taken = await _taken(reader)
    faults: list[str] = []
    async for rows in pages(reader, LOTS):
        faults += [fault for row in rows for fault in _lot(row, taken.pop(row["_id"], 0))]
        faults += await _exits(reader, [row for row in rows if row["from"] != FROM_MINT])
    return faults + [
        f"I6: lot {key} is of messages with {units} base units, and is not there" for key, units in taken.items()
    ]


async def _taken(reader: Reader) -> Counter[str]:
    """By lot the base units that messages have of it."""
    taken: Counter[str] = Counter()
    async for rows in pages(reader, MESSAGES, Find("seq")):
        for row in rows:
            if row["state"] != State.REFUNDED:
                for key, units in row["facts"].get("lots", ()):
                    taken[key] += units
    return taken


def _lot(row: Document, taken: int) -> list[str]:
    lot, name = Lot.read(row), f"I6: lot {row['_id']}"
    faults = []
    if not 0 <= lot.left <= lot.units:
        faults.append(f"{name} has {lot.left} base units left of {lot.units}")
    if lot.units - lot.left != taken:
        faults.append(f"{name} lacks {lot.units - lot.left} base units, and messages have {taken} of it")
    if row["free"] != lot.place:
        faults.append(f"{name} stands in line at {row['free']}, and should at {lot.place}")
    return faults


async def _exits(reader: Reader, rows: Sequence[Document]) -> list[str]:
    found = await reader.get_many(MESSAGES, [bytes.fromhex(row["from"]) for row in rows]) if rows else {}
    return [
        f"I6: lot {row['_id']} has {row['units']} base units of no exit that ended with as much"
        for row in rows
        if not _is_of(row, found.get(bytes.fromhex(row["from"])))
    ]


def _is_of(row: Document, message: Document | None) -> bool:
    if message is None:
        return False
    return (message["kind"], message["state"], message["units"]) == (Kind.EXIT, State.RECEIPTED, row["units"])
