"""Pages of lists: `limit` and `cursor` in the query."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from api.route import Parameter
from energytag.listing import MAX_CURSOR_TEXT, MOST_LISTED
from energytag.models.common import InvalidFields

_USUAL_LIMIT: Final = 100

PAGING: Final = (
    Parameter(
        "limit",
        "query",
        f"Most entries of the answer; {_USUAL_LIMIT} when left out.",
        {"type": "integer", "minimum": 1, "maximum": MOST_LISTED},
    ),
    Parameter(
        "cursor",
        "query",
        "Where to go on: what the page before this one gave.",
        {"type": "string", "minLength": 1, "maxLength": MAX_CURSOR_TEXT},
    ),
)


def paging_of(request: web.Request) -> tuple[int, str | None]:
    """Limit and cursor; `InvalidFields` (422) when they are out of bounds."""
    return _limit(request.query.get("limit")), _cursor(request.query.get("cursor"))


def _limit(text: str | None) -> int:
    if text is None:
        return _USUAL_LIMIT
    if text.isascii() and text.isdigit() and len(text) < 10 and 1 <= int(text) <= MOST_LISTED:
        return int(text)
    raise _invalid("limit", f"must be an integer from 1 to {MOST_LISTED}")


def _cursor(text: str | None) -> str | None:
    if text is not None and not 1 <= len(text) <= MAX_CURSOR_TEXT:
        raise _invalid("cursor", f"must have 1 to {MAX_CURSOR_TEXT} characters")
    return text


def _invalid(name: str, message: str) -> InvalidFields:
    return InvalidFields([{"loc": ["query", name], "msg": message, "type": "value_error"}])
