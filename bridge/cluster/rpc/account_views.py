"""Accounts as JSON, in the encoding that a client asks for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

from solders.account import Account
from solders.pubkey import Pubkey

from bridge.cluster.cluster import Cluster
from bridge.cluster.rpc import known
from bridge.cluster.rpc.encodings import BASE58_MOST_BYTES, ENCODERS, encoded
from bridge.cluster.rpc.params import Config
from bridge.cluster.rpc.token_accounts import mint_of, parsed_token_data
from bridge.solana.rpc import Commitment

_PARSED: Final = "jsonParsed"
# Of an account that pays no rent, which every one is today.
_RENT_EPOCH: Final = 2**64 - 1
_PROGRAM_NAMES: Final = {known.TOKEN: "spl-token", known.TOKEN_2022: "spl-token-2022"}

_CLOSED: Final[dict[str, Any]] = {
    "lamports": 0,
    "data": ["", "base64"],
    "owner": str(known.SYSTEM),
    "executable": False,
    "rentEpoch": _RENT_EPOCH,
    "space": 0,
}


@dataclass(frozen=True, slots=True)
class AccountFormat:
    """How an account's data is to be shown, and which part of it; `length` None for all of it."""

    encoding: str = "binary"
    offset: int = 0
    length: int | None = None

    def part_of(self, data: bytes) -> bytes:
        if self.length is None:
            return data
        return data[self.offset : self.offset + self.length]


def account_format(config: Config, default: str = "binary") -> AccountFormat:
    """The format that a configuration object asks for."""
    encoding = config.choice("encoding", (*ENCODERS, _PARSED), default)
    part = config.section("dataSlice")
    if part is None:
        return AccountFormat(encoding)
    return AccountFormat(encoding, part.integer("offset", 0) or 0, part.integer("length", 0))


class AccountViews:
    """Shows accounts; a token account's decimals are looked up in its mint."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def decimals(self, mint: Pubkey, commitment: Commitment) -> int | None:
        """A mint's decimals; None when it is none."""
        account = self._cluster.account(mint, commitment)
        if account is None or account.owner not in known.TOKEN_PROGRAMS:
            return None
        found = mint_of(account.data)
        return None if found is None else found.decimals

    def view(self, account: Account | None, shown: AccountFormat, commitment: Commitment) -> dict[str, Any] | None:
        """The account, or None when there is none."""
        if account is None:
            return None
        return {
            "lamports": account.lamports,
            "data": self._data(account, shown, commitment),
            "owner": str(account.owner),
            "executable": account.executable,
            "rentEpoch": _RENT_EPOCH,
            "space": len(account.data),
        }

    def keyed(
        self, address: Pubkey, account: Account, shown: AccountFormat, commitment: Commitment
    ) -> dict[str, Any]:
        return {"pubkey": str(address), "account": self.view(account, shown, commitment)}

    def noticed(self, account: Account | None, shown: AccountFormat, commitment: Commitment) -> dict[str, Any]:
        """The account for a notice, which cannot be refused: base64 where base58 would be too long, and an
        empty account where there is none any more."""
        fits = account is not None and len(shown.part_of(account.data)) <= BASE58_MOST_BYTES
        if shown.encoding in {"binary", "base58"} and not fits:
            shown = replace(shown, encoding="base64")
        return self.view(account, shown, commitment) or _CLOSED

    def _data(self, account: Account, shown: AccountFormat, commitment: Commitment) -> Any:
        data = account.data
        if shown.encoding != _PARSED:
            return encoded(shown.part_of(data), shown.encoding)
        parsed = self._parsed(account, data, commitment)
        return encoded(shown.part_of(data), "base64") if parsed is None else parsed

    def _parsed(self, account: Account, data: bytes, commitment: Commitment) -> dict[str, Any] | None:
        program = _PROGRAM_NAMES.get(account.owner)
        if program is None:
            return None
        parsed = parsed_token_data(data, lambda mint: self.decimals(mint, commitment))
        return None if parsed is None else {"program": program, "parsed": parsed, "space": len(data)}
