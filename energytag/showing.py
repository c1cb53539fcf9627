"""The directory's documents as the API tells of them."""

from __future__ import annotations

from energytag.devices import FIELDS
from energytag.memberships import members_of
from energytag.models.directory import AccountRead, AccountShown, DeviceRead, OrganisationRead, UserRead
from energytag.organisations import organisation
from store.port import Document, Reader


def organisation_read(document: Document) -> OrganisationRead:
    return OrganisationRead(
        organisation_id=document["_id"],
        name=document["name"],
        business_id=document["business_id"],
        primary_contact=document["primary_contact"],
        address=document["address"],
        website=document["website"],
    )


def user_read(document: Document) -> UserRead:
    return UserRead(
        user_id=document["_id"],
        name=document["name"],
        primary_contact=document["primary_contact"],
        role=document["role"],
        organisation_id=document["organisation_id"],
        identity_key=_hex(document["identity_key"]),
    )


def device_read(document: Document) -> DeviceRead:
    fields = {name: document[field] for name, field in FIELDS.items()}
    return DeviceRead(device_id=document["_id"], **fields)


def account_shown(document: Document) -> AccountShown:
    return AccountShown(
        account_id=document["_id"],
        account_name=document["name"],
        organisation_id=document["organisation_id"],
        is_custodial=document["identity_key"] is None,
        identity_key=_hex(document["identity_key"]),
        webhook_url=document["webhook_url"],
        wallet_url=document["wallet_url"],
        wallet_signs=document.get("wallet_signs", False),
        whitelist=document["whitelist"],
    )


async def account_read(reader: Reader, document: Document) -> AccountRead:
    """An account with its organisation, and the users who act for it."""
    return AccountRead(
        **account_shown(document).model_dump(),
        organisation=organisation_read(await organisation(reader, document["organisation_id"])),
        users=[user_read(each) for each in await members_of(reader, document["_id"])],
    )


def _hex(key: bytes | None) -> str | None:
    return None if key is None else key.hex()
