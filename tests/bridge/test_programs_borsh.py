"""Borsh: what is encoded is decoded again, and hostile bytes raise nothing but `BorshError`."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from solders.pubkey import Pubkey

from bridge.programs.borsh import (
    INTEGERS,
    Array,
    BorshError,
    Defined,
    Enum,
    Field,
    Option,
    Scalar,
    Struct,
    Type,
    Types,
    Vector,
    decode,
    encode,
)
from bridge.programs.idl import idl

TYPES: Types = {
    "Point": Struct((Field("x", Scalar("i32")), Field("y", Option(Scalar("u8"))))),
    "Shape": Enum(
        (
            ("Empty", Struct(())),
            ("Circle", Struct((Field("0", Scalar("u64")),))),
            ("Line", Struct((Field("from", Defined("Point")), Field("to", Defined("Point"))))),
        )
    ),
    "Endless": Struct((Field("next", Option(Defined("Endless"))),)),
    "Nothing": Struct(()),
}

KINDS = st.recursive(
    st.sampled_from([*map(Scalar, [*INTEGERS, "bool", "string", "bytes", "pubkey"]), Defined("Shape")]),
    lambda inner: st.one_of(
        st.builds(Array, inner, st.integers(0, 4)), st.builds(Vector, inner), st.builds(Option, inner)
    ),
    max_leaves=4,
)


def value_of(kind: Type) -> st.SearchStrategy[Any]:
    match kind:
        case Scalar(name) if name in INTEGERS:
            size, is_signed = INTEGERS[name]
            low = -(1 << 8 * size - 1) if is_signed else 0
            return st.integers(low, low + (1 << 8 * size) - 1)
        case Scalar("bool"):
            return st.booleans()
        case Scalar("string"):
            return st.text(max_size=8)
        case Scalar("bytes"):
            return st.binary(max_size=8)
        case Scalar():
            return st.binary(min_size=32, max_size=32).map(Pubkey.from_bytes)
        case Array(Scalar("u8"), length):
            return st.binary(min_size=length, max_size=length)
        case Vector(Scalar("u8")):
            return st.binary(max_size=8)
        case Array(item, length):
            return st.lists(value_of(item), min_size=length, max_size=length)
        case Vector(item):
            return st.lists(value_of(item), max_size=4)
        case Option(Option()) | Option(Scalar()) | Option(Array()) | Option(Vector()) | Option(Defined()):
            return st.none() | value_of(kind.item)
        case Defined("Shape"):
            point = st.fixed_dictionaries({"x": value_of(Scalar("i32")), "y": st.none() | value_of(Scalar("u8"))})
            return st.one_of(
                st.just("Empty"),
                st.fixed_dictionaries({"Circle": st.fixed_dictionaries({"0": value_of(Scalar("u64"))})}),
                st.fixed_dictionaries({"Line": st.fixed_dictionaries({"from": point, "to": point})}),
            )
    raise AssertionError(kind)


def has_nested_option(kind: Type) -> bool:
    """Of these, None does not say which of the two is missing."""
    if isinstance(kind, Option):
        return isinstance(kind.item, Option) or has_nested_option(kind.item)
    return isinstance(kind, Array | Vector) and has_nested_option(kind.item)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_what_is_encoded_is_decoded_again(data: st.DataObject) -> None:
    kinds = data.draw(st.lists(KINDS.filter(lambda kind: not has_nested_option(kind)), max_size=4))
    struct = Struct(tuple(Field(f"f{number}", kind) for number, kind in enumerate(kinds)))
    values = {field.name: data.draw(value_of(field.type)) for field in struct.fields}
    encoded = encode(struct, TYPES, values)
    assert decode(struct, TYPES, encoded) == values
    assert decode(struct, TYPES, encoded + b"more", is_whole=False) == values
    with pytest.raises(BorshError):
        decode(struct, TYPES, encoded + b"\0")
    if encoded:
        with pytest.raises(BorshError):
            decode(struct, TYPES, encoded[:-1])


@settings(max_examples=300, deadline=None)
@given(KINDS, st.binary(max_size=200))
def test_hostile_bytes_raise_nothing_else(kind: Type, data: bytes) -> None:
    struct = Struct((Field("value", kind),))
    try:
        values = decode(struct, TYPES, data)
    except BorshError:
        return
    if not has_nested_option(kind):
        assert encode(struct, TYPES, values) == data


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(["energy_token", "registry", "oracle", "governance"]),
    st.integers(0, 40),
    st.binary(max_size=300),
)
def test_hostile_events_and_accounts_raise_nothing_else(name: Any, number: int, data: bytes) -> None:
    program = idl(name)
    for records, read in ((program.events, program.event), (program.accounts, program.account)):
        start = list(records)[number % len(records)]
        for hostile in (data, start + data):
            try:
                read(hostile)
            except BorshError:
                continue


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (Vector(Scalar("u64")), b"\xff\xff\xff\xff"),
        (Vector(Defined("Nothing")), b"\xff\xff\xff\xff"),
        (Vector(Scalar("u8")), b"\xff\xff\xff\xff" + bytes(100)),
        (Scalar("string"), b"\xff\xff\xff\x7f"),
        (Scalar("string"), b"\x02\0\0\0\xff\xfe"),
        (Scalar("bool"), b"\2"),
        (Option(Scalar("u8")), b"\2\0"),
        (Defined("Shape"), b"\3"),
        (Defined("Endless"), b"\1" * 10_000),
    ],
    ids=["long", "of nothing", "of bytes", "string", "not UTF-8", "bool", "option", "variant", "endless"],
)
def test_lengths_and_tags_are_not_believed(kind: Type, data: bytes) -> None:
    with pytest.raises(BorshError):
        decode(Struct((Field("value", kind),)), TYPES, data)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Scalar("u8"), 256),
        (Scalar("u64"), -1),
        (Scalar("i64"), 1 << 63),
        (Scalar("u64"), 1.0),
        (Scalar("u64"), True),
        (Scalar("bool"), 1),
        (Scalar("string"), b"bytes"),
        (Scalar("string"), "\ud800"),
        (Scalar("pubkey"), bytes(32)),
        (Array(Scalar("u8"), 2), b"123"),
        (Array(Scalar("u16"), 2), [1]),
        (Vector(Scalar("u16")), "12"),
        (Defined("Shape"), "Square"),
        (Defined("Shape"), {"Circle": {}}),
        (Defined("Point"), {"x": 1}),
        (Defined("Point"), [1, 2]),
    ],
)
def test_values_that_are_not_of_their_type_are_not_encoded(kind: Type, value: Any) -> None:
    with pytest.raises(BorshError):
        encode(Struct((Field("value", kind),)), TYPES, {"value": value})
