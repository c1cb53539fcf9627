"""GridTokenX's programs, as their IDLs declare them: discriminators, accounts, arguments, types.

The files beside this one hold facts only. They are read when first asked for; each discriminator is checked
against the name that it is the hash of. No addresses derived from seeds are in them: those are in `pda.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Any, Final, Literal, TypeAlias

import orjson
from solders.instruction import AccountMeta, Instruction
from solders.pubkey import Pubkey

from bridge.programs.borsh import (
    SCALARS,
    Array,
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
from config.errors import Internal

ProgramName: TypeAlias = Literal["energy_token", "registry", "oracle", "governance"]

DISCRIMINATOR_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class AccountSlot:
    """An account that an instruction names, and how it is to be handed in."""

    name: str
    is_writable: bool
    is_signer: bool
    is_optional: bool


@dataclass(frozen=True, slots=True)
class Method:
    """An instruction: which accounts it takes, in order, and which arguments."""

    name: str
    discriminator: bytes
    slots: tuple[AccountSlot, ...]
    arguments: Struct


@dataclass(frozen=True, slots=True)
class Record:
    """An event, or the content of an account."""

    name: str
    discriminator: bytes
    struct: Struct


@dataclass(frozen=True, slots=True)
class Idl:
    """A program. `events` and `accounts` are by discriminator, `methods` by name, `errors` are names by code."""

    name: str
    address: Pubkey
    methods: Mapping[str, Method]
    events: Mapping[bytes, Record]
    accounts: Mapping[bytes, Record]
    types: Types
    errors: Mapping[int, str]

    def instruction(
        self, program: Pubkey, name: str, accounts: Mapping[str, Pubkey | None], **arguments: Any
    ) -> Instruction:
        """An instruction to `program`, where the program is deployed here.

        Accounts are by name; an optional one that is None is handed in as the program itself, as Anchor has
        it. Raises `BorshError` for arguments that are not of their type, `Internal` for wrong accounts.
        """
        method = self.methods[name]
        if accounts.keys() != {slot.name for slot in method.slots}:
            raise Internal(f"{name} takes the accounts {', '.join(slot.name for slot in method.slots)}")
        metas = [_meta(slot, accounts[slot.name], program) for slot in method.slots]
        return Instruction(program, method.discriminator + encode(method.arguments, self.types, arguments), metas)

    def arguments(self, name: str, data: bytes) -> dict[str, Any] | None:
        """The arguments in an instruction's data; None when it is another instruction. Raises `BorshError`."""
        method = self.methods[name]
        if not data.startswith(method.discriminator):
            return None
        return decode(method.arguments, self.types, data[DISCRIMINATOR_BYTES:], is_whole=False)

    def event(self, data: bytes) -> tuple[str, dict[str, Any]] | None:
        """Name and fields of an event; None when it is none of this program's. Raises `BorshError`."""
        return _recorded(self.events, self.types, data, is_whole=True)

    def account(self, data: bytes) -> tuple[str, dict[str, Any]] | None:
        """Name and fields of an account's content; None when it is none of this program's. Raises
        `BorshError`. Accounts in C's layout are read in the same way, for they declare their padding."""
        return _recorded(self.accounts, self.types, data, is_whole=False)


@cache
def idl(name: ProgramName) -> Idl:
    """The IDL of a program, read once."""
    raw = orjson.loads((files("bridge.programs") / "idl" / f"{name}.json").read_bytes())
    types: dict[str, Struct | Enum] = {one["name"]: _defined(one["type"]) for one in raw["types"]}
    return Idl(
        raw["name"],
        Pubkey.from_string(raw["address"]),
        {one["name"]: _method(one) for one in raw["instructions"]},
        _records(raw["events"], "event", types),
        _records(raw["accounts"], "account", types),
        types,
        {one["code"]: one["name"] for one in raw["errors"]},
    )


def discriminator(space: str, name: str) -> bytes:
    """Anchor's: the first 8 B of the hash of `global:name`, `event:Name` or `account:Name`."""
    return sha256(f"{space}:{name}".encode()).digest()[:DISCRIMINATOR_BYTES]


def _meta(slot: AccountSlot, account: Pubkey | None, program: Pubkey) -> AccountMeta:
    if account is not None:
        return AccountMeta(account, slot.is_signer, slot.is_writable)
    if not slot.is_optional:
        raise Internal(f"The account {slot.name} is not optional")
    return AccountMeta(program, is_signer=False, is_writable=False)


def _recorded(
    records: Mapping[bytes, Record], types: Types, data: bytes, *, is_whole: bool
) -> tuple[str, dict[str, Any]] | None:
    record = records.get(data[:DISCRIMINATOR_BYTES])
    if record is None:
        return None
    return record.name, decode(record.struct, types, data[DISCRIMINATOR_BYTES:], is_whole=is_whole)


def _checked(raw: Mapping[str, Any], space: str) -> bytes:
    found = bytes(raw["discriminator"])
    if found != discriminator(space, raw["name"]):
        raise Internal(f"The discriminator of {space}:{raw['name']} is not its hash")
    return found


def _method(raw: Mapping[str, Any]) -> Method:
    slots = tuple(
        AccountSlot(one["name"], one.get("writable", False), one.get("signer", False), one.get("optional", False))
        for one in raw["accounts"]
    )
    return Method(raw["name"], _checked(raw, "global"), slots, _struct(raw["args"]))


def _records(raw: list[Mapping[str, Any]], space: str, types: Types) -> dict[bytes, Record]:
    found = {}
    for one in raw:
        struct = types[one["name"]]
        if not isinstance(struct, Struct):
            raise Internal(f"{one['name']} is no struct")
        found[_checked(one, space)] = Record(one["name"], bytes(one["discriminator"]), struct)
    return found


def _defined(raw: Mapping[str, Any]) -> Struct | Enum:
    if raw["kind"] == "struct":
        return _struct(raw.get("fields", []))
    return Enum(tuple((one["name"], _struct(one.get("fields", []))) for one in raw["variants"]))


def _struct(raw: list[Any]) -> Struct:
    """Fields are named, or, in a tuple, types alone."""
    return Struct(
        tuple(
            Field(one["name"], _type(one["type"]))
            if isinstance(one, dict) and "name" in one
            else Field(str(number), _type(one))
            for number, one in enumerate(raw)
        )
    )


def _type(raw: Any) -> Type:
    match raw:
        case str() if raw in SCALARS:
            return Scalar(raw)
        case {"array": [item, int(length)]}:
            return Array(_type(item), length)
        case {"vec": item}:
            return Vector(_type(item))
        case {"option": item}:
            return Option(_type(item))
        case {"defined": {"name": str(name)}}:
            return Defined(name)
    raise Internal(f"An IDL's type is unknown: {raw}")
