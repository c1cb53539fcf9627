"""The node's own mint on a test cluster: made at first start, found again at every later one.

Its address is derived from the authority, so that a start that was cut short, or two nodes that start at once,
make one mint. As with markers, lamports that a stranger sent to the address do not hinder it.
"""

from __future__ import annotations

import asyncio
from typing import Final

from solders.instruction import Instruction
from solders.pubkey import Pubkey
from solders.system_program import AllocateWithSeedParams, TransferParams, allocate_with_seed, transfer
from spl.token.instructions import initialize_mint2
from spl.token.models import InitializeMint2Params

from bridge.programs.keys import Signer
from bridge.programs.mint import MINT_BYTES, checked_mint
from bridge.programs.mode import is_guard
from bridge.programs.packing import Packed
from bridge.programs.signing import signed
from bridge.solana.rpc import SendRefused, SolanaRpc
from config.errors import ErrorCode, Unavailable

MINT_SEED: Final = "metawatt mint"

_TRIES: Final = 4
_LOOKS: Final = 60  # for what one try made
_PAUSE_SECS: Final = 0.25


def mint_address(authority: Pubkey, token_program: Pubkey, seed: str = MINT_SEED) -> Pubkey:
    """Where `create_mint` makes the mint."""
    return Pubkey.create_with_seed(authority, seed, token_program)


async def create_mint(
    rpc: SolanaRpc, signer: Signer, *, token_program: Pubkey, decimals: int, seed: str = MINT_SEED
) -> Pubkey:
    """The mint whose authority the signer is, confirmed on the cluster; made where it is missing.

    The signer pays, and must have the lamports. Raises `MintUnusable` when there is another account at its
    address, or a mint with other decimals or another authority; `Unavailable` when the cluster does not make
    it.
    """
    address = mint_address(signer.public, token_program, seed)
    refusal = "no transaction was confirmed"
    for _ in range(_TRIES):
        if await _is_there(rpc, address, looks=1):
            break
        try:
            await _send(rpc, signer, await _creation(rpc, signer.public, token_program, decimals, seed))
        except SendRefused as refused:
            refusal = refused.message  # perhaps because another process makes the same mint
        if await _is_there(rpc, address, looks=_LOOKS):
            break
    else:
        raise Unavailable(f"The mint {address} could not be made: {refusal}", ErrorCode.SOLANA_UNAVAILABLE)
    await checked_mint(rpc, address, token_program=token_program, decimals=decimals, authority=signer.public)
    return address


async def fund(rpc: SolanaRpc, address: Pubkey, lamports: int) -> None:
    """Have a test cluster's faucet fill the account up to `lamports`, where it has less; returns when they
    are confirmed. Raises `Unavailable` when they do not come."""
    missing = lamports - await rpc.balance(address)
    if missing <= 0:
        return
    await rpc.airdrop(address, missing)
    for _ in range(_LOOKS):
        if await rpc.balance(address) >= lamports:
            return
        await asyncio.sleep(_PAUSE_SECS)
    raise Unavailable(f"The faucet did not pay {missing} lamports to {address}", ErrorCode.SOLANA_UNAVAILABLE)


async def _is_there(rpc: SolanaRpc, address: Pubkey, *, looks: int) -> bool:
    for look in range(looks):
        if look:
            await asyncio.sleep(_PAUSE_SECS)
        if is_guard((await rpc.accounts([address], "confirmed"))[0]):
            return True
    return False


async def _creation(
    rpc: SolanaRpc, authority: Pubkey, token_program: Pubkey, decimals: int, seed: str
) -> list[Instruction]:
    address = mint_address(authority, token_program, seed)
    account = (await rpc.accounts([address], "confirmed"))[0]
    shortfall = await rpc.rent_lamports(MINT_BYTES) - (account.lamports if account else 0)
    allocation = AllocateWithSeedParams(
        address=address, base=authority, seed=seed, space=MINT_BYTES, owner=token_program
    )
    initialisation = InitializeMint2Params(
        decimals=decimals, program_id=token_program, mint=address, mint_authority=authority
    )
    payment = TransferParams(from_pubkey=authority, to_pubkey=address, lamports=max(shortfall, 0))
    return [transfer(payment), allocate_with_seed(allocation), initialize_mint2(initialisation)]


async def _send(rpc: SolanaRpc, signer: Signer, instructions: list[Instruction]) -> None:
    blockhash = await rpc.latest_blockhash()
    transaction = await signed(Packed((), tuple(instructions), signer.public), blockhash.value, [signer])
    await rpc.send(bytes(transaction))
