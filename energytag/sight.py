"""Who may see what of the directory.

A user sees his own organisation with its users and accounts, the accounts that he acts for, and their devices.
The bodies that register, meter and issue see every device. Administrators see everything.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NoReturn

from config.errors import Forbidden
from energytag.access import Caller, Role
from energytag.listing import Walk, live
from energytag.memberships import is_member
from energytag.records import ACCOUNTS, DEVICES, MEMBERSHIPS, ORGANISATIONS, USERS
from store.pages import every
from store.port import Collection, Document, Find, Reader

_SEE_DEVICES: Final = frozenset(
    {Role.GC_ISSUER, Role.PRODUCTION_REGISTRAR, Role.MEASUREMENT_BODY, Role.REGISTRY_ADMINISTRATOR}
)


class Sight:
    """What one caller sees. `demand_…` raise `Forbidden` for a document that he does not; the others are walks
    over all those that he does."""

    def __init__(self, reader: Reader, caller: Caller) -> None:
        self._reader = reader
        self._caller = caller

    async def demand_organisation(self, document: Document) -> None:
        if not self._is_own(document["_id"]):
            _refuse("organisation", document)

    async def demand_user(self, document: Document) -> None:
        if not self._is_own(document["organisation_id"]) and document["_id"] != self._caller.user_id:
            _refuse("user", document)

    async def demand_account(self, document: Document) -> None:
        if not await self._sees_account(document):
            _refuse("account", document)

    async def demand_device(self, document: Document) -> None:
        if self._caller.roles & _SEE_DEVICES:
            return
        account = await self._reader.get(ACCOUNTS, document["account_id"])
        if account is None or not await self._sees_account(account):
            _refuse("device", document)

    async def organisations(self) -> Sequence[Walk]:
        if self._caller.is_administrator:
            return [_all(ORGANISATIONS)]
        own = self._caller.organisation_id or ""
        # The one key from `own` to before the next text that there is.
        return [Walk("own", ORGANISATIONS, lower=own, upper=own + "\0")]

    async def users(self) -> Sequence[Walk]:
        return [self._of_organisation(USERS)]

    async def accounts(self) -> Sequence[Walk]:
        walks = [self._of_organisation(ACCOUNTS)]
        if not self._caller.is_administrator:
            walks.append(Walk("others", MEMBERSHIPS, "user", {"user_id": self._caller.user_id}, self._foreign))
        return walks

    async def devices(self) -> Sequence[Walk]:
        if self._caller.roles & _SEE_DEVICES:
            return [_all(DEVICES)]
        return [devices_of(account_id) for account_id in await self._account_ids()]

    def _is_own(self, organisation_id: str) -> bool:
        return self._caller.is_administrator or self._caller.organisation_id == organisation_id

    async def _sees_account(self, document: Document) -> bool:
        if self._is_own(document["organisation_id"]):
            return True
        user_id = self._caller.user_id
        return user_id is not None and await is_member(self._reader, document["_id"], user_id)

    def _of_organisation(self, collection: Collection) -> Walk:
        if self._caller.is_administrator:
            return _all(collection)
        return Walk("own", collection, "organisation", {"organisation_id": self._caller.organisation_id})

    async def _foreign(self, rows: Sequence[Document]) -> list[Document]:
        """The accounts of memberships outside of the caller's organisation."""
        known = await self._reader.get_many(ACCOUNTS, [row["account_id"] for row in rows])
        accounts = [known[row["account_id"]] for row in rows if row["account_id"] in known]
        return [each for each in accounts if not self._is_own(each["organisation_id"])]

    async def _account_ids(self) -> set[str]:
        caller = self._caller
        own = await every(self._reader, ACCOUNTS, Find("organisation", {"organisation_id": caller.organisation_id}))
        others = await every(self._reader, MEMBERSHIPS, Find("user", {"user_id": caller.user_id}))
        return {each["_id"] for each in own} | {each["account_id"] for each in others}


def devices_of(account_id: str) -> Walk:
    """The devices of one account."""
    return Walk(account_id, DEVICES, "account", {"account_id": account_id})


def _all(collection: Collection) -> Walk:
    return Walk("all", collection, pick=live)


def _refuse(what: str, document: Document) -> NoReturn:
    raise Forbidden(f"You may not see {what} {document['_id']}")
