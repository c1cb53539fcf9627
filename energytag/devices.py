"""Devices: what produces, stores or consumes."""

from __future__ import annotations

from config.errors import ErrorCode, NotFound
from energytag.records import DEVICES
from store.port import Document, Reader


async def device(reader: Reader, device_id: str) -> Document:
    """The device; `NotFound(DEVICE_UNKNOWN)` when there is none, or no longer."""
    document = await reader.get(DEVICES, device_id)
    if document is None or document.get("deleted_ms") is not None:
        raise NotFound(f"There is no device {device_id}", ErrorCode.DEVICE_UNKNOWN)
    return document
