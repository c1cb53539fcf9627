"""A key speaks for one meter, for good.

The texts that meters sign name them by what they call themselves, and one of the formats names no wallet. If two
meters had one key, a reading of the one could be handed in for the other as well, and the same energy would be
minted twice. A meter claims its key when it is verified, not before: whoever only registers takes no key away from
the meter that has it.
"""

from __future__ import annotations

from typing import Any

from bridge.meters.keys import KeyInvalid, address_bytes
from bridge.meters.meter import Status
from bridge.records import METER_KEYS
from store.port import Document, Insert, Reader, Write


async def claims(reader: Reader, meter: Document, changes: dict[str, Any] | None = None) -> list[Write]:
    """What a meter that becomes so adds to a commit, nothing unless it is verified then. `KeyInvalid` when another
    meter was verified with its key; a `Conflict` of the commit means that one is just being so."""
    then = meter | (changes or {})
    if then["status"] != Status.VERIFIED:
        return []
    key = address_bytes(then["public_key"], "public_key")
    claimed = await reader.get(METER_KEYS, key)
    if claimed is None:
        return [Insert(METER_KEYS, {"_id": key, "meter": meter["_id"]})]
    if claimed["meter"] != meter["_id"]:
        raise KeyInvalid("Another meter has, or had, this very key: make a new one")
    return []
