"""The handlers of all that an account does with certificates that exist."""

from __future__ import annotations

from energytag.actions import Kind
from energytag.cancellations import Cancellations
from energytag.claims import Claims
from energytag.ground import RegistryGround
from energytag.locks import Locks, Unlocks
from energytag.mutables import MutableUpdates
from energytag.plan import Handler
from energytag.reservations import Releases, Reservations
from energytag.transfers import Splits, Transfers
from energytag.withdrawals import Withdrawals


def handlers(ground: RegistryGround) -> dict[Kind, Handler]:
    """By kind; they share nothing but the ground."""
    acting: dict[Kind, Handler] = {
        Kind.TRANSFER: Transfers(ground),
        Kind.SPLIT: Splits(ground),
        Kind.CANCEL: Cancellations(ground),
        Kind.CLAIM: Claims(ground),
        Kind.RESERVE: Reservations(ground),
        Kind.RELEASE: Releases(ground),
        Kind.LOCK: Locks(ground),
        Kind.UNLOCK: Unlocks(ground),
        Kind.WITHDRAW: Withdrawals(ground),
    }
    return {**acting, Kind.UPDATE_MUTABLES: MutableUpdates(acting)}
