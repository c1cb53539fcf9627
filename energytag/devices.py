"""Devices: what produces or stores.

_id · account_id · device_name · grid · energy_source · technology_type · operational_date · capacity_w and
peak_demand (W) · location_id · meter_id · location [latitude, longitude] · country · zone · is_storage · rev
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from config.errors import ErrorCode, NotFound
from energytag.accounts import account
from energytag.actions import Action, new_id
from energytag.draft import Draft, is_there
from energytag.records import DEVICES
from store.port import Document, Reader

FIELDS: Final[Mapping[str, str]] = {
    "device_name": "device_name",
    "grid": "grid",
    "energy_source": "energy_source",
    "technology_type": "technology_type",
    "operational_date": "operational_date",
    "capacity": "capacity_w",
    "peak_demand": "peak_demand",
    "account_id": "account_id",
    "location_id": "location_id",
    "meter_id": "meter_id",
    "location": "location",
    "country": "country",
    "zone": "zone",
    "is_storage": "is_storage",
}
"""Names in the API, and in the document."""


async def device(reader: Reader, device_id: str) -> Document:
    """The device; `NotFound(DEVICE_UNKNOWN)` when there is none, or no longer."""
    document = await reader.get(DEVICES, device_id)
    if document is None or not is_there(document):
        raise NotFound(f"There is no device {device_id}", ErrorCode.DEVICE_UNKNOWN)
    return document


async def create(draft: Draft, action: Action) -> str:
    await account(draft.reader, action.request["account_id"])
    device_id = new_id(draft.now_ms)
    fields: dict[str, Any] = {field: action.request.get(name) for name, field in FIELDS.items()}
    draft.insert(DEVICES, {"_id": device_id, **fields, "rev": 1})
    return device_id


async def update(draft: Draft, action: Action) -> str:
    """Certificates that were issued stay as they are, and where they are."""
    request = action.request
    old = await device(draft.reader, request["device_id"])
    await account(draft.reader, request["account_id"])
    draft.change(DEVICES, old, {field: request[name] for name, field in FIELDS.items() if name in request})
    return str(old["_id"])


async def delete(draft: Draft, action: Action) -> str:
    """The device is retired; what was issued for it, and the intervals that this took, stay."""
    old = await device(draft.reader, action.request["device_id"])
    draft.bury(DEVICES, old)
    return str(old["_id"])
