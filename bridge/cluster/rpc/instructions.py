"""Instructions as JSON: compiled (`json`), and in words (`jsonParsed`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import base58
from solders.pubkey import Pubkey

from bridge.cluster.rpc import known
from bridge.cluster.rpc.reader import Reader, Short
from bridge.cluster.rpc.token_instructions import Info, Shape, token_instruction


def compiled_view(program_index: int, accounts: Sequence[int], data: bytes, height: int | None) -> dict[str, Any]:
    return {
        "programIdIndex": program_index,
        "accounts": list(accounts),
        "data": base58.b58encode(data).decode(),
        "stackHeight": height,
    }


def parsed_view(program: Pubkey, accounts: Sequence[str], data: bytes, height: int | None) -> dict[str, Any]:
    """In words where the program is known and the data can be read, else with program and accounts named."""
    name, parse = _PARSERS.get(program, _UNKNOWN)
    try:
        parsed = parse(data, accounts)
    except ValueError:
        return {
            "programId": str(program),
            "accounts": list(accounts),
            "data": base58.b58encode(data).decode(),
            "stackHeight": height,
        }
    return {"program": name, "programId": str(program), "parsed": parsed, "stackHeight": height}


def _system(data: bytes, accounts: Sequence[str]) -> Info:
    reader = Reader(data)
    shape = _SYSTEM_SHAPES.get(reader.u32())
    if shape is None:
        raise Short("the instruction is not known")
    return shape.told(accounts, reader)


def _associated(data: bytes, accounts: Sequence[str]) -> Info:
    shape = _ASSOCIATED_SHAPES.get(data or b"\0")
    if shape is None:
        raise Short("the instruction is not known")
    return shape.told(accounts, Reader(data))


def _memo(data: bytes, accounts: Sequence[str]) -> str:
    return data.decode()


def _unreadable(data: bytes, accounts: Sequence[str]) -> Info:
    raise Short("the program is not known")


def _create(reader: Reader) -> Info:
    return {"lamports": reader.u64(), "space": reader.u64(), "owner": reader.key()}


def _create_with_seed(reader: Reader) -> Info:
    return {"base": reader.key(), "seed": reader.text()} | _create(reader)


def _allocate_with_seed(reader: Reader) -> Info:
    return {"base": reader.key(), "seed": reader.text(), "space": reader.u64(), "owner": reader.key()}


def _assign_with_seed(reader: Reader) -> Info:
    return {"base": reader.key(), "seed": reader.text(), "owner": reader.key()}


def _transfer_with_seed(reader: Reader) -> Info:
    return {"lamports": reader.u64(), "sourceSeed": reader.text(), "sourceOwner": reader.key()}


def _lamports(reader: Reader) -> Info:
    return {"lamports": reader.u64()}


_SYSTEM_SHAPES: Final[dict[int, Shape]] = {
    0: Shape("createAccount", ("source", "newAccount"), _create),
    1: Shape("assign", ("account",), lambda data: {"owner": data.key()}),
    2: Shape("transfer", ("source", "destination"), _lamports),
    3: Shape("createAccountWithSeed", ("source", "newAccount"), _create_with_seed),
    4: Shape("advanceNonce", ("nonceAccount", "recentBlockhashesSysvar", "nonceAuthority")),
    5: Shape(
        "withdrawFromNonce",
        ("nonceAccount", "destination", "recentBlockhashesSysvar", "rentSysvar", "nonceAuthority"),
        _lamports,
    ),
    6: Shape(
        "initializeNonce",
        ("nonceAccount", "recentBlockhashesSysvar", "rentSysvar"),
        lambda data: {"nonceAuthority": data.key()},
    ),
    7: Shape("authorizeNonce", ("nonceAccount", "nonceAuthority"), lambda data: {"newAuthorized": data.key()}),
    8: Shape("allocate", ("account",), lambda data: {"space": data.u64()}),
    9: Shape("allocateWithSeed", ("account",), _allocate_with_seed),
    10: Shape("assignWithSeed", ("account",), _assign_with_seed),
    11: Shape("transferWithSeed", ("source", "sourceBase", "destination"), _transfer_with_seed),
    12: Shape("upgradeNonce", ("nonceAccount",)),
}
_ASSOCIATED_ACCOUNTS: Final = ("source", "account", "wallet", "mint", "systemProgram", "tokenProgram")
_NESTED_ACCOUNTS: Final = (
    "nestedSource",
    "nestedMint",
    "destination",
    "nestedOwner",
    "ownerMint",
    "wallet",
    "tokenProgram",
)
_ASSOCIATED_SHAPES: Final[dict[bytes, Shape]] = {
    b"\0": Shape("create", _ASSOCIATED_ACCOUNTS),
    b"\1": Shape("createIdempotent", _ASSOCIATED_ACCOUNTS),
    b"\2": Shape("recoverNested", _NESTED_ACCOUNTS),
}
_Parser = Callable[[bytes, Sequence[str]], Any]
_UNKNOWN: Final[tuple[str, _Parser]] = ("", _unreadable)
# Validators call both token programs "spl-token" here, though not where they show accounts.
_PARSERS: Final[dict[Pubkey, tuple[str, _Parser]]] = {
    known.SYSTEM: ("system", _system),
    known.TOKEN: ("spl-token", token_instruction),
    known.TOKEN_2022: ("spl-token", token_instruction),
    known.ASSOCIATED_TOKEN: ("spl-associated-token-account", _associated),
    known.MEMO: ("spl-memo", _memo),
    known.MEMO_1: ("spl-memo", _memo),
    known.MEMO_4: ("spl-memo", _memo),
}
