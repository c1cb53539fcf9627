"""Checks on keys and on declared fields, shared by the drivers.

A value of a wrong type, or one that a database cannot hold (an int beyond 64 bits, a str with a lone
surrogate), is refused, and does not spoil the group it would be committed with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from config.errors import BadRequest, ErrorCode
from store.port import Collection, Find, Key, Kind, Scalar

INT64_MIN: Final = -(2**63)
INT64_MAX: Final = 2**63 - 1
KEY_FIELD: Final = "_id"

_TYPES: Final[Mapping[Kind, type]] = {"bytes": bytes, "text": str, "int": int}


def _is_sound(value: Any) -> bool:
    if isinstance(value, int):
        return INT64_MIN <= value <= INT64_MAX
    if isinstance(value, str) and not value.isascii():
        return not any("\ud800" <= character <= "\udfff" for character in value)
    return True


def _coerced(kind: Kind, name: str, value: Any) -> Scalar:
    expected = _TYPES[kind]
    if not isinstance(value, expected):
        raise BadRequest(f"{name} must be {kind}, not {type(value).__name__}")
    plain: Scalar = expected(value)
    return plain


def scalar(kind: Kind, name: str, value: Any) -> Scalar:
    """`value` as the plain bytes, str or int that a declared field holds, or None; else BadRequest."""
    if value is None:
        return None
    if type(value) is not _TYPES[kind]:
        value = _coerced(kind, name, value)
    if kind != "bytes" and not _is_sound(value):
        raise BadRequest(f"{name} holds a value that cannot be stored")
    return value  # type: ignore[no-any-return]


def checked_key(collection: Collection, key: Any) -> Key:
    """`key` if `collection` can have it; else BadRequest."""
    value = scalar(collection.key, f"key of {collection.name}", key)
    if value is None:
        raise BadRequest(f"a document of {collection.name} needs a key")
    return value


def free_fields(collection: Collection, find: Find) -> tuple[str, ...]:
    """The fields that order the answer: those of the index that `equals` leaves free, then the key."""
    fields = () if find.index is None else collection.index(find.index).fields
    fixed = fields[: len(find.equals)]
    if set(fixed) != set(find.equals):
        raise ValueError(f"equals must fix a prefix of index {find.index}, not {sorted(find.equals)}")
    if fixed and find.equals[fixed[0]] is None and collection.index(str(find.index)).partial:
        raise ValueError(f"index {find.index} leaves out documents in which {fixed[0]} is None")
    return (*fields[len(fixed) :], KEY_FIELD)


def checked_position(collection: Collection, free: Sequence[str], after: Sequence[Scalar]) -> tuple[Scalar, ...]:
    """`after` if it is a position in this walk; else BadRequest with the code of a bad cursor."""
    if len(after) != len(free) or after[-1] is None:
        raise BadRequest("the cursor belongs to another query", ErrorCode.BAD_CURSOR)
    kinds = {**collection.fields, KEY_FIELD: collection.key}
    try:
        return tuple(scalar(kinds[name], name, value) for name, value in zip(free, after, strict=True))
    except BadRequest as error:
        raise BadRequest(error.message, ErrorCode.BAD_CURSOR) from error


def checked_find(collection: Collection, find: Find) -> Find:
    """`find` with every value of a stranger's checked against the declared types."""
    free = free_fields(collection, find)
    kinds = {**collection.fields, KEY_FIELD: collection.key}
    if find.limit < 1:
        raise BadRequest("limit must be at least 1")
    after = None if find.after is None else checked_position(collection, free, find.after)
    return Find(
        index=find.index,
        equals={name: scalar(kinds[name], name, value) for name, value in find.equals.items()},
        lower=scalar(kinds[free[0]], free[0], find.lower),
        upper=scalar(kinds[free[0]], free[0], find.upper),
        descending=find.descending,
        limit=find.limit,
        after=after,
    )
