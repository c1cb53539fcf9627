"""Who calls, and what they may do.

Who acts for an account is a matter of two things: the role that a call needs, and, where that role is Account
Holder, a membership. The other roles are the registry's own bodies, which act on every account.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from config.errors import Forbidden
from energytag.accounts import account
from energytag.actions import Kind
from energytag.memberships import is_member
from store.port import Reader


class Role(StrEnum):
    """EnergyTag's roles, in the words of its API."""

    GC_ISSUER = "GC Issuer"
    PRODUCTION_REGISTRAR = "Production Registrar"
    MEASUREMENT_BODY = "Measurement Body"
    ACCOUNT_HOLDER = "Account Holder"
    REGISTRY_ADMINISTRATOR = "Registry Administrator"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls. `user_id` is None for the bearer of the node's admin token, who is registry administrator."""

    user_id: str | None
    roles: frozenset[Role]
    organisation_id: str | None = None

    @property
    def is_administrator(self) -> bool:
        return Role.REGISTRY_ADMINISTRATOR in self.roles


OPERATOR: Final = Caller(None, frozenset({Role.REGISTRY_ADMINISTRATOR}))
"""The bearer of the node's admin token."""

_ISSUER: Final = frozenset({Role.GC_ISSUER})
_REGISTRAR: Final = frozenset({Role.PRODUCTION_REGISTRAR})
_METERING: Final = frozenset({Role.MEASUREMENT_BODY})
_HOLDER: Final = frozenset({Role.ACCOUNT_HOLDER})
_NOBODY_ELSE: Final[frozenset[Role]] = frozenset()

MAY: Final[Mapping[Kind, frozenset[Role]]] = MappingProxyType(
    {
        Kind.CREATE: _ISSUER,
        Kind.CREATE_MANY: _ISSUER,
        Kind.WITHDRAW: _ISSUER,
        Kind.IMPORT: _ISSUER,
        Kind.ISSUE_SDGC: _ISSUER,
        Kind.WITHDRAW_SCR: _ISSUER,
        Kind.WITHDRAW_SDR: _ISSUER,
        Kind.MEASUREMENTS: _METERING,
        Kind.CONSUMPTION: _METERING | _HOLDER,
        Kind.CREATE_SCR: _METERING | _HOLDER,
        Kind.CREATE_SDR: _METERING | _HOLDER,
        Kind.ALLOCATE_STORAGE: _METERING | _HOLDER,
        Kind.TRANSFER: _HOLDER,
        Kind.CANCEL: _HOLDER,
        Kind.CLAIM: _HOLDER,
        Kind.RESERVE: _HOLDER,
        Kind.SPLIT: _HOLDER,
        Kind.LOCK: _HOLDER,
        Kind.RELEASE: _HOLDER,
        Kind.PUBLISH: _HOLDER,
        Kind.RECURRING_TRANSFER: _HOLDER,
        Kind.RECURRING_CANCEL: _HOLDER,
        Kind.RECURRING_CLAIM: _HOLDER,
        Kind.RECURRING_STOP: _HOLDER,
        Kind.ACCOUNT_CREATE: _HOLDER,
        Kind.ACCOUNT_UPDATE: _HOLDER,
        Kind.ACCOUNT_DELETE: _HOLDER,
        Kind.WHITELIST_UPDATE: _HOLDER,
        Kind.DEVICE_CREATE: _REGISTRAR,
        Kind.DEVICE_UPDATE: _REGISTRAR,
        Kind.DEVICE_DELETE: _REGISTRAR,
        Kind.UNLOCK: _NOBODY_ELSE,
        Kind.UPDATE_MUTABLES: _NOBODY_ELSE,
        Kind.STORAGE_UPDATE_MUTABLES: _NOBODY_ELSE,
        Kind.RECURRING_RUN: _NOBODY_ELSE,
        Kind.ORGANISATION_CREATE: _NOBODY_ELSE,
        Kind.ORGANISATION_UPDATE: _NOBODY_ELSE,
        Kind.ORGANISATION_DELETE: _NOBODY_ELSE,
        Kind.USER_CREATE: _NOBODY_ELSE,
        Kind.USER_UPDATE: _NOBODY_ELSE,
        Kind.USER_DELETE: _NOBODY_ELSE,
    }
)
"""The roles that may call each kind of action, besides the registry administrator, who may call all."""


def demand(caller: Caller, kind: Kind) -> None:
    """`Forbidden`, which names the roles that may, unless one of the caller's roles allows this kind."""
    if not caller.is_administrator and not caller.roles & MAY[kind]:
        able = sorted({*MAY[kind], Role.REGISTRY_ADMINISTRATOR})
        raise Forbidden(f"{kind} needs the role {' or '.join(able)}")


async def demand_member(reader: Reader, caller: Caller, account_id: str) -> None:
    """`Forbidden` unless the caller's user acts for the account, as administrators do for all;
    `NotFound(ACCOUNT_UNKNOWN)` when there is no such account."""
    await account(reader, account_id)
    if caller.is_administrator:
        return
    if caller.user_id is None or not await is_member(reader, account_id, caller.user_id):
        raise Forbidden(f"You do not act for account {account_id}")


async def demand_on(reader: Reader, caller: Caller, kind: Kind, account_id: str) -> None:
    """`demand` and, when the caller may call this only as an account's holder, `demand_member`."""
    demand(caller, kind)
    if caller.roles & MAY[kind] <= _HOLDER:
        await demand_member(reader, caller, account_id)


def acting_user(caller: Caller, source_user_id: str) -> str:
    """The user in whose name a call is made: the caller's own; an administrator may name any."""
    if not caller.is_administrator and source_user_id != caller.user_id:
        raise Forbidden("source_user_id must be your own user id")
    return source_user_id
