"""Devices by name: what a name leads to, so that a question for one is a question for device ids."""

from __future__ import annotations

from dataclasses import replace

from lookup.filters import MAX_VALUES, Filters
from lookup.records import DEVICES, device_prefix
from store.port import Find, Reader


async def with_devices(filters: Filters, reader: Reader) -> Filters:
    """The filters, with the ids of the devices that bear the names asked for. Unchanged when there are too
    many of them to be walked apart, or when some record of that name has no device id."""
    names = filters.equals.get("device_name")
    if names is None:
        return filters
    found: set[str | None] = set()
    for name in names:
        found |= await _named(str(name), reader)
    if len(found) > MAX_VALUES or None in found:
        return filters
    asked = filters.equals.get("device_id", tuple(found))
    ids = tuple(sorted(each for each in found if each in asked))  # type: ignore[type-var]
    return replace(filters, equals={**filters.equals, "device_id": ids})


async def _named(name: str, reader: Reader) -> set[str | None]:
    prefix = device_prefix(name)
    page = await reader.find(DEVICES, Find(lower=prefix, upper=prefix + b"\xff", limit=MAX_VALUES + 1))
    return {document["device_id"] for document in page.documents}
