"""Accounts of SPL Token and Token-2022: mints, token accounts and multisigs, read from their bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from solders.pubkey import Pubkey

from bridge.cluster.rpc.amounts import ui_amount
from bridge.cluster.rpc.reader import Reader, Short

MINT_BYTES: Final = 82
ACCOUNT_BYTES: Final = 165
MULTISIG_BYTES: Final = 355
_MINT_KIND: Final = 1
_ACCOUNT_KIND: Final = 2
_INITIALIZED_AT: Final = 108
_STATES: Final = ("uninitialized", "initialized", "frozen")


@dataclass(frozen=True, slots=True)
class Mint:
    """A mint; `supply` is in base units."""

    supply: int
    decimals: int
    mint_authority: str | None
    freeze_authority: str | None


@dataclass(frozen=True, slots=True)
class TokenAccount:
    """A token account; amounts are in base units, `native_reserve` in lamports, None for other tokens."""

    mint: Pubkey
    owner: Pubkey
    units: int
    delegate: str | None
    state: str
    native_reserve: int | None
    delegated_units: int
    close_authority: str | None


def mint_of(data: bytes) -> Mint | None:
    """The mint that the bytes are, or None."""
    if not _is_kind(data, MINT_BYTES, _MINT_KIND):
        return None
    reader = Reader(data)
    authority = reader.padded_key_option()
    supply, decimals, initialized = reader.u64(), reader.u8(), reader.u8()
    return Mint(supply, decimals, authority, reader.padded_key_option()) if initialized else None


def token_account_of(data: bytes) -> TokenAccount | None:
    """The token account that the bytes are, or None."""
    if not _is_kind(data, ACCOUNT_BYTES, _ACCOUNT_KIND) or data[_INITIALIZED_AT] not in {1, 2}:
        return None
    reader = Reader(data)
    mint, owner, units = Pubkey(reader.take(32)), Pubkey(reader.take(32)), reader.u64()
    delegate, state = reader.padded_key_option(), _STATES[reader.u8()]
    is_native, reserve = reader.u32(), reader.u64()
    delegated = reader.u64()
    return TokenAccount(
        mint,
        owner,
        units,
        delegate,
        state,
        reserve if is_native else None,
        delegated,
        reader.padded_key_option(),
    )


def _is_kind(data: bytes, size: int, kind: int) -> bool:
    """Whether the bytes are of that size, or longer by Token-2022's extensions and marked as of that kind."""
    if len(data) == size:
        return True
    return len(data) > ACCOUNT_BYTES and len(data) != MULTISIG_BYTES and data[ACCOUNT_BYTES] == kind


def parsed_token_data(data: bytes, decimals_of: Callable[[Pubkey], int | None]) -> dict[str, Any] | None:
    """Type and info of an account of a token program; None when it is none of the three, or when the mint of
    a token account cannot be had."""
    account = token_account_of(data)
    if account is not None:
        decimals = decimals_of(account.mint)
        return None if decimals is None else {"type": "account", "info": _account_info(account, decimals, data)}
    mint = mint_of(data)
    if mint is not None:
        return {"type": "mint", "info": _mint_info(mint, data)}
    return _multisig(data) if len(data) == MULTISIG_BYTES else None


def _account_info(account: TokenAccount, decimals: int, data: bytes) -> dict[str, Any]:
    info: dict[str, Any] = {
        "mint": str(account.mint),
        "owner": str(account.owner),
        "tokenAmount": ui_amount(account.units, decimals),
        "state": account.state,
        "isNative": account.native_reserve is not None,
    }
    if account.delegate is not None:
        info["delegate"] = account.delegate
        info["delegatedAmount"] = ui_amount(account.delegated_units, decimals)
    if account.native_reserve is not None:
        info["rentExemptReserve"] = ui_amount(account.native_reserve, decimals)
    if account.close_authority is not None:
        info["closeAuthority"] = account.close_authority
    return _with_extensions(info, data)


def _mint_info(mint: Mint, data: bytes) -> dict[str, Any]:
    info: dict[str, Any] = {
        "mintAuthority": mint.mint_authority,
        "supply": str(mint.supply),
        "decimals": mint.decimals,
        "isInitialized": True,
        "freezeAuthority": mint.freeze_authority,
    }
    return _with_extensions(info, data)


def _multisig(data: bytes) -> dict[str, Any]:
    reader = Reader(data)
    required, valid, initialized = reader.u8(), reader.u8(), reader.u8()
    signers = [key for key in (reader.zeroable_key() for _ in range(11)) if key is not None]
    info = {
        "numRequiredSigners": required,
        "numValidSigners": valid,
        "isInitialized": bool(initialized),
        "signers": signers,
    }
    return {"type": "multisig", "info": info}


def _with_extensions(info: dict[str, Any], data: bytes) -> dict[str, Any]:
    found = [_extension_view(number, value) for number, value in _extensions(data)]
    return info | {"extensions": found} if found else info


def _extensions(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The number and the bytes of each extension, which stand behind the base and the byte of the kind."""
    reader = Reader(data, ACCOUNT_BYTES + 1)
    try:
        while number := reader.u16():
            yield number, reader.take(reader.u16())
    except Short:
        return


def _extension_view(number: int, value: bytes) -> dict[str, Any]:
    name, fields = _EXTENSIONS.get(number, _UNKNOWN_EXTENSION)
    if fields is None:
        return {"extension": name}
    try:
        return {"extension": name, "state": fields(Reader(value))}
    except Short:
        return {"extension": "unparseableExtension"}


def _default_state(reader: Reader) -> dict[str, Any]:
    number = reader.u8()
    if number >= len(_STATES):
        raise Short(f"{number} is no state")
    return {"accountState": _STATES[number]}


_Fields = Callable[[Reader], dict[str, Any]]
_UNKNOWN_EXTENSION: Final[tuple[str, _Fields | None]] = ("unparseableExtension", None)
_EXTENSIONS: Final[dict[int, tuple[str, _Fields | None]]] = {
    3: ("mintCloseAuthority", lambda data: {"closeAuthority": data.zeroable_key()}),
    6: ("defaultAccountState", _default_state),
    7: ("immutableOwner", None),
    8: ("memoTransfer", lambda data: {"requireIncomingTransferMemos": bool(data.u8())}),
    9: ("nonTransferable", None),
    11: ("cpiGuard", lambda data: {"lockCpi": bool(data.u8())}),
    12: ("permanentDelegate", lambda data: {"delegate": data.zeroable_key()}),
    13: ("nonTransferableAccount", None),
    18: (
        "metadataPointer",
        lambda data: {"authority": data.zeroable_key(), "metadataAddress": data.zeroable_key()},
    ),
    26: ("pausableConfig", lambda data: {"authority": data.zeroable_key(), "paused": bool(data.u8())}),
    27: ("pausableAccount", None),
}
