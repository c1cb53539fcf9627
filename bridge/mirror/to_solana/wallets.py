"""Solana addresses that tokens may be sent to: wallets that somebody can sign for, and not the bridge's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from solders.pubkey import Pubkey
from solders.system_program import ID as SYSTEM_PROGRAM_ID
from spl.memo.constants import MEMO_PROGRAM_ID
from spl.token.constants import ASSOCIATED_TOKEN_PROGRAM_ID

from bridge.mirror.ground import Asset
from bridge.programs.instructions import TOKEN_PROGRAMS
from bridge.programs.mint import MULTISIG_BYTES
from bridge.solana.rpc import AccountState, SolanaRpc

_PROGRAMS: Final = frozenset({SYSTEM_PROGRAM_ID, *TOKEN_PROGRAMS, ASSOCIATED_TOKEN_PROGRAM_ID, MEMO_PROGRAM_ID})


def wallet_in(text: str) -> Pubkey | None:
    """The address that a text is, in the one form that base58 has for it; None when it is none."""
    try:
        address = Pubkey.from_string(text)
    except ValueError:
        return None
    return address if str(address) == text else None


def against_address(text: str, asset: Asset) -> str | None:
    """Why an address cannot be a holder's wallet, as far as that can be told without asking the cluster."""
    address = wallet_in(text)
    if address is None:
        return "exit.address is not a Solana address in base58"
    if address in (asset.owner, asset.custody):
        return "exit.address is the bridge's own"
    if address in (asset.mint, asset.token_program) or address in _PROGRAMS:
        return "exit.address is a mint or a program, which nobody can sign for"
    if not address.is_on_curve():
        return "exit.address is not on the curve: no key signs for it, only a program might"
    return None


async def load_wallets(rpc: SolanaRpc, texts: Sequence[str]) -> dict[str, AccountState | None]:
    """The cluster's accounts at these addresses, those that are none left out. Raises `Unavailable`."""
    found = {text: address for text in texts if (address := wallet_in(text)) is not None}
    accounts = await rpc.accounts(list(found.values())) if found else []
    return dict(zip(found, accounts, strict=True))


def against_account(account: AccountState | None) -> str | None:
    """Why what is at an address is no wallet: a token account, a mint or a program has an owner of its own. An
    address where nothing is yet may be a wallet's."""
    if account is None or account.owner == SYSTEM_PROGRAM_ID:
        return None
    return f"exit.address is an account of the program {account.owner}, not a wallet"


def against_owner(account: AccountState | None) -> str | None:
    """Why what is at an address cannot own a token account that somebody could use: tokens of an account of a token
    account, or of a mint, are lost; those of a multisig are not. It is asked when tokens are paid: less than
    `against_account`, which exits are judged by before, for refunds go to wallets that no exit named."""
    if account is None or account.owner not in TOKEN_PROGRAMS or len(account.data) == MULTISIG_BYTES:
        return None
    return "is an account of the token program, and no wallet"
