"""The directory: organisations, users, accounts, devices."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Generic, TypeVar

from pydantic import BaseModel

from energytag.client.connection import Connection
from energytag.models.directory import (
    AccountBase,
    AccountRead,
    AccountShown,
    AccountUpdate,
    DeviceBase,
    DeviceRead,
    DeviceUpdate,
    OrganisationBase,
    OrganisationRead,
    OrganisationUpdate,
    UserBase,
    UserRead,
    UserUpdate,
    WhitelistRead,
    WhitelistUpdate,
)
from energytag.models.directory import (
    Accounts as AccountPage,
)
from energytag.models.directory import (
    Devices as DevicePage,
)
from energytag.models.directory import (
    Organisations as OrganisationPage,
)
from energytag.models.directory import (
    Users as UserPage,
)

Base = TypeVar("Base", bound=BaseModel)
Update = TypeVar("Update", bound=BaseModel)
Read = TypeVar("Read", bound=BaseModel)


class _Noun(Generic[Base, Update, Read]):
    """What can be done with every kind of object."""

    _plural: str
    _read: type[Any]

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def create(self, body: Base) -> Read:
        return await self._ask("POST", "", body)

    async def get(self, object_id: str) -> Read:
        return await self._ask("GET", f"/{object_id}")

    async def update(self, object_id: str, body: Update) -> Read:
        """Change what `body` sets; what it does not set stays."""
        return await self._ask("PATCH", f"/{object_id}", body)

    async def delete(self, object_id: str) -> Read:
        """The object as it was."""
        return await self._ask("DELETE", f"/{object_id}")

    async def _ask(self, method: str, tail: str, body: BaseModel | None = None) -> Read:
        read: Read = await self._connection.read(self._read, method, f"/{self._plural}{tail}", body)
        return read

    async def _pages(self, page_model: type[Any], path: str, name: str) -> AsyncIterator[Any]:
        cursor: str | None = None
        while True:
            page = await self._connection.read(page_model, "GET", path, params={"cursor": cursor})
            for each in getattr(page, name):
                yield each
            cursor = page.cursor
            if cursor is None:
                return


class Organisations(_Noun[OrganisationBase, OrganisationUpdate, OrganisationRead]):
    _plural, _read = "organisations", OrganisationRead

    def list(self) -> AsyncIterator[OrganisationRead]:
        return self._pages(OrganisationPage, "/organisations", "organisations")


class Users(_Noun[UserBase, UserUpdate, UserRead]):
    _plural, _read = "users", UserRead

    async def me(self) -> UserRead:
        """Whose token this is."""
        return await self._connection.read(UserRead, "GET", "/users/me")

    def list(self) -> AsyncIterator[UserRead]:
        return self._pages(UserPage, "/users", "users")


class Accounts(_Noun[AccountBase, AccountUpdate, AccountRead]):
    _plural, _read = "accounts", AccountRead

    def list(self) -> AsyncIterator[AccountShown]:
        return self._pages(AccountPage, "/accounts", "accounts")

    def devices(self, account_id: str) -> AsyncIterator[DeviceRead]:
        return self._pages(DevicePage, f"/accounts/{account_id}/devices", "devices")

    async def whitelist(self, account_id: str) -> WhitelistRead:
        return await self._connection.read(WhitelistRead, "GET", f"/accounts/{account_id}/whitelist")

    async def set_whitelist(self, account_id: str, body: WhitelistUpdate) -> WhitelistRead:
        return await self._connection.read(WhitelistRead, "PUT", f"/accounts/{account_id}/whitelist", body)


class Devices(_Noun[DeviceBase, DeviceUpdate, DeviceRead]):
    _plural, _read = "devices", DeviceRead

    def list(self) -> AsyncIterator[DeviceRead]:
        return self._pages(DevicePage, "/devices", "devices")
