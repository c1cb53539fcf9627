"""Settlement by GridTokenX's registry program: what a meter generated and its owner has not had tokens for.

The owner of a meter signs, not the node: these are instructions for the owner's wallet, or for a node that
holds the owner's key. The program counts what it settled, so that settling twice settles nothing new.
"""

from __future__ import annotations

from dataclasses import dataclass

from solders.instruction import Instruction
from solders.pubkey import Pubkey
from spl.token.constants import TOKEN_2022_PROGRAM_ID

from bridge.programs import pda
from bridge.programs.idl import idl
from bridge.programs.tokens import associated_account


@dataclass(frozen=True, slots=True)
class Settlement:
    """The programs that settlement goes through."""

    registry: Pubkey
    energy_token: Pubkey
    oracle: Pubkey
    mint: Pubkey | None = None
    token_program: Pubkey = TOKEN_2022_PROGRAM_ID

    def update_meter_reading(
        self, serial: str, owner: Pubkey, oracle_authority: Pubkey, generated: int, consumed: int, timestamp: int
    ) -> Instruction:
        """Tell the registry a meter's totals, signed by the oracle's authority; `timestamp` in seconds. The
        units of both amounts are those of the deployment."""
        accounts: dict[str, Pubkey | None] = {
            "registry": pda.registry(self.registry),
            "meter_account": pda.meter(self.registry, owner, serial),
            "oracle_meter_state": pda.oracle_meter(self.oracle, serial),
            "oracle_authority": oracle_authority,
        }
        return idl("registry").instruction(
            self.registry,
            "update_meter_reading",
            accounts,
            energy_generated=generated,
            energy_consumed=consumed,
            reading_timestamp=timestamp,
        )

    def settle_meter_balance(self, serial: str, owner: Pubkey) -> Instruction:
        """Count the meter's unsettled net generation as settled, without minting."""
        accounts: dict[str, Pubkey | None] = {
            "meter_account": pda.meter(self.registry, owner, serial),
            "meter_owner": owner,
        }
        return idl("registry").instruction(self.registry, "settle_meter_balance", accounts)

    def settle_and_mint_tokens(self, serial: str, owner: Pubkey, rec_validator: Pubkey) -> Instruction:
        """Settle, and mint to the owner's token account, which must be there."""
        mint = self.mint or pda.mint(self.energy_token)
        accounts: dict[str, Pubkey | None] = {
            "meter_account": pda.meter(self.registry, owner, serial),
            "meter_owner": owner,
            "token_info": pda.token_info(self.energy_token),
            "mint": mint,
            "user_token_account": associated_account(owner, mint, self.token_program),
            "registry": pda.registry(self.registry),
            "energy_token_program": self.energy_token,
            "token_program": self.token_program,
            "rec_validator": rec_validator,
        }
        return idl("registry").instruction(self.registry, "settle_and_mint_tokens", accounts)
