"""Varints: every width, nothing cut off."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.errors import BadRequest
from overlay.sdk import load_sdk
from overlay.varint import read_varint, write_varint


@given(st.integers(0, 2**64 - 1), st.binary(max_size=3), st.binary(max_size=3))
def test_round_trip(number: int, before: bytes, after: bytes) -> None:
    data = before + write_varint(number) + after
    assert read_varint(data, len(before)) == (number, len(data) - len(after))


@pytest.mark.parametrize("number", [0, 252, 253, 0xFFFF, 0x10000, 0xFFFFFFFF, 0x100000000, 2**64 - 1])
def test_the_sdk_writes_alike(number: int) -> None:
    assert load_sdk("bsv.utils").unsigned_to_varint(number) == write_varint(number)


@pytest.mark.parametrize("data", [b"", b"\xfd", b"\xfd\x01", b"\xfe\x01\x02\x03", b"\xff" + bytes(7)])
def test_cut_off(data: bytes) -> None:
    with pytest.raises(BadRequest):
        read_varint(data, 0)


@pytest.mark.parametrize("data", [b"\xfd\x01\x00", b"\xfe\x01\x00\x00\x00", b"\xff\x01" + bytes(7)])
def test_longer_than_needed_is_read(data: bytes) -> None:
    assert read_varint(data, 0) == (1, len(data))


@pytest.mark.parametrize("number", [-1, 2**64])
def test_out_of_bounds(number: int) -> None:
    with pytest.raises(OverflowError):
        write_varint(number)
