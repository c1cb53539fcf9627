"""The one edge between errors and HTTP: a status for each code, and the bodies that clients expect.

`docs/ERRORS.md` documents each code with its status; `tests/api/test_errors.py` holds it against this table.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from types import MappingProxyType
from typing import Any, Final

from aiohttp import web

from api.replies import json_reply
from config.errors import Busy, ErrorCode, MetawattError

_UNKNOWN = (
    ErrorCode.ORGANISATION_UNKNOWN,
    ErrorCode.USER_UNKNOWN,
    ErrorCode.ACCOUNT_UNKNOWN,
    ErrorCode.DEVICE_UNKNOWN,
    ErrorCode.CERTIFICATE_UNKNOWN,
    ErrorCode.RECORD_UNKNOWN,
    ErrorCode.ACTION_UNKNOWN,
    ErrorCode.METER_UNKNOWN,
    ErrorCode.READING_UNKNOWN,
    ErrorCode.BRIDGE_MESSAGE_UNKNOWN,
)
_FORBIDDEN = (
    ErrorCode.NOT_BENEFICIARY,
    ErrorCode.NOT_WHITELISTED,
    ErrorCode.NOT_THE_ISSUER,
    ErrorCode.METER_NOT_VERIFIED,
    ErrorCode.WALLET_DIFFERS,
)
_CONFLICTS = (
    ErrorCode.STILL_IN_USE,
    ErrorCode.ISSUED_TWICE,
    ErrorCode.NOTHING_SELECTED,
    ErrorCode.QUANTITY_LACKING,
    ErrorCode.STATUS_FORBIDS,
    ErrorCode.SIGNATURE_AWAITED,
    ErrorCode.ENERGY_LACKING,
    ErrorCode.METER_EXISTS,
    ErrorCode.READING_CONFLICTS,
    ErrorCode.MINTING_FORBIDS,
)
_UNPROCESSABLE = (
    ErrorCode.INVALID_FIELD,
    ErrorCode.INTERVAL_INVALID,
    ErrorCode.RANGE_INVALID,
    ErrorCode.CAPACITY_EXCEEDED,
    ErrorCode.ATTRIBUTES_DIFFER,
    ErrorCode.MEASUREMENT_INVALID,
    ErrorCode.IMPORT_INVALID,
    ErrorCode.PROOF_INVALID,
    ErrorCode.SIGNED_OTHERWISE,
    ErrorCode.KEY_INVALID,
    ErrorCode.AMOUNT_INVALID,
    ErrorCode.TIMESTAMP_INVALID,
    ErrorCode.READING_TOO_OLD,
    ErrorCode.READING_FROM_FUTURE,
)
_REQUEST_ERRORS = (
    ErrorCode.BAD_REQUEST,
    ErrorCode.BAD_JSON,
    ErrorCode.BAD_TOPICS_HEADER,
    ErrorCode.MISSING_BODY,
    ErrorCode.ENVELOPE_MALFORMED,
    ErrorCode.ENVELOPE_TOO_LARGE,
    ErrorCode.SUBJECT_MISSING,
    ErrorCode.ANCESTOR_MISSING,
    ErrorCode.MERKLE_PATH_INVALID,
    ErrorCode.MERKLE_ROOT_UNKNOWN,
    ErrorCode.COINBASE_IMMATURE,
    ErrorCode.VALUE_NOT_CONSERVED,
    ErrorCode.SCRIPT_INVALID,
    ErrorCode.SCRIPT_TOO_COSTLY,
    ErrorCode.DOUBLE_SPEND,
    ErrorCode.TOPIC_UNKNOWN,
    ErrorCode.LOOKUP_SERVICE_UNKNOWN,
    ErrorCode.BAD_QUERY,
    ErrorCode.BAD_CURSOR,
    # The reference knows 404 for routes only; its clients expect 400 for a thing that is not here.
    ErrorCode.TRANSACTION_UNKNOWN,
    ErrorCode.OUTPUT_UNKNOWN,
    ErrorCode.TOKEN_MALFORMED,
    ErrorCode.BROADCAST_REJECTED,
)

STATUS: Final[Mapping[ErrorCode, int]] = MappingProxyType(
    {
        **dict.fromkeys(_REQUEST_ERRORS, 400),
        **dict.fromkeys(_UNKNOWN, 404),
        **dict.fromkeys(_FORBIDDEN, 403),
        **dict.fromkeys(_CONFLICTS, 409),
        **dict.fromkeys(_UNPROCESSABLE, 422),
        ErrorCode.WALLET_EMPTY: 503,
        ErrorCode.WALLET_UNAVAILABLE: 503,
        ErrorCode.UNAUTHORIZED: 401,
        ErrorCode.SIGNATURE_INVALID: 401,
        ErrorCode.FORBIDDEN: 403,
        ErrorCode.NOT_FOUND: 404,
        ErrorCode.ROUTE_NOT_FOUND: 404,
        ErrorCode.METHOD_NOT_ALLOWED: 405,
        ErrorCode.BODY_TIMEOUT: 408,
        ErrorCode.BODY_TOO_LARGE: 413,
        ErrorCode.RESPONSE_TOO_LARGE: 413,
        ErrorCode.UNSUPPORTED_MEDIA_TYPE: 415,
        ErrorCode.RATE_LIMITED: 429,
        ErrorCode.OVERLOADED: 429,
        ErrorCode.INTERNAL: 500,
        ErrorCode.SETTINGS_INVALID: 500,
        ErrorCode.STORAGE_CONFLICT: 500,
        ErrorCode.STORAGE_TOO_NEW: 500,
        ErrorCode.CHAIN_UNAVAILABLE: 503,
        ErrorCode.REGISTRY_UNAVAILABLE: 503,
        ErrorCode.HISTORY_GAP: 503,
        ErrorCode.SOLANA_UNAVAILABLE: 503,
        ErrorCode.REORG_TOO_DEEP: 503,
        ErrorCode.SHUTTING_DOWN: 503,
        ErrorCode.STARTING: 503,
        ErrorCode.STORAGE_UNAVAILABLE: 503,
    }
)
# After these the rest of the body may still be on its way; the connection is not used again.
_CLOSING = frozenset({ErrorCode.BODY_TOO_LARGE, ErrorCode.BODY_TIMEOUT})
_UNAVAILABLE_RETRY_SECS = 5
_CHALLENGE = 'Bearer realm="metawatt"'


def error_body(message: str, code: ErrorCode) -> dict[str, Any]:
    """The body of an error reply; an unknown route has the reference's own shape."""
    if code is ErrorCode.ROUTE_NOT_FOUND:
        return {"status": "error", "code": code, "description": message}
    return {"status": "error", "message": message, "code": code}


def error_reply(error: MetawattError) -> web.Response:
    """The reply to an error that was raised on purpose. 429 and 503 always carry Retry-After, 422 the `detail`
    that EnergyTag's API promises."""
    status = STATUS[error.code]
    body = error_body(error.message, error.code)
    if status == 422:
        body["detail"] = _detail(error)
    response = json_reply(body, status)
    if status in (429, 503):
        response.headers["Retry-After"] = str(_retry_after_secs(error))
    if status == 401:
        response.headers["WWW-Authenticate"] = _CHALLENGE
    if error.code in _CLOSING:
        response.force_close()
    return response


def _detail(error: MetawattError) -> list[dict[str, Any]]:
    """An entry for each fault of a body: those that its reader found, else the one that was raised."""
    found: list[dict[str, Any]] | None = getattr(error, "detail", None)
    return found or [{"loc": ["body"], "msg": error.message, "type": error.code.value}]


def unexpected_reply(request_id: str) -> web.Response:
    """The reply to a fault of this node: nothing of the fault, but the id under which it was logged."""
    body = error_body("Unexpected error", ErrorCode.INTERNAL) | {"requestId": request_id}
    return json_reply(body, 500)


def _retry_after_secs(error: MetawattError) -> int:
    if isinstance(error, Busy):
        return max(1, ceil(error.retry_after_secs))
    return _UNAVAILABLE_RETRY_SECS
