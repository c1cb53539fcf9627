"""The directory's actions: organisations, users, accounts with their whitelists, and devices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from energytag import account_changes, devices, organisations, users
from energytag.actions import Kind
from energytag.draft import Draw, Drawing
from energytag.ground import RegistryGround
from energytag.plan import Handler

_DRAWS: Final[Mapping[Kind, Draw]] = {
    Kind.ORGANISATION_CREATE: organisations.create,
    Kind.ORGANISATION_UPDATE: organisations.update,
    Kind.ORGANISATION_DELETE: organisations.delete,
    Kind.USER_CREATE: users.create,
    Kind.USER_UPDATE: users.update,
    Kind.USER_DELETE: users.delete,
    Kind.ACCOUNT_CREATE: account_changes.create,
    Kind.ACCOUNT_UPDATE: account_changes.update,
    Kind.ACCOUNT_DELETE: account_changes.delete,
    Kind.WHITELIST_UPDATE: account_changes.update_whitelist,
    Kind.DEVICE_CREATE: devices.create,
    Kind.DEVICE_UPDATE: devices.update,
    Kind.DEVICE_DELETE: devices.delete,
}
HANDLED: Final = frozenset(_DRAWS)

# These look whether certificates stand in the account.
_READ_HOLDINGS: Final = frozenset({Kind.ACCOUNT_UPDATE, Kind.ACCOUNT_DELETE})


def handlers(_ground: RegistryGround) -> dict[Kind, Handler]:
    """The handler of each kind."""
    return {kind: Drawing(draw, kind in _READ_HOLDINGS) for kind, draw in _DRAWS.items()}
