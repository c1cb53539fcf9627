"""Deposits on the real token programs, as the event processor sees them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.system_program import CreateAccountParams, create_account
from spl.memo.constants import MEMO_PROGRAM_ID
from spl.token import models
from spl.token.constants import TOKEN_PROGRAM_ID
from spl.token.instructions import (
    burn_checked,
    initialize_mint2,
    initialize_transfer_fee_config,
    transfer,
    transfer_checked,
)

from bridge.mirror.ground import Asset
from bridge.programs.tokens import associated_account, mint_to_checked
from tests.bridge.programs_kit import DECIMALS, GENESIS, Chain

BATCH = 255
FEE_MINT_BYTES = 278


@dataclass
class Vault:
    """A mint, the bridge's custody of it, and holders with 1,000,000,000,000 units each."""

    mode: Literal["lock", "burn"] = "lock"
    fee_basis_points: int = 0
    program: Pubkey = TOKEN_PROGRAM_ID
    chain: Chain = field(default_factory=Chain)
    bridge: Keypair = field(default_factory=Keypair)
    alice: Keypair = field(default_factory=Keypair)
    bob: Keypair = field(default_factory=Keypair)

    def __post_init__(self) -> None:
        self.mint = self._fee_mint() if self.fee_basis_points else self.chain.new_mint(self.program)
        for owner in (self.bridge, self.alice, self.bob):
            self.chain.new_account(owner.pubkey(), self.mint, self.program)
        for owner in (self.alice, self.bob):
            assert self.chain.run([self.minted(owner.pubkey(), 10**12)]).error is None
        self.asset = Asset(
            genesis=GENESIS,
            mint=self.mint,
            token_program=self.program,
            decimals=DECIMALS,
            owner=self.bridge.pubkey(),
            custody=self.account(self.bridge),
            mode=self.mode,
            mint_authority=self.chain.payer.pubkey(),
        )

    def _fee_mint(self) -> Pubkey:
        """A mint of Token-2022 that withholds a part of each transfer."""
        mint, payer = Keypair(), self.chain.payer.pubkey()
        created = create_account(
            CreateAccountParams(
                from_pubkey=payer,
                to_pubkey=mint.pubkey(),
                lamports=self.chain.svm.minimum_balance_for_rent_exemption(FEE_MINT_BYTES),
                space=FEE_MINT_BYTES,
                owner=self.program,
            )
        )
        config = initialize_transfer_fee_config(
            models.InitializeTransferFeeConfigParams(
                program_id=self.program,
                mint=mint.pubkey(),
                transfer_fee_config_authority=payer,
                withdraw_withheld_authority=payer,
                transfer_fee_basis_points=self.fee_basis_points,
                maximum_fee=10**9,
            )
        )
        made = initialize_mint2(
            models.InitializeMint2Params(
                decimals=DECIMALS, program_id=self.program, mint=mint.pubkey(), mint_authority=payer
            )
        )
        assert self.chain.run([created, config, made], [mint]).error is None
        return mint.pubkey()

    def as_mode(self, mode: Literal["lock", "burn"]) -> Asset:
        return replace(self.asset, mode=mode)

    def account(self, owner: Keypair) -> Pubkey:
        return associated_account(owner.pubkey(), self.mint, self.program)

    def minted(self, owner: Pubkey, units: int) -> Instruction:
        account = associated_account(owner, self.mint, self.program)
        return mint_to_checked(self.program, self.mint, account, self.chain.payer.pubkey(), units, DECIMALS)

    def moved(self, source: Keypair, target: Keypair, units: int) -> Instruction:
        return transfer_checked(
            models.TransferCheckedParams(
                program_id=self.program,
                source=self.account(source),
                mint=self.mint,
                dest=self.account(target),
                owner=source.pubkey(),
                amount=units,
                decimals=DECIMALS,
            )
        )

    def moved_with_fee(self, source: Keypair, target: Keypair, units: int) -> Instruction:
        """A transfer that names the fee, which the program checks."""
        plain = self.moved(source, target, units)
        fee = -(-units * self.fee_basis_points // 10_000)
        data = b"\x1a\x01" + bytes(plain.data)[1:] + fee.to_bytes(8, "little")
        return Instruction(plain.program_id, data, list(plain.accounts))

    def moved_unchecked(self, source: Keypair, target: Keypair, units: int) -> Instruction:
        return transfer(
            models.TransferParams(
                program_id=self.program,
                source=self.account(source),
                dest=self.account(target),
                owner=source.pubkey(),
                amount=units,
            )
        )

    def burned(self, owner: Keypair, units: int) -> Instruction:
        return burn_checked(
            models.BurnCheckedParams(
                program_id=self.program,
                mint=self.mint,
                account=self.account(owner),
                owner=owner.pubkey(),
                amount=units,
                decimals=DECIMALS,
            )
        )


def noted(text: str | bytes, program: Pubkey = MEMO_PROGRAM_ID) -> Instruction:
    return Instruction(program, text if isinstance(text, bytes) else text.encode(), [])


def batched(*parts: Instruction) -> Instruction:
    """As the token program of SPL takes many at once."""
    data = bytes([BATCH]) + b"".join(
        bytes([len(part.accounts), len(part.data)]) + bytes(part.data) for part in parts
    )
    return Instruction(TOKEN_PROGRAM_ID, data, [meta for part in parts for meta in part.accounts])
