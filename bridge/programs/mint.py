"""A mint as the cluster has it, held against what this node was told of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import structlog
from solders.pubkey import Pubkey
from solders.token.state import Mint, Multisig
from spl.token.constants import TOKEN_2022_PROGRAM_ID, TOKEN_PROGRAM_ID

from bridge.programs.powers import begins_frozen, hindrance, powers_of_others
from bridge.solana.rpc import AccountState, SolanaRpc
from config.errors import ErrorCode, MetawattError

MINT_BYTES: Final = 82

_EXTENDED_FROM: Final = 165  # Token-2022: the kind of account stands here, extensions follow
_KIND_MINT: Final = 1
MULTISIG_BYTES: Final = 355
_PROGRAM_NAMES: Final = {TOKEN_PROGRAM_ID: "SPL Token", TOKEN_2022_PROGRAM_ID: "Token-2022"}

log = structlog.get_logger("metawatt.solana")


class MintUnusable(MetawattError):
    """The mint is not what the settings say."""

    default_code = ErrorCode.SETTINGS_INVALID


async def checked_mint(
    rpc: SolanaRpc, address: Pubkey, *, token_program: Pubkey, decimals: int, authority: Pubkey
) -> Mint:
    """The mint, as it is confirmed. Raises `MintUnusable`, saying what differs, when it is missing, belongs to
    another program, has other decimals or another authority, or accounts that begin frozen. What others may do to
    its tokens is logged."""
    account = (await rpc.accounts([address], "confirmed"))[0]
    mint, data = _mint(address, account, token_program)
    if mint.decimals != decimals:
        raise MintUnusable(f"The mint {address} has {mint.decimals} decimals, not {decimals}")
    if mint.mint_authority != authority:
        raise MintUnusable(f"The mint {address} has the authority {mint.mint_authority}, not {authority}")
    if begins_frozen(data):
        raise MintUnusable(f"Token accounts of the mint {address} begin frozen: nothing can be minted to them")
    for power in powers_of_others(data, authority):
        log.warning("others have power over the mint", mint=str(address), power=power)
    return mint


async def authority_of(rpc: SolanaRpc, address: Pubkey, token_program: Pubkey) -> Pubkey | None:
    """Who may mint, as it is confirmed; None when nobody can any more. Raises `MintUnusable` when it is no mint."""
    account = (await rpc.accounts([address], "confirmed"))[0]
    return _mint(address, account, token_program)[0].mint_authority


async def demand_transfers(rpc: SolanaRpc, address: Pubkey, token_program: Pubkey) -> None:
    """Raises `MintUnusable` when transfers of the mint's tokens do not arrive whole, or not at all: it cannot be
    mirrored by holding its tokens in custody."""
    account = (await rpc.accounts([address], "confirmed"))[0]
    _, data = _mint(address, account, token_program)
    if (reason := hindrance(data)) is not None:
        raise MintUnusable(f"The mint {address} cannot be mirrored: {reason}")


async def multisig_signers(
    rpc: SolanaRpc, authority: Pubkey, ours: Iterable[Pubkey], token_program: Pubkey
) -> tuple[Pubkey, ...]:
    """Who signs for a mint's authority, or for the owner of a token account: nobody else, `()`, when it is a plain
    key; as many of `ours` as it asks for when it is a multisig of the token program. Raises `MintUnusable` when
    ours are too few."""
    account = (await rpc.accounts([authority], "confirmed"))[0]
    if account is None or account.owner != token_program or len(account.data) != MULTISIG_BYTES:
        return ()
    multisig = Multisig.from_bytes(account.data)
    members = set(multisig.signers[: multisig.n])
    found = tuple(key for key in ours if key in members)[: multisig.m]
    if len(found) < multisig.m:
        raise MintUnusable(f"The multisig {authority} asks for {multisig.m} signers; {len(found)} are here")
    return found


def _mint(address: Pubkey, account: AccountState | None, token_program: Pubkey) -> tuple[Mint, bytes]:
    """With the account's data."""
    if account is None:
        raise MintUnusable(f"There is no mint {address}")
    if account.owner != token_program:
        raise MintUnusable(f"The mint {address} belongs to {_name(account.owner)}, not to {_name(token_program)}")
    try:
        mint = Mint.from_bytes(account.data[:MINT_BYTES]) if _is_mint(account.data) else None
    except ValueError:
        mint = None
    if mint is None or not mint.is_initialized:
        raise MintUnusable(f"The account {address} is no mint")
    return mint, account.data


def _is_mint(data: bytes) -> bool:
    """By its length; one that has extensions says so behind that of a token account."""
    if len(data) in {MINT_BYTES, MULTISIG_BYTES}:
        return len(data) == MINT_BYTES
    return data[_EXTENDED_FROM : _EXTENDED_FROM + 1] == bytes([_KIND_MINT])


def _name(program: Pubkey) -> str:
    return _PROGRAM_NAMES.get(program, str(program))
