"""What wallets hold of the token, read from the cluster, and what they should."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, Self

from solders.pubkey import Pubkey
from spl.token.instructions import get_associated_token_address

from bridge.solana.rpc import SolanaRpc
from config.errors import ErrorCode, NotFound, Unavailable

_MINT_BYTES: Final = 82
_DECIMALS_AT: Final = 44
_ACCOUNT_BYTES: Final = 165
_AMOUNT: Final = slice(64, 72)
_MWH_DECIMALS: Final = 6


@dataclass(frozen=True, slots=True)
class Token:
    """A mint, the program that it belongs to, how many decimals it has, and how many tokens a kWh is worth."""

    mint: Pubkey
    program: Pubkey
    decimals: int
    ratio: Fraction = Fraction(1)

    @classmethod
    async def read(cls, rpc: SolanaRpc, mint: Pubkey, ratio: Fraction) -> Self:
        """The token as the cluster has it; `NotFound` when there is no such mint."""
        (state,) = await rpc.accounts([mint], "confirmed")
        if state is None or len(state.data) < _MINT_BYTES:
            raise NotFound(f"the cluster knows no mint {mint}")
        return cls(mint, state.owner, state.data[_DECIMALS_AT], ratio)

    def units(self, mwh: int) -> int:
        """Base units of so many milliwatt-hours; of what gives no whole number nothing is ever accepted."""
        return int(mwh * self.ratio * Fraction(10) ** (self.decimals - _MWH_DECIMALS))

    async def held(self, rpc: SolanaRpc, wallets: Iterable[str]) -> dict[str, int]:
        """Base units that each wallet's associated account holds, final; 0 where there is no account."""
        owners = list(wallets)
        accounts = [
            get_associated_token_address(Pubkey.from_string(owner), self.mint, self.program) for owner in owners
        ]
        states = await rpc.accounts(accounts)
        return {
            owner: 0 if state is None else _amount(state.data) for owner, state in zip(owners, states, strict=True)
        }


@dataclass(frozen=True, slots=True)
class Difference:
    """A wallet that holds something else than it should, in base units."""

    wallet: str
    expected: int
    actual: int


def differences(expected: Mapping[str, int], actual: Mapping[str, int]) -> list[Difference]:
    """Wallet by wallet, to the base unit."""
    return [
        Difference(wallet, units, actual.get(wallet, 0))
        for wallet, units in expected.items()
        if units != actual.get(wallet, 0)
    ]


def _amount(data: bytes) -> int:
    if len(data) < _ACCOUNT_BYTES:
        raise Unavailable("a token account is not understood", ErrorCode.SOLANA_UNAVAILABLE)
    return int.from_bytes(data[_AMOUNT], "little")
