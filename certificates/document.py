"""The JSON of a token: parsed strictly, so that every reader of the same bytes sees the same values.

Parsers disagree on duplicate keys, on integers above 2^53 and on deep nesting; a certificate that reads
differently here and there could be two certificates. Such documents are refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final, TypeAlias

import orjson

from certificates.errors import TokenMalformed

Json: TypeAlias = Any
"""A JSON value as orjson gives it: dict, list, str, int, float, bool, None."""

MAX_DOCUMENT_BYTES: Final = 16 * 1024
MAX_DEPTH: Final = 8
MAX_INTEGER: Final = 2**53 - 1
"""Largest integer that every JSON reader holds exactly (RFC 8785 §3.2.2.3)."""
_MAX_INTEGER_DIGITS = len(str(MAX_INTEGER)) + 1


def parse_object(text: bytes) -> dict[str, Json]:
    """The object that a UTF-8 JSON text holds.

    Raises `TokenMalformed` for anything else, and for texts above `MAX_DOCUMENT_BYTES`, nesting above
    `MAX_DEPTH`, a key twice in one object, numbers beyond ±(2^53 - 1), NaN.
    """
    if len(text) > MAX_DOCUMENT_BYTES:
        raise TokenMalformed(f"the JSON has {len(text)} bytes; at most {MAX_DOCUMENT_BYTES} are allowed")
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise TokenMalformed(f"the first field is not JSON: {error}") from error
    if type(value) is not dict:
        raise TokenMalformed("the first field is JSON, but not an object")
    _check_members(value.values(), MAX_DEPTH - 1)
    if not _round_trips(value, text):
        _check_numbers_and_keys(text)
    return value


def _check_members(values: Iterable[Json], depth_left: int) -> None:
    """Bound depth, and numbers: a float beyond 2^53 is whole, and its canonical text an integer beyond it."""
    for value in values:
        kind = type(value)
        if kind is dict or kind is list:
            if depth_left == 0:
                raise TokenMalformed(f"the JSON is nested deeper than {MAX_DEPTH}")
            _check_members(value.values() if kind is dict else value, depth_left - 1)
        elif kind is float and abs(value) > MAX_INTEGER:
            raise TokenMalformed(f"a number is beyond ±{MAX_INTEGER}")


def _round_trips(value: Json, text: bytes) -> bool:
    """Whether writing the value again gives the very text: a key that came twice would be missing, and
    an integer beyond 64 bits would have become a float. Compact texts take this short way."""
    try:
        return orjson.dumps(value, option=orjson.OPT_STRICT_INTEGER) == text
    except orjson.JSONEncodeError:
        return False


def _check_numbers_and_keys(text: bytes) -> None:
    """Walk the text again with a reader that shows each key and each number as it is written."""
    json.loads(text, object_pairs_hook=_unique, parse_int=_bounded)


def _unique(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise TokenMalformed("a key comes twice in one object")
    return found


def _bounded(digits: str) -> int:
    if len(digits) > _MAX_INTEGER_DIGITS or abs(int(digits)) > MAX_INTEGER:
        raise TokenMalformed(f"an integer is beyond ±{MAX_INTEGER}")
    return int(digits)
