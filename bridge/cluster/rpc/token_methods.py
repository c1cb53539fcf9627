"""Methods about tokens: supplies, balances, and who holds what."""

from __future__ import annotations

from typing import Any

from solders.account import Account
from solders.pubkey import Pubkey

from bridge.cluster.rpc import known
from bridge.cluster.rpc.account_views import AccountViews, account_format
from bridge.cluster.rpc.amounts import ui_amount
from bridge.cluster.rpc.context import Context, Methods
from bridge.cluster.rpc.faults import invalid
from bridge.cluster.rpc.limits import LARGEST_ACCOUNTS
from bridge.cluster.rpc.params import Config, Params, address
from bridge.cluster.rpc.token_accounts import Mint, TokenAccount, mint_of, token_account_of
from bridge.solana.rpc import Commitment


class TokenMethods:
    """Tokens of both token programs."""

    def __init__(self, context: Context, views: AccountViews) -> None:
        self._context = context
        self._cluster = context.cluster
        self._views = views

    def supply(self, params: Params) -> dict[str, Any]:
        wanted, config = params.address(0), params.config(1)
        slot = self._context.at(config.commitment, config)
        mint = self._mint(wanted, config.commitment)
        return self._context.answer(slot, ui_amount(mint.supply, mint.decimals))

    def balance(self, params: Params) -> dict[str, Any]:
        wanted, config = params.address(0), params.config(1)
        slot = self._context.at(config.commitment, config)
        held = self._held(wanted, config.commitment)
        mint = self._mint(held.mint, config.commitment)
        return self._context.answer(slot, ui_amount(held.units, mint.decimals))

    def largest_accounts(self, params: Params) -> dict[str, Any]:
        wanted, config = params.address(0), params.config(1)
        slot = self._context.at(config.commitment, config)
        mint = self._mint(wanted, config.commitment)
        found = self._cluster.token_accounts_for(wanted, config.commitment)[:LARGEST_ACCOUNTS]
        held = [(key, token_account_of(account.data)) for key, account in found]
        views = [
            {"address": str(key), **ui_amount(token.units, mint.decimals)}
            for key, token in held
            if token is not None
        ]
        return self._context.answer(slot, views)

    def accounts_by_owner(self, params: Params) -> dict[str, Any]:
        owner, config = params.address(0), params.config(2)
        commitment, shown = config.commitment, account_format(config)
        slot = self._context.at(commitment, config)
        program, mint = self._wanted(params.config(1), commitment)
        views = [
            self._views.keyed(key, account, shown, commitment)
            for key, account in self._cluster.token_accounts_of(owner, commitment)
            if account.owner == program and (mint is None or _is_of(account, mint))
        ]
        return self._context.answer(slot, views)

    def _wanted(self, config: Config, commitment: Commitment) -> tuple[Pubkey, Pubkey | None]:
        """The token program whose accounts are meant, and their mint where only one is."""
        if config.raw("mint") is not None:
            mint = address(config.raw("mint"))
            account = self._cluster.account(mint, commitment)
            if account is None or account.owner not in known.TOKEN_PROGRAMS:
                raise invalid("Invalid param: could not find mint")
            return account.owner, mint
        if config.raw("programId") is None:
            raise invalid("Invalid params: expected mint or programId")
        program = address(config.raw("programId"))
        if program not in known.TOKEN_PROGRAMS:
            raise invalid("Invalid param: unrecognized Token program id")
        return program, None

    def _mint(self, wanted: Pubkey, commitment: Commitment) -> Mint:
        mint = mint_of(self._token_data(wanted, commitment, "not a Token mint"))
        if mint is None:
            raise invalid("Invalid param: not a Token mint")
        return mint

    def _held(self, wanted: Pubkey, commitment: Commitment) -> TokenAccount:
        held = token_account_of(self._token_data(wanted, commitment, "not a Token account"))
        if held is None:
            raise invalid("Invalid param: not a Token account")
        return held

    def _token_data(self, wanted: Pubkey, commitment: Commitment, otherwise: str) -> bytes:
        account = self._cluster.account(wanted, commitment)
        if account is None:
            raise invalid("Invalid param: could not find account")
        if account.owner not in known.TOKEN_PROGRAMS:
            raise invalid(f"Invalid param: {otherwise}")
        return account.data

    def methods(self) -> Methods:
        return {
            "getTokenSupply": self.supply,
            "getTokenAccountBalance": self.balance,
            "getTokenLargestAccounts": self.largest_accounts,
            "getTokenAccountsByOwner": self.accounts_by_owner,
        }


def _is_of(account: Account, mint: Pubkey) -> bool:
    """Whether a token account is of that mint, which its first bytes name."""
    return account.data[:32] == bytes(mint)
