"""Canonical JSON (RFC 8785): the one text that an issuer signs, whatever order a token was written in."""

from __future__ import annotations

from typing import Final

import orjson
import rfc8785

from certificates.document import MAX_INTEGER, Json
from certificates.errors import TokenMalformed

_OPTIONS: Final = orjson.OPT_SORT_KEYS | orjson.OPT_STRICT_INTEGER
_ALIKE: Final = frozenset({str, bool, type(None)})
_PLAIN_FLOAT_MIN: Final = 1e-4
_PLAIN_FLOAT_MAX: Final = 1e15


def canonical(value: Json) -> bytes:
    """The canonical text of a JSON value; `TokenMalformed` when it has none (NaN, integers beyond 2^53)."""
    try:
        if not _is_plain(value):
            value = _with_whole_numbers(value)
            if not _is_plain(value):
                return _by_the_letter(value)
        return orjson.dumps(value, option=_OPTIONS)
    except (orjson.JSONEncodeError, rfc8785.CanonicalizationError) as error:
        raise TokenMalformed(f"there is no canonical JSON of this: {error}") from error


def _by_the_letter(value: Json) -> bytes:
    return bytes(rfc8785.dumps(value))


def _with_whole_numbers(value: Json) -> Json:
    """The value with its whole floats as integers, which is how RFC 8785 writes them."""
    kind = type(value)
    if kind is float:
        return int(value) if value.is_integer() and abs(value) <= MAX_INTEGER else value
    if kind is dict:
        return {key: _with_whole_numbers(child) for key, child in value.items()}
    return [_with_whole_numbers(child) for child in value] if kind is list else value


def _is_plain(value: Json) -> bool:
    """Whether orjson writes this value as RFC 8785 does. They part over keys (UTF-16 order against code
    points), floats that are whole (`1.0` against `1`), and very small or large ones (exponents)."""
    kind = type(value)
    if kind in _ALIKE:
        return True
    if kind is int:
        return bool(-MAX_INTEGER <= value <= MAX_INTEGER)
    if kind is float:
        return _PLAIN_FLOAT_MIN <= abs(value) < _PLAIN_FLOAT_MAX and not value.is_integer()
    if kind is dict:
        return _is_plain_object(value)
    return kind is list and all(map(_is_plain, value))


def _is_plain_object(value: dict[str, Json]) -> bool:
    for key, child in value.items():
        if type(key) is not str or not key.isascii():
            return False
        kind = type(child)
        if kind is str or (kind is int and -MAX_INTEGER <= child <= MAX_INTEGER):
            continue
        if not _is_plain(child):
            return False
    return True
