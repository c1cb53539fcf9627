"""A wallet's token account, made before the first mint to it, or looked up where it is there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from solders.pubkey import Pubkey
from solders.signature import Signature

from bridge.minting.waiting import answered
from bridge.programs.keys import Signer
from bridge.programs.mode import MintMode
from bridge.programs.packing import Packed
from bridge.programs.signing import signed
from bridge.programs.tokens import associated_account, create_associated_account
from bridge.solana.rpc import SolanaRpc
from config.errors import BadRequest, ErrorCode, Unavailable

WAIT_SECS: Final = 15.0
_LOOK_SECS: Final = 0.2


@dataclass(frozen=True, slots=True)
class TokenAccount:
    """`signature` is None where the account was there before."""

    address: Pubkey
    signature: Signature | None


class TokenAccounts:
    """Makes associated token accounts. A repetition does no harm: the instruction is idempotent."""

    def __init__(self, rpc: SolanaRpc, mode: MintMode, signers: Sequence[Signer]) -> None:
        self._rpc = rpc
        self._mode = mode
        self._signers = signers

    async def make(self, wallet: str) -> TokenAccount:
        """Make the account, and wait until it is confirmed. `BadRequest(INVALID_FIELD)` when `wallet` is no
        address; `Unavailable(SOLANA_UNAVAILABLE)` when it is not confirmed in time."""
        owner = _address(wallet)
        account = associated_account(owner, self._mode.mint, self._mode.token_program)
        if await self._is_there(account):
            return TokenAccount(account, None)
        payer = self._signers[0].public
        instruction = create_associated_account(payer, owner, self._mode.mint, self._mode.token_program)
        blockhash = await self._rpc.latest_blockhash()
        made = await signed(Packed((), (instruction,), payer), blockhash.value, self._signers)
        await self._rpc.send(bytes(made))
        await self._confirmed(made.signatures[0])
        return TokenAccount(account, made.signatures[0])

    async def _is_there(self, account: Pubkey) -> bool:
        (found,) = await self._rpc.accounts([account], "confirmed")
        return found is not None and found.owner == self._mode.token_program

    async def _confirmed(self, signature: Signature) -> None:

        async def confirmed() -> bool | None:
            (status,) = await self._rpc.statuses([signature], history=False)
            if status is None or status.commitment == "processed":
                return None
            if status.error is not None:
                raise BadRequest(f"{signature} failed: {status.error}", ErrorCode.MINTING_FORBIDS)
            return True

        if not await answered(confirmed, WAIT_SECS, _LOOK_SECS):
            raise Unavailable(f"{signature} is not confirmed yet", ErrorCode.SOLANA_UNAVAILABLE)


def _address(wallet: str) -> Pubkey:
    try:
        return Pubkey.from_string(wallet)
    except ValueError:
        raise BadRequest("wallet must be a Solana address", ErrorCode.INVALID_FIELD) from None
