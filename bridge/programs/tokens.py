"""Token accounts: where they are, how they are made, and how they are paid to."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from solders.instruction import AccountMeta, Instruction
from solders.pubkey import Pubkey
from solders.system_program import ID as SYSTEM_PROGRAM_ID
from spl.token.constants import ASSOCIATED_TOKEN_PROGRAM_ID

_CREATE_IDEMPOTENT: Final = bytes([1])
_TRANSFER_CHECKED: Final = 12
_MINT_TO_CHECKED: Final = 14


@lru_cache(maxsize=65_536)
def associated_account(wallet: Pubkey, mint: Pubkey, token_program: Pubkey) -> Pubkey:
    """The wallet's own account of that mint."""
    seeds = [bytes(wallet), bytes(token_program), bytes(mint)]
    return Pubkey.find_program_address(seeds, ASSOCIATED_TOKEN_PROGRAM_ID)[0]


def create_associated_account(payer: Pubkey, wallet: Pubkey, mint: Pubkey, token_program: Pubkey) -> Instruction:
    """Make the wallet's account where it is missing; does nothing where it is there."""
    accounts = [
        AccountMeta(payer, is_signer=True, is_writable=True),
        AccountMeta(associated_account(wallet, mint, token_program), is_signer=False, is_writable=True),
        AccountMeta(wallet, is_signer=False, is_writable=False),
        AccountMeta(mint, is_signer=False, is_writable=False),
        AccountMeta(SYSTEM_PROGRAM_ID, is_signer=False, is_writable=False),
        AccountMeta(token_program, is_signer=False, is_writable=False),
    ]
    return Instruction(ASSOCIATED_TOKEN_PROGRAM_ID, _CREATE_IDEMPOTENT, accounts)


def mint_to_checked(
    token_program: Pubkey,
    mint: Pubkey,
    destination: Pubkey,
    authority: Pubkey,
    units: int,
    decimals: int,
    signers: Sequence[Pubkey] = (),
) -> Instruction:
    """`signers` are those who sign for an authority that is a multisig; else the authority itself signs."""
    accounts = [
        AccountMeta(mint, is_signer=False, is_writable=True),
        AccountMeta(destination, is_signer=False, is_writable=True),
        AccountMeta(authority, is_signer=not signers, is_writable=False),
        *(AccountMeta(signer, is_signer=True, is_writable=False) for signer in signers),
    ]
    return Instruction(token_program, _checked(_MINT_TO_CHECKED, units, decimals), accounts)


def transfer_checked(
    token_program: Pubkey,
    source: Pubkey,
    mint: Pubkey,
    destination: Pubkey,
    owner: Pubkey,
    units: int,
    decimals: int,
    signers: Sequence[Pubkey] = (),
) -> Instruction:
    """`signers` are those who sign for an owner that is a multisig; else the owner itself signs."""
    accounts = [
        AccountMeta(source, is_signer=False, is_writable=True),
        AccountMeta(mint, is_signer=False, is_writable=False),
        AccountMeta(destination, is_signer=False, is_writable=True),
        AccountMeta(owner, is_signer=not signers, is_writable=False),
        *(AccountMeta(signer, is_signer=True, is_writable=False) for signer in signers),
    ]
    return Instruction(token_program, _checked(_TRANSFER_CHECKED, units, decimals), accounts)


def _checked(number: int, units: int, decimals: int) -> bytes:
    return bytes([number]) + units.to_bytes(8, "little") + bytes([decimals])
