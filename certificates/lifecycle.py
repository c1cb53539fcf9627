"""The life of a certificate: which status may follow which.

    Active ⇄ Reserved        Active, Reserved → Cancelled → Claimed
    Active ⇄ Locked          Locked → Withdrawn, by the bridge that holds it
    Active → Active          transfer, split, merge

The list is closed: only an Active certificate changes hands, is split or is merged as it is. A reservation
under registry configuration 2 is for another registry, and final (EnergyTag API v2, `target_registry`).
The issuer's withdrawal notice is not a move of the coin and is not listed. Expired is never written; it is
computed when a certificate is read.
"""

from __future__ import annotations

from datetime import date
from enum import StrEnum
from typing import Final


class Status(StrEnum):
    """EnergyTag's seven statuses."""

    ACTIVE = "Active"
    RESERVED = "Reserved"
    LOCKED = "Locked"
    CANCELLED = "Cancelled"
    CLAIMED = "Claimed"
    WITHDRAWN = "Withdrawn"
    EXPIRED = "Expired"


MOVES: Final[dict[Status, frozenset[Status]]] = {
    Status.ACTIVE: frozenset({Status.ACTIVE, Status.RESERVED, Status.LOCKED, Status.CANCELLED}),
    Status.RESERVED: frozenset({Status.ACTIVE, Status.CANCELLED}),
    Status.LOCKED: frozenset({Status.ACTIVE, Status.WITHDRAWN}),
    Status.CANCELLED: frozenset({Status.CLAIMED}),
    Status.CLAIMED: frozenset(),
    Status.WITHDRAWN: frozenset(),
    Status.EXPIRED: frozenset(),
}
"""What a successor output may say, by what the spent coin said."""

WITHDRAWABLE: Final = frozenset({Status.ACTIVE, Status.RESERVED, Status.LOCKED})
"""What the issuer's notice can still withdraw."""

EXPIRING: Final = frozenset({Status.ACTIVE, Status.RESERVED})
FINAL_RESERVATION: Final = 2
"""The registry configuration under which a reservation is final."""


def may_follow(before: Status, after: Status, registry_configuration: int = 1) -> bool:
    """Whether a coin of status `before` may be succeeded by an output of status `after`."""
    if before is Status.RESERVED and registry_configuration == FINAL_RESERVATION:
        return False
    return after in MOVES[before]


def status_on(status: Status, expiry: date, today: date) -> Status:
    """The status as read on a UTC day: Active and Reserved become Expired on their expiry date."""
    return Status.EXPIRED if status in EXPIRING and expiry <= today else status
