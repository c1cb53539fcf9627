"""Instructions of SPL Token and Token-2022 in words, as `jsonParsed` shows them.

A table: what an instruction is called, which accounts it names, what its data holds, and from which account
on those stand that must sign.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from bridge.cluster.rpc.amounts import ui_amount
from bridge.cluster.rpc.reader import Reader, Short

Info: TypeAlias = dict[str, Any]
Fields: TypeAlias = Callable[[Reader], Info]

_AUTHORITY: Final = ("authority", "multisigAuthority")
_OWNER: Final = ("owner", "multisigOwner")
_MINT_AUTHORITY: Final = ("mintAuthority", "multisigMintAuthority")
_FREEZE_AUTHORITY: Final = ("freezeAuthority", "multisigFreezeAuthority")
_PAUSABLE: Final = 44
# The kinds of authority by their number, and what each belongs to.
_AUTHORITY_TYPES: Final = (
    ("mintTokens", "mint"),
    ("freezeAccount", "mint"),
    ("accountOwner", "account"),
    ("closeAccount", "account"),
    ("transferFeeConfig", "mint"),
    ("withheldWithdraw", "mint"),
    ("closeMint", "mint"),
    ("interestRate", "mint"),
    ("permanentDelegate", "mint"),
    ("confidentialTransferMint", "mint"),
    ("transferHookProgramId", "mint"),
    ("confidentialTransferFeeConfig", "mint"),
    ("metadataPointer", "mint"),
    ("groupPointer", "mint"),
    ("groupMemberPointer", "mint"),
    ("scaledUiAmount", "mint"),
    ("pause", "mint"),
)


def _nothing(reader: Reader) -> Info:
    return {}


@dataclass(frozen=True, slots=True)
class Shape:
    """`accounts` names the first accounts; those that sign follow them, where `signers` names them: the sole
    authority, or the multisig whose signers come after it."""

    name: str
    accounts: tuple[str, ...]
    fields: Fields = _nothing
    signers: tuple[str, str] | None = None
    lists_signers: bool = False

    def told(self, accounts: Sequence[str], reader: Reader) -> Info:
        """Type and info. Raises `Short` when accounts or bytes are missing."""
        named = len(self.accounts)
        if len(accounts) < named + (self.signers is not None or self.lists_signers):
            raise Short(f"{self.name} names more accounts")
        info: Info = {**dict(zip(self.accounts, accounts, strict=False)), **self.fields(reader)}
        if self.lists_signers:
            info["signers"] = list(accounts[named:])
        elif self.signers is not None:
            info |= _signing(self.signers, accounts[named:])
        return {"type": self.name, "info": info}


def token_instruction(data: bytes, accounts: Sequence[str]) -> Info:
    """An instruction's type and info. Raises `Short` for one that cannot be read, or is not in the table."""
    reader = Reader(data)
    number = reader.u8()
    if number == _PAUSABLE:
        return _shape(_PAUSABLE_SHAPES, reader.u8()).told(accounts, reader)
    if number == 6:
        return _set_authority(accounts, reader)
    return _shape(_SHAPES, number).told(accounts, reader)


def _shape(shapes: dict[int, Shape], number: int) -> Shape:
    shape = shapes.get(number)
    if shape is None:
        raise Short(f"instruction {number} is not known")
    return shape


def _signing(names: tuple[str, str], accounts: Sequence[str]) -> Info:
    single, multisig = names
    if len(accounts) == 1:
        return {single: accounts[0]}
    return {multisig: accounts[0], "signers": list(accounts[1:])}


def _set_authority(accounts: Sequence[str], reader: Reader) -> Info:
    number = reader.u8()
    if number >= len(_AUTHORITY_TYPES):
        raise Short(f"authority {number} is not known")
    kind, owned = _AUTHORITY_TYPES[number]
    shape = Shape(
        "setAuthority",
        (owned,),
        lambda data: {"authorityType": kind, "newAuthority": data.key_option(1)},
        _AUTHORITY,
    )
    return shape.told(accounts, reader)


def _amount(reader: Reader) -> Info:
    return {"amount": str(reader.u64())}


def _token_amount(reader: Reader) -> Info:
    return {"tokenAmount": ui_amount(reader.u64(), reader.u8())}


def _required_signers(reader: Reader) -> Info:
    return {"m": reader.u8()}


def _mint(reader: Reader) -> Info:
    info: Info = {"decimals": reader.u8(), "mintAuthority": reader.key()}
    freeze_authority = reader.key_option(1)
    return info if freeze_authority is None else info | {"freezeAuthority": freeze_authority}


def _owner(reader: Reader) -> Info:
    return {"owner": reader.key()}


_SHAPES: Final[dict[int, Shape]] = {
    0: Shape("initializeMint", ("mint", "rentSysvar"), _mint),
    1: Shape("initializeAccount", ("account", "mint", "owner", "rentSysvar")),
    2: Shape("initializeMultisig", ("multisig", "rentSysvar"), _required_signers, lists_signers=True),
    3: Shape("transfer", ("source", "destination"), _amount, _AUTHORITY),
    4: Shape("approve", ("source", "delegate"), _amount, _OWNER),
    5: Shape("revoke", ("source",), signers=_OWNER),
    7: Shape("mintTo", ("mint", "account"), _amount, _MINT_AUTHORITY),
    8: Shape("burn", ("account", "mint"), _amount, _AUTHORITY),
    9: Shape("closeAccount", ("account", "destination"), signers=_OWNER),
    10: Shape("freezeAccount", ("account", "mint"), signers=_FREEZE_AUTHORITY),
    11: Shape("thawAccount", ("account", "mint"), signers=_FREEZE_AUTHORITY),
    12: Shape("transferChecked", ("source", "mint", "destination"), _token_amount, _AUTHORITY),
    13: Shape("approveChecked", ("source", "mint", "delegate"), _token_amount, _OWNER),
    14: Shape("mintToChecked", ("mint", "account"), _token_amount, _MINT_AUTHORITY),
    15: Shape("burnChecked", ("account", "mint"), _token_amount, _AUTHORITY),
    16: Shape("initializeAccount2", ("account", "mint", "rentSysvar"), _owner),
    17: Shape("syncNative", ("account",)),
    18: Shape("initializeAccount3", ("account", "mint"), _owner),
    19: Shape("initializeMultisig2", ("multisig",), _required_signers, lists_signers=True),
    20: Shape("initializeMint2", ("mint",), _mint),
    21: Shape("getAccountDataSize", ("mint",)),
    22: Shape("initializeImmutableOwner", ("account",)),
    23: Shape("amountToUiAmount", ("mint",), _amount),
    24: Shape("uiAmountToAmount", ("mint",), lambda data: {"uiAmount": data.rest().decode()}),
    25: Shape("initializeMintCloseAuthority", ("mint",), lambda data: {"newAuthority": data.key_option(1)}),
    31: Shape("createNativeMint", ("payer", "nativeMint", "systemProgram")),
    32: Shape("initializeNonTransferableMint", ("mint",)),
    35: Shape("initializePermanentDelegate", ("mint",), lambda data: {"delegate": data.key()}),
    38: Shape("withdrawExcessLamports", ("source", "destination"), signers=_AUTHORITY),
}
_PAUSABLE_SHAPES: Final[dict[int, Shape]] = {
    0: Shape("initializePausableConfig", ("mint",), lambda data: {"authority": data.key()}),
    1: Shape("pause", ("mint",), signers=_AUTHORITY),
    2: Shape("resume", ("mint",), signers=_AUTHORITY),
}
