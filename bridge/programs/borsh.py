"""Borsh by the types of an IDL: little-endian integers, length-prefixed strings and vectors, tagged options
and enums, structs in order.

Values in Python: `bool`, `int`, `str`, `bytes` (also for arrays and vectors of u8), `Pubkey`, `list`, None or
the value of an option, `dict` by field for a struct; a variant is its name, or `{name: fields}` where it has
fields. Decoding is bounded by the data alone: no length that it claims makes more than it holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from solders.pubkey import Pubkey

from config.errors import BadRequest


class BorshError(BadRequest):
    """Data that are not of their type."""


@dataclass(frozen=True, slots=True)
class Scalar:
    """`name` is that of the IDL: an integer's, bool, string, bytes or pubkey."""

    name: str


@dataclass(frozen=True, slots=True)
class Array:
    item: Type
    length: int


@dataclass(frozen=True, slots=True)
class Vector:
    item: Type


@dataclass(frozen=True, slots=True)
class Option:
    item: Type


@dataclass(frozen=True, slots=True)
class Defined:
    """A struct or an enum of the IDL's `types`."""

    name: str


Type: TypeAlias = Scalar | Array | Vector | Option | Defined


@dataclass(frozen=True, slots=True)
class Field:
    name: str
    type: Type


@dataclass(frozen=True, slots=True)
class Struct:
    fields: tuple[Field, ...]


@dataclass(frozen=True, slots=True)
class Enum:
    """Variants in order, each with its fields; those of a tuple variant are named 0, 1, …"""

    variants: tuple[tuple[str, Struct], ...]


Types: TypeAlias = Mapping[str, Struct | Enum]

INTEGERS: Final[dict[str, tuple[int, bool]]] = {
    f"{sign}{bits}": (bits // 8, sign == "i") for sign in "ui" for bits in (8, 16, 32, 64, 128)
}
SCALARS: Final = frozenset(INTEGERS) | {"bool", "string", "bytes", "pubkey"}

_BYTE: Final = Scalar("u8")
_MAX_DEPTH: Final = 32
_MAX_EMPTY_ITEMS: Final = 1024  # of a vector whose items take no bytes, so that the data do not bound them


def decode(struct: Struct, types: Types, data: bytes, *, is_whole: bool = True) -> dict[str, Any]:
    """The fields of a struct. Raises `BorshError` when the data are cut short, not of the type, or, with
    `is_whole`, longer than the struct."""
    reader = _Reader(data, types)
    fields = reader.struct(struct, 0)
    if is_whole and reader.rest_bytes:
        raise BorshError(f"{reader.rest_bytes} bytes too many")
    return fields


def encode(struct: Struct, types: Types, values: Mapping[str, Any]) -> bytes:
    """The other way. Raises `BorshError` for fields that are missing, unknown, or not of their type."""
    return _struct_bytes(struct, types, values)


class _Reader:
    def __init__(self, data: bytes, types: Types) -> None:
        self._data = data
        self._types = types
        self._at = 0

    @property
    def rest_bytes(self) -> int:
        return len(self._data) - self._at

    def struct(self, struct: Struct, depth: int) -> dict[str, Any]:
        return {field.name: self._value(field.type, depth + 1) for field in struct.fields}

    def _value(self, kind: Type, depth: int) -> Any:
        if depth > _MAX_DEPTH:
            raise BorshError("Nested too deep")
        match kind:
            case Scalar():
                return self._scalar(kind.name)
            case Array():
                return self._items(kind.item, kind.length, depth)
            case Vector():
                return self._items(kind.item, self._integer("u32"), depth)
            case Option():
                return self._value(kind.item, depth + 1) if self._tag(2) else None
            case Defined():
                return self._defined(self._types[kind.name], depth)

    def _scalar(self, name: str) -> Any:
        if name in INTEGERS:
            return self._integer(name)
        if name == "bool":
            return bool(self._tag(2))
        if name == "pubkey":
            return Pubkey.from_bytes(self._take(32))
        data = self._take(self._integer("u32"))
        if name == "bytes":
            return data
        try:
            return data.decode()
        except UnicodeDecodeError:
            raise BorshError("A string is not UTF-8") from None

    def _integer(self, name: str) -> int:
        size, is_signed = INTEGERS[name]
        return int.from_bytes(self._take(size), "little", signed=is_signed)

    def _items(self, item: Type, count: int, depth: int) -> Any:
        if item == _BYTE:
            return self._take(count)
        if count > max(self.rest_bytes, _MAX_EMPTY_ITEMS):
            raise BorshError(f"{count} items in {self.rest_bytes} bytes")
        return [self._value(item, depth + 1) for _ in range(count)]

    def _defined(self, defined: Struct | Enum, depth: int) -> Any:
        if isinstance(defined, Struct):
            return self.struct(defined, depth)
        name, fields = defined.variants[self._tag(len(defined.variants))]
        return {name: self.struct(fields, depth)} if fields.fields else name

    def _tag(self, count: int) -> int:
        tag = self._integer("u8")
        if tag >= count:
            raise BorshError(f"Tag {tag} of {count}")
        return tag

    def _take(self, count: int) -> bytes:
        if count > self.rest_bytes:
            raise BorshError(f"{count} bytes expected, {self.rest_bytes} are there")
        taken = self._data[self._at : self._at + count]
        self._at += count
        return taken


def _struct_bytes(struct: Struct, types: Types, values: Any) -> bytes:
    names = [field.name for field in struct.fields]
    if not isinstance(values, Mapping) or set(values) != set(names):
        raise BorshError(f"The fields are {', '.join(names) or 'none'}")
    return b"".join(_value_bytes(field.type, types, values[field.name]) for field in struct.fields)


def _value_bytes(kind: Type, types: Types, value: Any) -> bytes:
    match kind:
        case Scalar():
            return _scalar_bytes(kind.name, value)
        case Array():
            return _items_bytes(kind.item, types, value, kind.length)
        case Vector():
            items = _items_bytes(kind.item, types, value, None)
            return _integer_bytes("u32", len(value)) + items
        case Option():
            return b"\0" if value is None else b"\1" + _value_bytes(kind.item, types, value)
        case Defined():
            return _defined_bytes(types[kind.name], types, value)


def _scalar_bytes(name: str, value: Any) -> bytes:
    if name in INTEGERS:
        return _integer_bytes(name, value)
    if name == "bool" and isinstance(value, bool):
        return bytes([value])
    if name == "pubkey" and isinstance(value, Pubkey):
        return bytes(value)
    if name == "string" and isinstance(value, str):
        return _with_length(_utf8(value))
    if name == "bytes" and isinstance(value, bytes):
        return _with_length(value)
    raise BorshError(f"{type(value).__name__} is no {name}")


def _integer_bytes(name: str, value: Any) -> bytes:
    size, is_signed = INTEGERS[name]
    if type(value) is not int:
        raise BorshError(f"{type(value).__name__} is no {name}")
    try:
        return value.to_bytes(size, "little", signed=is_signed)
    except OverflowError:
        raise BorshError(f"{value} does not fit into {name}") from None


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise BorshError("A string is not Unicode") from None


def _with_length(data: bytes) -> bytes:
    return _integer_bytes("u32", len(data)) + data


def _items_bytes(item: Type, types: Types, values: Any, length: int | None) -> bytes:
    if not isinstance(values, bytes if item == _BYTE else list) or length not in {None, len(values)}:
        raise BorshError(f"{'Items' if length is None else f'{length} items'} expected")
    if isinstance(values, bytes):
        return values
    return b"".join(_value_bytes(item, types, value) for value in values)


def _defined_bytes(defined: Struct | Enum, types: Types, value: Any) -> bytes:
    if isinstance(defined, Struct):
        return _struct_bytes(defined, types, value)
    name, fields = next(iter(value.items())) if isinstance(value, Mapping) and len(value) == 1 else (value, {})
    for tag, (variant, struct) in enumerate(defined.variants):
        if variant == name:
            return bytes([tag]) + _struct_bytes(struct, types, fields)
    raise BorshError(f"No variant is {name!r}")
