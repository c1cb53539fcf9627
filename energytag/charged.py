"""Certificates that back storage charges: their energy goes on in what is issued from the store, and covers no
consumption by itself."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from certificates.ranges import Range
from energytag.storage_records import SCRS
from store.pages import pages
from store.port import Find, Reader

Charged: TypeAlias = Mapping[str, Sequence[Range]]
"""By issuance the numbers that back charges."""


async def charged_in(reader: Reader, account_id: str, start: int, end: int) -> Charged:
    """What backs the charges of an account that reach into a time (epoch seconds), those withdrawn aside. A
    certificate that backs a charge was produced while it lasted."""
    charged: dict[str, list[Range]] = defaultdict(list)
    async for scrs in pages(reader, SCRS, Find("account", {"account_id": account_id}, upper=end * 1000)):
        for scr in scrs:
            if scr["backing"] is not None and scr["end_ms"] > start * 1000:
                charged[scr["backing"]].append(Range(scr["first_number"], scr["last_number"]))
    return charged
