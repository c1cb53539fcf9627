"""`update_mutables`: new values for a certificate's account and status, by the registry administrator.

Each pair of values amounts to an action that there is by its own name, and is planned as that. What would be
none, such as making a claimed certificate Active, the lifecycle forbids.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Final

from certificates.lifecycle import Status
from config.errors import BadRequest, ErrorCode
from energytag.actions import Action, Kind
from energytag.choosing import StatusForbids
from energytag.plan import Handler, Plan, Scene

BY_STATUS: Final[Mapping[Status, Kind]] = MappingProxyType(
    {
        Status.ACTIVE: Kind.RELEASE,
        Status.RESERVED: Kind.RESERVE,
        Status.CANCELLED: Kind.CANCEL,
        Status.CLAIMED: Kind.CLAIM,
        Status.WITHDRAWN: Kind.WITHDRAW,
    }
)
"""What a new status amounts to when the account stays. Locked needs a destination, Expired comes of itself."""


@dataclass(frozen=True, slots=True)
class MutableUpdates:
    """Hands on to the handlers of the actions that an update amounts to."""

    handlers: Mapping[Kind, Handler]
    reads_holdings: bool = True

    async def plan(self, action: Action, scene: Scene) -> Plan:
        kind = amounts_to(action.request)
        return await self.handlers[kind].plan(replace(action, kind=kind, request=_as(action.request)), scene)


def amounts_to(request: Mapping[str, Any]) -> Kind:
    """The kind of action; INVALID_FIELD when nothing is to change, `StatusForbids` when nothing can do it."""
    account_id, value = request.get("account_id"), request.get("certificate_status")
    status = None if value is None else Status(value)
    if account_id is not None:
        if status not in (None, Status.ACTIVE):
            raise StatusForbids(
                f"a certificate that goes to another account stays Active, and is not made {status}"
            )
        return Kind.TRANSFER
    if status is None:
        raise BadRequest("name the new account_id, or the new certificate_status", ErrorCode.INVALID_FIELD)
    if status not in BY_STATUS:
        raise StatusForbids(f"no certificate is made {status} by an update")
    return BY_STATUS[status]


def _as(request: Mapping[str, Any]) -> dict[str, Any]:
    """The body of that action: the new status is no filter there."""
    body = {name: value for name, value in request.items() if name not in ("account_id", "certificate_status")}
    return body if request.get("account_id") is None else {**body, "target_account_id": request["account_id"]}
