"""JSON is read strictly: what two readers could read differently is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certificates.document import MAX_DEPTH, MAX_DOCUMENT_BYTES, MAX_INTEGER, parse_object
from certificates.errors import TokenMalformed
from config.errors import ErrorCode


def nested(depth: int) -> bytes:
    return b'{"a":' * (depth - 1) + b"{}" + b"}" * (depth - 1)


REFUSED = [
    ("empty", b"", "not JSON"),
    ("cut off", b'{"a":1', "not JSON"),
    ("not UTF-8", b'{"a":"\xff"}', "not JSON"),
    ("byte order mark", b"\xef\xbb\xbf{}", "not JSON"),
    ("lone surrogate", b'{"a":"\\ud800"}', "not JSON"),
    ("NaN", b'{"a":NaN}', "not JSON"),
    ("infinity", b'{"a":Infinity}', "not JSON"),
    ("float beyond double", b'{"a":1e400}', "not JSON"),
    ("array", b"[]", "not an object"),
    ("text", b'"a"', "not an object"),
    ("null", b"null", "not an object"),
    ("two documents", b"{}{}", "not JSON"),
    ("duplicate key", b'{"a":1,"a":2}', "twice"),
    ("duplicate key of the same value", b'{"a":1,"a":1}', "twice"),
    ("duplicate key, one escaped", b'{"a":1,"\\u0061":1}', "twice"),
    ("duplicate key within", b'{"b":[{"a":1, "a":2}]}', "twice"),
    ("integer above 2^53", b'{"a":9007199254740992}', "beyond"),
    ("integer below -2^53", b'{"a":-9007199254740992}', "beyond"),
    ("integer above 64 bits", b'{"a":18446744073709551616}', "beyond"),
    ("integer of many digits", b'{"a":1' + b"0" * 200 + b"}", "beyond"),
    ("float beyond 2^53", b'{"a":[1e16]}', "beyond"),
    ("too deep", nested(MAX_DEPTH + 1), "nested"),
    ("deeper than the parser goes", b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}", "not JSON"),
    ("too long", b'{"a":"' + b"x" * MAX_DOCUMENT_BYTES + b'"}', "at most"),
]


@pytest.mark.parametrize(("text", "reason"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_refused(text: bytes, reason: str) -> None:
    with pytest.raises(TokenMalformed, match=reason) as caught:
        parse_object(text)
    assert caught.value.code is ErrorCode.TOKEN_MALFORMED


@pytest.mark.parametrize(
    "text",
    [
        b"{}",
        b' {"a": 1, "b": [1, 2.50, -0.0]}\n',
        b'{"b":1,"a":2}',
        b'{"a":"[[[[[[[[[[[[{{{{{{{{"}',
        b'{"a":9007199254740991,"b":-9007199254740991}',
        b'{"a":1E5,"b":"\\u00fc\\/"}',
        nested(MAX_DEPTH),
    ],
)
def test_accepted_as_others_read_it(text: bytes) -> None:
    assert parse_object(text) == json.loads(text)


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-MAX_INTEGER, MAX_INTEGER)
    | st.floats(-MAX_INTEGER, MAX_INTEGER)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc\xe9", max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text("xyz", max_size=3), values, max_size=4), st.sampled_from([None, 1]))
def test_any_writer_is_read(value: dict[str, Any], indent: int | None) -> None:
    try:
        read = parse_object(json.dumps(value, indent=indent).encode())
    except TokenMalformed as error:
        assert "nested" in error.message
    else:
        assert read == value


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_refused_or_an_object(text: bytes) -> None:
    try:
        assert isinstance(parse_object(text), dict)
    except TokenMalformed as error:
        assert error.message
