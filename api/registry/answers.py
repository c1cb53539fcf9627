"""What calls of the registry answer: EnergyTag's action response, and actions themselves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from aiohttp import web

from api.ports import Node
from api.replies import json_reply
from config.errors import ErrorCode, NotFound
from energytag.actions import Action, State
from energytag.models.certificate_actions import CertificateActionBase
from energytag.models.common import moment_of_ms
from energytag.plan import Made
from energytag.registry import Registry
from overlay.transaction import show_outpoint

ECHOED: Final = tuple(name for name, field in CertificateActionBase.model_fields.items() if not field.exclude)
"""The filters that EnergyTag's answers repeat."""


def registry_of(node: Node) -> Registry:
    """The node's registry; on a node without one its routes are not there."""
    if node.registry is None:
        raise NotFound("Route not found.", ErrorCode.ROUTE_NOT_FOUND)
    return node.registry


def action_response(action: Action, base: Mapping[str, Any]) -> dict[str, Any]:
    """EnergyTag's answer to a call that acts on certificates; `base` has the filters of the call."""
    response = {name: base[name] for name in ECHOED if name in base}
    response |= _times(action)
    response["action_response_status"] = "rejected" if action.state is State.REJECTED else "accepted"
    response["action_id"] = action.action_id
    response["action_state"] = action.state.value
    response["tx_ids"] = list(action.txids)
    if action.error is not None:
        response["error"] = dict(action.error)
    return response


def told_action(action: Action, made: Iterable[Made] = (), *, with_request: bool = False) -> dict[str, Any]:
    """An action as JSON; `made` are the bundles that it issued just now. Its request may be megabytes."""
    told = {
        "action_id": action.action_id,
        "action": action.kind.value,
        "action_state": action.state.value,
        **_times(action),
        "request": action.request if with_request else None,
        "result": action.result,
        "tx_ids": list(action.txids),
        "account_id": action.account_id,
        "user_id": action.user_id,
        "error": None if action.error is None else dict(action.error),
        "bundles": [_issued(each) for each in made] or None,
    }
    if action.awaits_signature and action.memo is not None:
        told["to_sign"] = action.memo["prepared"]
    return {name: value for name, value in told.items() if value is not None}


def unfinished(action: Action) -> web.Response | None:
    """The answer of a call that should tell of an object, when the action is still under way; its refusal is
    raised. None when it is done."""
    refusal = action.refusal()
    if refusal is not None:
        raise refusal
    return None if action.state is State.RESOLVED else json_reply(told_action(action), 202)


def _times(action: Action) -> dict[str, str]:
    times = {"action_request_datetime": moment_of_ms(action.requested_ms)}
    if action.completed_ms is not None:
        times["action_completed_datetime"] = moment_of_ms(action.completed_ms)
    return times


def _issued(made: Made) -> dict[str, Any]:
    assert made.token is not None
    numbers = made.token.bundle.range
    return {
        "issuance_id": made.token.issuance_id,
        "outpoint": show_outpoint(made.outpoint),
        "bundle_id_range_start": numbers.start,
        "bundle_id_range_end": numbers.end,
    }
