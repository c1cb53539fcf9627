"""A wallet's token account as the cluster has it: may it be minted to?

Its address says nothing of who owns it. The owner of an account of SPL Token can make it another's for good, who
would then get all that is minted there.
"""

from __future__ import annotations

from typing import Final

from solders.pubkey import Pubkey
from solders.system_program import ID as SYSTEM_PROGRAM_ID

from bridge.solana.rpc import AccountState

_MINT: Final = slice(0, 32)
_OWNER: Final = slice(32, 64)
_STATE: Final = 108
_ACCOUNT_BYTES: Final = 165
_INITIALIZED: Final = 1
_FROZEN: Final = 2


def is_missing(account: AccountState | None) -> bool:
    """Whether the account is still to be made. Anybody may send lamports to its address before."""
    return account is None or account.owner == SYSTEM_PROGRAM_ID


def fault_of(account: AccountState, *, wallet: Pubkey | None, mint: Pubkey, token_program: Pubkey) -> str | None:
    """Why nothing is to be paid to an account that is there; None when it is the wallet's, and open. A `wallet` of
    None asks for no owner."""
    data = account.data
    if account.owner != token_program or len(data) < _ACCOUNT_BYTES:
        return "at the address of the wallet's token account is no token account"
    if data[_STATE] not in (_INITIALIZED, _FROZEN):
        return "at the address of the wallet's token account is no token account that was initialized"
    if data[_MINT] != bytes(mint):
        return "the wallet's token account is of another mint"
    if wallet is not None and data[_OWNER] != bytes(wallet):
        return f"the wallet's token account belongs to {Pubkey.from_bytes(data[_OWNER])} now"
    return "the wallet's token account is frozen" if data[_STATE] == _FROZEN else None
