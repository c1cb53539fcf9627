"""The filters of a question: which there are, what values they take, and their normal form."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, NoReturn

from certificates.document import MAX_INTEGER
from config.errors import BadRequest, ErrorCode
from lookup.records import source_name
from lookup.standing import STATUSES
from store.port import Scalar

MAX_VALUES: Final = 32
"""Values that one filter may list."""
MAX_TEXT: Final = 256
"""Characters of one value."""
KEY_HEX_DIGITS: Final = 66


def refuse(message: str) -> NoReturn:
    """A question that cannot be understood."""
    raise BadRequest(message, ErrorCode.BAD_QUERY)


@dataclass(frozen=True, slots=True)
class Filters:
    """What records must satisfy, all of it together; empty tuples and None ask for nothing.

    `equals` has for a record's field the values that it may have, sorted, in the index's own spelling.
    `period_start` and `period_end` are epoch seconds, a window that holds the whole production interval.
    `statuses` are of `standing.STATUSES`. `bundle_id` is a certificate's number within its issuance.
    """

    equals: Mapping[str, tuple[Scalar, ...]] = field(default_factory=dict)
    statuses: tuple[str, ...] = ()
    topics: tuple[str, ...] = ()
    period_start: int | None = None
    period_end: int | None = None
    min_quantity: int | None = None
    bundle_id: int | None = None

    @property
    def has_period(self) -> bool:
        return self.period_start is not None or self.period_end is not None


def text(name: str, value: Any) -> str:
    """A filter's text; BAD_QUERY otherwise."""
    if type(value) is not str or not value:
        refuse(f"{name} must be text, not {_kind(value)}")
    if len(value) > MAX_TEXT:
        refuse(f"{name} is longer than {MAX_TEXT} characters")
    if not _is_unicode(value):
        refuse(f"{name} is not Unicode text")
    return value


def _is_unicode(value: str) -> bool:
    """Whether the text can be written as UTF-8, which half a surrogate pair cannot."""
    return value.isascii() or not any("\ud800" <= character <= "\udfff" for character in value)


def whole(name: str, value: Any, least: int = 0, most: int = MAX_INTEGER) -> int:
    """An integer within bounds; BAD_QUERY otherwise."""
    if type(value) is not int or not least <= value <= most:
        refuse(f"{name} must be an integer from {least} to {most}")
    return int(value)


def known_keys(value: Mapping[Any, Any], known: Collection[str], where: str) -> None:
    """BAD_QUERY for a key that is not known, with the nearest one that is."""
    for key in value:
        if key not in known:
            near = difflib.get_close_matches(str(key)[:MAX_TEXT], known, n=1, cutoff=0.5)
            hint = f"did you mean {str(near[0])!r}?" if near else f"there are: {', '.join(sorted(known))}"
            refuse(f"{where} has no {str(key)[:MAX_TEXT]!r}; {hint}")


def _kind(value: Any) -> str:
    return "empty" if value == "" else type(value).__name__


def _status(name: str, value: Any) -> str:
    status = text(name, value)
    for known in STATUSES:
        if status.lower() == known.lower():
            return known
    refuse(f"{name} {status!r} is not one of {', '.join(STATUSES)}")


def _public_key(name: str, value: Any) -> bytes:
    digits = text(name, value)
    try:
        key = bytes.fromhex(digits)
    except ValueError:
        key = b""
    if len(digits) != KEY_HEX_DIGITS or len(key) * 2 != KEY_HEX_DIGITS:
        refuse(f"{name} must be a compressed public key, {KEY_HEX_DIGITS} hex digits")
    return key


def moment_secs(name: str, value: Any) -> int:
    """Epoch seconds of an RFC 3339 date and time; BAD_QUERY otherwise."""
    try:
        moment = datetime.fromisoformat(text(name, value))
    except ValueError:
        refuse(f"{name} must be a date and time by RFC 3339, such as 2026-06-01T10:00:00Z")
    if moment.tzinfo is None:
        refuse(f"{name} must name its zone: end it in Z for UTC")
    return int(moment.timestamp())


def _number(name: str, value: Any) -> int:
    if type(value) is str and value.isascii() and value.isdigit() and len(value) <= len(str(MAX_INTEGER)):
        value = int(value)
    return whole(name, value)


_NORMAL_FORMS: Final[Mapping[str, Callable[[str, Any], Scalar]]] = {
    "energy_source": lambda name, value: source_name(text(name, value)),
    "energy_carrier": text,
    "country": lambda name, value: text(name, value).upper(),
    "zone": text,
    "grid": text,
    "device_id": lambda name, value: text(name, value).lower(),
    "device_name": text,
    "account_id": lambda name, value: text(name, value).lower(),
    "issuance_id": text,
    "issuer": _public_key,
    "owner_key": _public_key,
}
_OTHERS: Final = ("status", "topics", "period_start", "period_end", "min_quantity", "bundle_id")
FILTERS: Final = (*_NORMAL_FORMS, *_OTHERS)


def parse_filters(value: Mapping[str, Any]) -> Filters:
    """The filters among the keys of a question; BAD_QUERY names what is wrong with a value."""
    filters = Filters(
        equals={name: _listed(name, value, form) for name, form in _NORMAL_FORMS.items() if name in value},
        statuses=_listed("status", value, _status) if "status" in value else (),
        topics=_listed("topics", value, text) if "topics" in value else (),
        period_start=_one("period_start", value, moment_secs),
        period_end=_one("period_end", value, moment_secs),
        min_quantity=_one("min_quantity", value, whole),
        bundle_id=_one("bundle_id", value, _number),
    )
    if None not in (filters.period_start, filters.period_end) and filters.period_start >= filters.period_end:  # type: ignore[operator]
        refuse("period_start must be before period_end")
    return filters


def _one(name: str, value: Mapping[str, Any], form: Callable[[str, Any], int]) -> int | None:
    return form(name, value[name]) if name in value else None


def _listed(name: str, value: Mapping[str, Any], form: Callable[[str, Any], Any]) -> tuple[Any, ...]:
    """One value or a list of values, without repeats, in a fixed order."""
    given = value[name] if type(value[name]) is list else [value[name]]
    if not 0 < len(given) <= MAX_VALUES:
        refuse(f"{name} must be one value or a list of 1 to {MAX_VALUES}")
    return tuple(sorted({form(name, each) for each in given}))
