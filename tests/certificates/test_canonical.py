"""Canonical JSON is RFC 8785's, on the short way and on the long one."""

from __future__ import annotations

import math
from typing import Any

import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from certificates.canonical import canonical
from certificates.document import MAX_INTEGER
from certificates.errors import TokenMalformed

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
floats = (
    st.integers(-(2**60), 2**60).map(float)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.floats(-200, 200)
    | st.floats(1e-7, 1e-3)
)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-MAX_INTEGER, MAX_INTEGER) | floats | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=500)
@given(values)
def test_equals_the_reference(value: Any) -> None:
    assert canonical(value) == rfc8785.dumps(value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"b": 1, "a": 2}, b'{"a":2,"b":1}'),
        ([1.0, -0.0, 1e21, 1e-7, 1e-5, 0.1, 1e15, 123456789012345680.0], None),
        ([48.0, 11.5], b"[48,11.5]"),
        ('\x00\x1f\x7f"\\/\b\f\n\r\t\u2028€', None),
        ({"\U0001f600": 1, "\ufb33": 2, "é": 3, "z": 4}, '{"z":4,"\u00e9":3,"\U0001f600":1,"\ufb33":2}'.encode()),
    ],
)
def test_where_writers_part(value: Any, text: bytes | None) -> None:
    assert canonical(value) == (text or rfc8785.dumps(value))


@pytest.mark.parametrize("value", [math.nan, math.inf, 2**53, -(2**53), 2**70, {1: 2}, {"a": b"x"}, "\ud800"])
def test_what_has_no_canonical_text(value: Any) -> None:
    with pytest.raises(TokenMalformed):
        canonical(value)
