"""What a registry's error reply is as an exception."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from config.errors import (
    BadRequest,
    Busy,
    ErrorCode,
    Forbidden,
    Internal,
    MetawattError,
    NotFound,
    Unauthorized,
    Unavailable,
)
from energytag.models.common import InvalidFields

_CODES: Final = {code.value: code for code in ErrorCode}
_CLASSES: Final[Mapping[int, type[MetawattError]]] = {
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    503: Unavailable,
}


def refusal(status: int, body: Any, retry_after_secs: float | None = None) -> MetawattError:
    """The exception for a reply of 400 and above. `body` is its JSON, None when it had none."""
    told: Mapping[str, Any] = body if isinstance(body, dict) else {}
    code = _CODES.get(str(told.get("code")))
    message = str(told.get("message") or told.get("description") or f"the registry answers {status}")
    if code is ErrorCode.INVALID_FIELD and isinstance(told.get("detail"), list):
        return InvalidFields(told["detail"])
    if status == 429:
        return Busy(message, code, retry_after_secs or 1.0)
    if status in _CLASSES:
        return _CLASSES[status](message, code)
    return (Internal if status >= 500 else BadRequest)(message, code)


def refusal_of(error: Mapping[str, Any]) -> MetawattError:
    """The exception for an action's `error`: its code and message."""
    return BadRequest(str(error.get("message")), _CODES.get(str(error.get("code"))))
