"""Methods about accounts: balances, data, and the accounts that a program owns."""

from __future__ import annotations

from base64 import b64decode
from dataclasses import dataclass
from typing import Any

import base58
from solders.account import Account
from solders.pubkey import Pubkey

from bridge.cluster.rpc.account_views import AccountViews, account_format
from bridge.cluster.rpc.context import Context, Methods
from bridge.cluster.rpc.faults import invalid
from bridge.cluster.rpc.limits import ACCOUNTS_MOST, FILTERS_MOST, MEMCMP_MOST_BYTES
from bridge.cluster.rpc.params import Config, Params, address, whole

_SPACE_MOST_BYTES = 10 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class AccountFilter:
    """Which of a program's accounts are meant: by size, and by bytes at offsets."""

    data_size: int | None
    memcmp: tuple[tuple[int, bytes], ...]

    def takes(self, account: Account) -> bool:
        data = account.data
        if self.data_size is not None and len(data) != self.data_size:
            return False
        return all(data[offset : offset + len(wanted)] == wanted for offset, wanted in self.memcmp)


def account_filter(config: Config) -> AccountFilter:
    """The member `filters` of a configuration object."""
    size: int | None = None
    compared: list[tuple[int, bytes]] = []
    for entry in config.items("filters", FILTERS_MOST):
        if not isinstance(entry, dict) or len(entry) != 1:
            raise invalid("Invalid params: a filter must be one of dataSize and memcmp")
        if "dataSize" in entry:
            size = whole(entry["dataSize"], "dataSize")
        elif isinstance(entry.get("memcmp"), dict):
            compared.append(_compared(Config(entry["memcmp"])))
        else:
            raise invalid("Invalid params: a filter must be one of dataSize and memcmp")
    return AccountFilter(size, tuple(compared))


def _compared(config: Config) -> tuple[int, bytes]:
    text, encoding = config.raw("bytes"), config.choice("encoding", ("base58", "base64"), "base58")
    # Base58 has at most 1.37 characters for a byte.
    if not isinstance(text, str) or len(text) > 2 * MEMCMP_MOST_BYTES:
        raise invalid("Invalid param: memcmp bytes too large")
    try:
        wanted = b64decode(text, validate=True) if encoding == "base64" else base58.b58decode(text)
    except ValueError:
        raise invalid(f"Invalid param: memcmp bytes are not {encoding}") from None
    if len(wanted) > MEMCMP_MOST_BYTES:
        raise invalid("Invalid param: memcmp bytes too large")
    return config.integer("offset", 0, _SPACE_MOST_BYTES) or 0, wanted


class AccountMethods:
    """Accounts at a commitment."""

    def __init__(self, context: Context, views: AccountViews) -> None:
        self._context = context
        self._cluster = context.cluster
        self._views = views

    def balance(self, params: Params) -> dict[str, Any]:
        wanted, config = params.address(0), params.config(1)
        slot = self._context.at(config.commitment, config)
        account = self._cluster.account(wanted, config.commitment)
        return self._context.answer(slot, 0 if account is None else account.lamports)

    def rent_exemption(self, params: Params) -> int:
        return self._cluster.rent_exempt_lamports(
            params.required(0, lambda value: whole(value, "space", _SPACE_MOST_BYTES))
        )

    def account(self, params: Params) -> dict[str, Any]:
        wanted, config = params.address(0), params.config(1)
        slot = self._context.at(config.commitment, config)
        found = self._cluster.account(wanted, config.commitment)
        return self._context.answer(slot, self._views.view(found, account_format(config), config.commitment))

    def accounts(self, params: Params) -> dict[str, Any]:
        wanted = [address(each) for each in params.listed(0, ACCOUNTS_MOST)]
        config = params.config(1)
        commitment, shown = config.commitment, account_format(config, "base64")
        slot = self._context.at(commitment, config)
        views = [self._views.view(self._cluster.account(each, commitment), shown, commitment) for each in wanted]
        return self._context.answer(slot, views)

    def program_accounts(self, params: Params) -> Any:
        program, config = params.address(0), params.config(1)
        commitment, shown, wanted = config.commitment, account_format(config), account_filter(config)
        slot = self._context.at(commitment, config)
        found: list[tuple[Pubkey, Account]] = self._cluster.program_accounts(
            program, commitment, data_size=wanted.data_size, memcmp=wanted.memcmp
        )
        views = [self._views.keyed(key, account, shown, commitment) for key, account in found]
        return self._context.answer(slot, views) if config.flag("withContext") else views

    def methods(self) -> Methods:
        return {
            "getBalance": self.balance,
            "getMinimumBalanceForRentExemption": self.rent_exemption,
            "getAccountInfo": self.account,
            "getMultipleAccounts": self.accounts,
            "getProgramAccounts": self.program_accounts,
        }
