"""Whose storage device a record is about, and whether it is one."""

from __future__ import annotations

from config.errors import BadRequest, ErrorCode
from energytag.access import Caller
from energytag.creating import AttributesDiffer
from energytag.devices import device
from energytag.draft import is_there
from energytag.records import DEVICES, MEMBERSHIPS
from store.pages import every
from store.port import Document, Find, Reader


async def storage_device(reader: Reader, account_id: str, device_id: str) -> Document:
    """The device; `NotFound(DEVICE_UNKNOWN)`, or `AttributesDiffer` when it stores nothing, or is registered to
    another account."""
    found = await device(reader, device_id)
    if not found.get("is_storage"):
        raise AttributesDiffer(f"device {device_id} is not registered as one that stores energy")
    if found["account_id"] != account_id:
        raise AttributesDiffer(f"device {device_id} is registered to another account")
    return found


async def storage_place(
    reader: Reader, caller: Caller, account_id: str | None, device_id: str | None
) -> tuple[str, str]:
    """The account and the storage device that a caller means, who may leave out what is clear without.

    `BadRequest(INVALID_FIELD)` when there are several, or none.
    """
    if device_id is not None:
        return account_id or (await device(reader, device_id))["account_id"], device_id
    accounts = [account_id] if account_id is not None else await _accounts_of(reader, caller)
    found = [each for account in accounts for each in await _storage_devices(reader, account)]
    if len(found) != 1:
        message = f"device_id: there are {len(found)} storage devices that may be meant; name the one"
        raise BadRequest(message, ErrorCode.INVALID_FIELD)
    return found[0]["account_id"], found[0]["_id"]


async def _accounts_of(reader: Reader, caller: Caller) -> list[str]:
    if caller.user_id is None:
        return []
    memberships = await every(reader, MEMBERSHIPS, Find("user", {"user_id": caller.user_id}))
    return [each["account_id"] for each in memberships]


async def _storage_devices(reader: Reader, account_id: str) -> list[Document]:
    devices = await every(reader, DEVICES, Find("account", {"account_id": account_id}))
    return [each for each in devices if is_there(each) and each.get("is_storage")]
