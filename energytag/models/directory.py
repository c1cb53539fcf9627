"""Bodies about organisations, users, accounts and devices.

The fields are those of EnergyTag's schemas, which are recommendations to begin with, and extensions; each of
the latter says so. In an update a field that is left out stays as it is. An extension that may be cleared is
cleared by null; null for another field is the same as leaving it out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, WithJsonSchema, model_validator

from certificates.countries import COUNTRIES
from energytag.access import Role
from energytag.models.common import (
    EXTENSION,
    MAX_INTEGER,
    Day,
    Model,
    Reply,
    Text,
    Uuid,
    Whole,
    extension,
    whole_number,
)
from overlay.keys import is_public_key

MAX_WHITELIST: Final = 1000
MAX_URL: Final = 2048


def _identity_key(value: str) -> str:
    if not is_public_key(bytes.fromhex(value)):
        raise ValueError("is not a point on the curve")
    return value


def _web_address(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None or parts.port == 0:
        raise ValueError("must be an http or https URL with a host and without a user name")
    return value


def _country(value: str) -> str:
    if value.upper() not in COUNTRIES:
        raise ValueError("must be a country by ISO 3166-1 alpha-2")
    return value.upper()


def _place(value: list[float]) -> list[float]:
    latitude, longitude = value
    if abs(latitude) > 90 or abs(longitude) > 180:
        raise ValueError("must be a latitude up to 90 and a longitude up to 180 degrees")
    return value


IdentityKey = Annotated[str, Field(pattern=r"^0[23][0-9a-f]{64}$"), AfterValidator(_identity_key)]
WebAddress = Annotated[str, Field(max_length=MAX_URL), AfterValidator(_web_address)]
Country = Annotated[str, Field(min_length=2, max_length=2), AfterValidator(_country)]
Place = Annotated[
    list[Annotated[float, Field(strict=True)]], Field(min_length=2, max_length=2), AfterValidator(_place)
]
Whitelist = Annotated[list[Uuid], Field(max_length=MAX_WHITELIST)]
Watts = Annotated[
    int,
    Field(ge=0, le=MAX_INTEGER, strict=True),
    BeforeValidator(whole_number),
    WithJsonSchema({"type": "number", "multipleOf": 1, "minimum": 0, "maximum": MAX_INTEGER}),
]
Roles = Annotated[list[Role], Field(max_length=len(Role))]

_CAPACITY: Final = "W, a whole number."
_IDENTITY: Final = "Identity key (33 bytes, compressed, hex) of a BRC-100 wallet"


# Organisations


class OrganisationBase(Model):
    name: Text
    business_id: Whole
    primary_contact: Text
    address: Text | None = None
    website: Text | None = None


class OrganisationUpdate(Model):
    organisation_id: Uuid | None = None
    name: Text | None = None
    business_id: Whole | None = None
    primary_contact: Text | None = None
    address: Text | None = None
    website: Text | None = None


class Organisation(OrganisationBase):
    organisation_id: Uuid | None = None


class OrganisationRead(Reply):
    organisation_id: Uuid
    name: str
    business_id: int
    primary_contact: str
    address: str | None = None
    website: str | None = None


# Users


class UserBase(Model):
    name: Text
    primary_contact: Text
    role: Roles
    organisation_id: Uuid
    identity_key: IdentityKey | None = extension(f"{_IDENTITY}, with which the user can log in.")


class UserUpdate(Model):
    user_id: Uuid | None = None
    name: Text | None = None
    primary_contact: Text | None = None
    role: Roles
    organisation_id: Uuid
    account_id: Uuid | None = Field(None, description="The user is to act for this account, too.")
    identity_key: IdentityKey | None = extension(f"{_IDENTITY}, with which the user can log in; null for none.")
    revoke_tokens: Literal[True] | None = extension("Refuse the tokens that the user was given until now.")


class UserRead(Reply):
    user_id: Uuid
    name: str
    primary_contact: str
    role: list[str]
    organisation_id: Uuid
    identity_key: str | None = extension(f"{_IDENTITY}, with which the user can log in.")


# Accounts

_BOUND: Final = (
    f"{_IDENTITY}. Certificates are then locked to that wallet, and moved with its signatures only; without one "
    "the registry keeps the account's keys."
)
_WEBHOOK: Final = "Is told of certificates for the account's wallet."
_WALLET: Final = "Where the account's wallet answers, for people and programs that ask."
_SIGNS: Final = (
    "The registry may have the wallet at wallet_url sign what is prepared for the account, without the user at "
    "hand; set by a user with the account's identity_key only. It ends when wallet_url or identity_key change."
)
_WHITELIST: Final = "Transfers are taken from these accounts only; null: from all."


class AccountBase(Model):
    account_name: Text
    organisation_id: Uuid
    identity_key: IdentityKey | None = extension(_BOUND)
    webhook_url: WebAddress | None = extension(_WEBHOOK)
    wallet_url: WebAddress | None = extension(_WALLET)
    wallet_signs: bool | None = extension(_SIGNS)
    whitelist: Whitelist | None = extension(_WHITELIST)


class AccountUpdate(Model):
    account_id: Uuid | None = None
    account_name: Text | None = None
    organisation_id: Uuid
    organisation: Organisation | None = Field(None, description="As it was read; not changed by this call.")
    user_id: Uuid | None = Field(None, description="This user is to act for the account, too.")
    remove_user_id: Uuid | None = extension("This user is not to act for the account any more.")
    identity_key: IdentityKey | None = extension(f"{_BOUND} Only while no certificates stand in the account.")
    webhook_url: WebAddress | None = extension(_WEBHOOK)
    wallet_url: WebAddress | None = extension(_WALLET)
    wallet_signs: bool | None = extension(_SIGNS)
    whitelist: Whitelist | None = extension(_WHITELIST)

    @model_validator(mode="after")
    def _one_organisation(self) -> AccountUpdate:
        inner = self.organisation
        if inner is not None and inner.organisation_id not in (None, self.organisation_id):
            raise ValueError("organisation.organisation_id is another than organisation_id")
        return self


class WhitelistUpdate(Model):
    whitelist: Whitelist | None = Field(description=_WHITELIST)


class AccountShown(Reply):
    """An account without its organisation and users."""

    account_id: Uuid
    account_name: str
    organisation_id: Uuid
    is_custodial: bool | None = extension("Whether the registry keeps the account's keys.")
    identity_key: str | None = extension(_BOUND)
    webhook_url: str | None = extension(_WEBHOOK)
    wallet_url: str | None = extension(_WALLET)
    wallet_signs: bool | None = extension(_SIGNS)
    whitelist: list[Uuid] | None = extension(_WHITELIST)


class AccountRead(AccountShown):
    organisation: OrganisationRead
    users: list[UserRead]


class WhitelistRead(Reply):
    account_id: Uuid
    whitelist: list[Uuid] | None = Field(description=_WHITELIST)


class Account(Model):
    account_id: Uuid | None = None
    account_name: Text
    organisation_id: Uuid


# Devices

_LOCATION: Final = "Latitude and longitude in degrees."
_COUNTRY: Final = "Country of issuance, ISO 3166-1 alpha-2."
_ZONE: Final = "The market zone that certificates are issued for."
_METER: Final = "The meter's id, as its measurement body has it."
_STORAGE: Final = "Whether the device stores energy."


class DeviceBase(Model):
    device_name: Text
    grid: Text
    energy_source: Text
    technology_type: Text
    operational_date: Day
    capacity: Watts = Field(description=_CAPACITY)
    peak_demand: Watts = Field(description=_CAPACITY)
    location_id: Uuid | None = None
    account_id: Uuid
    meter_id: Text | None = extension(_METER)
    location: Place | None = extension(_LOCATION)
    country: Country | None = extension(_COUNTRY)
    zone: Text | None = extension(_ZONE)
    is_storage: bool = Field(False, description=_STORAGE, json_schema_extra=EXTENSION)


class DeviceUpdate(Model):
    device_id: Uuid | None = None
    device_name: Text | None = None
    grid: Text | None = None
    energy_source: Text | None = None
    technology_type: Text | None = None
    operational_date: Day | None = None
    capacity: Watts | None = Field(None, description=_CAPACITY)
    peak_demand: Watts | None = Field(None, description=_CAPACITY)
    location_id: Uuid | None = None
    account_id: Uuid
    account: Account | None = Field(None, description="As it was read; not changed by this call.")
    meter_id: Text | None = Field(None, description=_METER)
    location: Place | None = extension(_LOCATION)
    country: Country | None = extension(_COUNTRY)
    zone: Text | None = extension(_ZONE)
    is_storage: bool | None = extension(_STORAGE)

    @model_validator(mode="after")
    def _one_account(self) -> DeviceUpdate:
        inner = self.account
        if inner is not None and inner.account_id not in (None, self.account_id):
            raise ValueError("account.account_id is another than account_id")
        return self


class DeviceRead(Reply):
    device_id: Uuid
    device_name: str
    grid: str
    energy_source: str
    technology_type: str
    operational_date: Day
    capacity: int = Field(description=_CAPACITY)
    peak_demand: int = Field(description=_CAPACITY)
    account_id: Uuid
    location_id: Uuid | None = None
    meter_id: str | None = extension(_METER)
    location: list[float] | None = extension(_LOCATION)
    country: str | None = extension(_COUNTRY)
    zone: str | None = extension(_ZONE)
    is_storage: bool | None = extension(_STORAGE)


# Lists


class Listed(Reply):
    cursor: str | None = Field(None, description="There is more: ask again with this.")


class Organisations(Listed):
    organisations: list[OrganisationRead]


class Users(Listed):
    users: list[UserRead]


class Accounts(Listed):
    accounts: list[AccountShown]


class Devices(Listed):
    devices: list[DeviceRead]


class ActionLeft(Reply):
    """An action that is still under way."""

    action_id: Uuid
    action_state: str


CLEARABLE: Final = frozenset({"identity_key", "webhook_url", "wallet_url", "whitelist"})


def changes_of(update: BaseModel) -> Mapping[str, Any]:
    """What an update says, as JSON: null only where it clears a field."""
    given = update.model_dump(mode="json", exclude_unset=True)
    return {name: value for name, value in given.items() if value is not None or name in CLEARABLE}
