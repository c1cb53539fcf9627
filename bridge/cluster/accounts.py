"""Accounts as they were at a commitment: one, those of a program, and the token accounts of a wallet or mint."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from solders.account import Account
from solders.pubkey import Pubkey

from bridge.cluster.chain import Chain
from bridge.cluster.tokens import mint_of, owner_of, token_data, units_of


class Accounts:
    """Reads of accounts at the end of a slot."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain

    def of_program(
        self, program: Pubkey, slot: int, data_size: int | None, memcmp: Sequence[tuple[int, bytes]]
    ) -> list[tuple[Pubkey, Account]]:
        found = dict(self._chain.runtime.owned_by(program))
        for address, account in self._chain.undo.since(slot).items():
            found.pop(address, None)
            if account is not None and account.owner == program:
                found[address] = account
        return _sorted(
            (address, account) for address, account in found.items() if _matches(account, data_size, memcmp)
        )

    def of_owner(self, owner: Pubkey, slot: int) -> list[tuple[Pubkey, Account]]:
        candidates = self._chain.tokens.of_owner(owner)
        return _sorted(
            (address, account)
            for address, account, data in self._tokens(candidates, slot)
            if owner_of(data) == owner
        )

    def of_mint(self, mint: Pubkey, slot: int) -> list[tuple[Pubkey, Account]]:
        candidates = self._chain.tokens.of_mint(mint)
        found = [each for each in self._tokens(candidates, slot) if mint_of(each[2]) == mint]
        found.sort(key=lambda each: (-units_of(each[2]), bytes(each[0])))
        return [(address, account) for address, account, _ in found]

    def _tokens(self, addresses: Iterable[Pubkey], slot: int) -> Iterator[tuple[Pubkey, Account, bytes]]:
        for address in addresses:
            account = self._chain.account_at(address, slot)
            data = token_data(account)
            if account is not None and data is not None:
                yield address, account, data


def _sorted(accounts: Iterable[tuple[Pubkey, Account]]) -> list[tuple[Pubkey, Account]]:
    return sorted(accounts, key=lambda each: bytes(each[0]))


def _matches(account: Account, data_size: int | None, memcmp: Sequence[tuple[int, bytes]]) -> bool:
    if data_size is None and not memcmp:
        return True
    data = account.data
    has_size = data_size is None or len(data) == data_size
    return has_size and all(data[offset : offset + len(part)] == part for offset, part in memcmp)
