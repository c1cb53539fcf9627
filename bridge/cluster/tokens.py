"""Token accounts of both token programs: what they hold, and where those of a wallet or of a mint are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from solders.account import Account
from solders.pubkey import Pubkey

from bridge.cluster.executed import TokenHolding

TOKEN: Final = Pubkey.from_string("TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA")
TOKEN_2022: Final = Pubkey.from_string("TokenzQdBNbLqP5VEhdkAS6EPFLC1PHnBqCXEpPxuEb")
TOKEN_PROGRAMS: Final = (TOKEN, TOKEN_2022)

_ACCOUNT_BYTES: Final = 165
_ACCOUNT_TYPE: Final = 2  # the byte after the base account, where a Token-2022 account has extensions
_MINT: Final = slice(0, 32)
_OWNER: Final = slice(32, 64)
_UNITS: Final = slice(64, 72)
_STATE: Final = 108
_MINT_BYTES: Final = 82
_DECIMALS: Final = 44


def token_data(account: Account | None) -> bytes | None:
    """The data of an initialized token account; None for any other account."""
    if account is None or account.owner not in TOKEN_PROGRAMS:
        return None
    data = account.data
    is_account = len(data) == _ACCOUNT_BYTES or (
        len(data) > _ACCOUNT_BYTES and account.owner == TOKEN_2022 and data[_ACCOUNT_BYTES] == _ACCOUNT_TYPE
    )
    return data if is_account and data[_STATE] else None


def units_of(data: bytes) -> int:
    return int.from_bytes(data[_UNITS], "little")


def owner_of(data: bytes) -> Pubkey:
    return Pubkey(data[_OWNER])


def mint_of(data: bytes) -> Pubkey:
    return Pubkey(data[_MINT])


def holdings(
    accounts: Sequence[Account | None], lookup: Callable[[Pubkey], Account | None]
) -> tuple[TokenHolding, ...]:
    """What the token accounts among a transaction's accounts hold; `lookup` finds their mints."""
    found: list[TokenHolding] = []
    decimals: dict[Pubkey, int | None] = {}
    for index, account in enumerate(accounts):
        data = token_data(account)
        if account is None or data is None:
            continue
        mint = mint_of(data)
        if mint not in decimals:
            decimals[mint] = _decimals(lookup(mint))
        places = decimals[mint]
        if places is not None:
            found.append(TokenHolding(index, mint, owner_of(data), account.owner, units_of(data), places))
    return tuple(found)


def _decimals(mint: Account | None) -> int | None:
    if mint is None or mint.owner not in TOKEN_PROGRAMS or len(mint.data) < _MINT_BYTES:
        return None
    return mint.data[_DECIMALS]


class TokenIndex:
    """Addresses that are, or once were, token accounts, by wallet and by mint; who asks checks the account."""

    def __init__(self) -> None:
        self._by_owner: dict[Pubkey, set[Pubkey]] = {}
        self._by_mint: dict[Pubkey, set[Pubkey]] = {}

    def add(self, address: Pubkey, account: Account | None) -> None:
        """Note what an account is now."""
        data = token_data(account)
        if data is not None:
            self._by_owner.setdefault(owner_of(data), set()).add(address)
            self._by_mint.setdefault(mint_of(data), set()).add(address)

    def of_owner(self, owner: Pubkey) -> Iterable[Pubkey]:
        return self._by_owner.get(owner, ())

    def of_mint(self, mint: Pubkey) -> Iterable[Pubkey]:
        return self._by_mint.get(mint, ())
