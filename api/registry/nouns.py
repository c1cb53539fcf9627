"""The four nouns of the directory: what the same operations on each of them need to know."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from pydantic import BaseModel

from api.route import Tag
from energytag.accounts import account
from energytag.actions import Kind
from energytag.devices import device
from energytag.listing import Walk
from energytag.models import directory as models
from energytag.organisations import organisation
from energytag.showing import account_read, account_shown, device_read, organisation_read, user_read
from energytag.sight import Sight
from energytag.users import user
from store.port import Document, Reader


@dataclass(frozen=True, slots=True)
class Noun:
    """`find` raises `NotFound`, `demand_sight` raises `Forbidden`. `show` is for lists, `read` for one alone.
    With `holders_act` a caller who is Account Holder must act for the very one that he changes."""

    name: str
    tag: Tag
    create: Kind
    update: Kind
    delete: Kind
    base: type[BaseModel]
    changes: type[BaseModel]
    reply: type[BaseModel]
    list_reply: type[BaseModel]
    find: Callable[[Reader, str], Awaitable[Document]]
    read: Callable[[Reader, Document], Awaitable[BaseModel]]
    show: Callable[[Document], BaseModel]
    demand_sight: Callable[[Sight, Document], Awaitable[None]]
    walks: Callable[[Sight], Awaitable[Sequence[Walk]]]
    holders_act: bool = False

    @property
    def plural(self) -> str:
        return self.name + "s"

    @property
    def id_name(self) -> str:
        return self.name + "_id"


async def _organisation_read(_: Reader, document: Document) -> BaseModel:
    return organisation_read(document)


async def _user_read(_: Reader, document: Document) -> BaseModel:
    return user_read(document)


async def _device_read(_: Reader, document: Document) -> BaseModel:
    return device_read(document)


ORGANISATION: Final = Noun(
    "organisation",
    Tag.ORGANISATIONS,
    Kind.ORGANISATION_CREATE,
    Kind.ORGANISATION_UPDATE,
    Kind.ORGANISATION_DELETE,
    models.OrganisationBase,
    models.OrganisationUpdate,
    models.OrganisationRead,
    models.Organisations,
    organisation,
    _organisation_read,
    organisation_read,
    Sight.demand_organisation,
    Sight.organisations,
)
USER: Final = Noun(
    "user",
    Tag.USERS,
    Kind.USER_CREATE,
    Kind.USER_UPDATE,
    Kind.USER_DELETE,
    models.UserBase,
    models.UserUpdate,
    models.UserRead,
    models.Users,
    user,
    _user_read,
    user_read,
    Sight.demand_user,
    Sight.users,
)
ACCOUNT: Final = Noun(
    "account",
    Tag.ACCOUNTS,
    Kind.ACCOUNT_CREATE,
    Kind.ACCOUNT_UPDATE,
    Kind.ACCOUNT_DELETE,
    models.AccountBase,
    models.AccountUpdate,
    models.AccountRead,
    models.Accounts,
    account,
    account_read,
    account_shown,
    Sight.demand_account,
    Sight.accounts,
    holders_act=True,
)
DEVICE: Final = Noun(
    "device",
    Tag.DEVICES,
    Kind.DEVICE_CREATE,
    Kind.DEVICE_UPDATE,
    Kind.DEVICE_DELETE,
    models.DeviceBase,
    models.DeviceUpdate,
    models.DeviceRead,
    models.Devices,
    device,
    _device_read,
    device_read,
    Sight.demand_device,
    Sight.devices,
)
NOUNS: Final = (ORGANISATION, USER, ACCOUNT, DEVICE)
