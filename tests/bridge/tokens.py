"""The life of a token with solana-py: made, minted with a memo, transferred and burnt."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from solana.rpc.async_api import AsyncClient
from solana.rpc.commitment import Confirmed
from solana.rpc.models import TxOpts
from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.message import MessageV0
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.system_program import CreateAccountParams, create_account
from solders.transaction import VersionedTransaction
from spl.memo.instructions import create_memo
from spl.memo.models import MemoParams
from spl.token import models
from spl.token.instructions import (
    burn_checked,
    create_idempotent_associated_token_account,
    get_associated_token_address,
    initialize_mint2,
    mint_to_checked,
    transfer_checked,
)

SPL_TOKEN = Pubkey.from_string("TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA")
TOKEN_2022 = Pubkey.from_string("TokenzQdBNbLqP5VEhdkAS6EPFLC1PHnBqCXEpPxuEb")
MEMO = Pubkey.from_string("MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr")
DECIMALS = 9
UNIT = 10**DECIMALS
MINT_BYTES = 82
LAMPORTS = 10_000_000_000


@dataclass
class TokenLife:
    """One mint of one authority, who also pays, and a receiver."""

    client: AsyncClient
    program: Pubkey = SPL_TOKEN
    authority: Keypair = field(default_factory=Keypair)
    mint: Keypair = field(default_factory=Keypair)
    receiver: Keypair = field(default_factory=Keypair)

    @property
    def source(self) -> Pubkey:
        return self._holding(self.authority)

    @property
    def destination(self) -> Pubkey:
        return self._holding(self.receiver)

    async def begin(self) -> Signature:
        """Money from the faucet, the mint, and both token accounts."""
        airdrop = await self.client.request_airdrop(self.authority.pubkey(), LAMPORTS)
        await self.confirmed(airdrop.value)
        rent = await self.client.get_minimum_balance_for_rent_exemption(MINT_BYTES)
        payer = self.authority.pubkey()
        return await self.send(
            create_account(
                CreateAccountParams(
                    from_pubkey=payer,
                    to_pubkey=self.mint.pubkey(),
                    lamports=rent.value,
                    space=MINT_BYTES,
                    owner=self.program,
                )
            ),
            initialize_mint2(
                models.InitializeMint2Params(
                    program_id=self.program, mint=self.mint.pubkey(), decimals=DECIMALS, mint_authority=payer
                )
            ),
            *(
                create_idempotent_associated_token_account(payer, each.pubkey(), self.mint.pubkey(), self.program)
                for each in (self.authority, self.receiver)
            ),
            signers=(self.mint,),
        )

    async def mint_units(self, units: int, memo: str = "reading 1") -> Signature:
        noted = create_memo(MemoParams(program_id=MEMO, signer=self.authority.pubkey(), message=memo.encode()))
        return await self.send(noted, self.minting(units))

    async def transfer_units(self, units: int) -> Signature:
        return await self.send(
            transfer_checked(
                models.TransferCheckedParams(
                    program_id=self.program,
                    source=self.source,
                    mint=self.mint.pubkey(),
                    dest=self.destination,
                    owner=self.authority.pubkey(),
                    amount=units,
                    decimals=DECIMALS,
                )
            )
        )

    async def burn_units(self, units: int) -> Signature:
        return await self.send(self.burning(units))

    def minting(self, units: int) -> Instruction:
        return mint_to_checked(
            models.MintToCheckedParams(
                program_id=self.program,
                mint=self.mint.pubkey(),
                dest=self.source,
                mint_authority=self.authority.pubkey(),
                amount=units,
                decimals=DECIMALS,
            )
        )

    def burning(self, units: int) -> Instruction:
        return burn_checked(
            models.BurnCheckedParams(
                program_id=self.program,
                mint=self.mint.pubkey(),
                account=self.source,
                owner=self.authority.pubkey(),
                amount=units,
                decimals=DECIMALS,
            )
        )

    async def send(self, *instructions: Instruction, signers: Sequence[Keypair] = ()) -> Signature:
        """Sent, and confirmed."""
        transaction = await self.signed(*instructions, signers=signers)
        sent = await self.client.send_transaction(transaction, opts=TxOpts(preflight_commitment=Confirmed))
        await self.confirmed(sent.value)
        return sent.value

    async def signed(self, *instructions: Instruction, signers: Sequence[Keypair] = ()) -> VersionedTransaction:
        latest = await self.client.get_latest_blockhash(Confirmed)
        payer = self.authority.pubkey()
        message = MessageV0.try_compile(payer, list(instructions), [], latest.value.blockhash)
        return VersionedTransaction(message, [self.authority, *signers])

    async def confirmed(self, signature: Signature) -> None:
        """Until it is confirmed; AssertionError when it failed."""
        while True:
            status = (await self.client.get_signature_statuses([signature])).value[0]
            if status is not None and str(status.confirmation_status) != "TransactionConfirmationStatus.Processed":
                assert status.err is None, status.err
                return
            await asyncio.sleep(0.005)

    def _holding(self, owner: Keypair) -> Pubkey:
        return get_associated_token_address(owner.pubkey(), self.mint.pubkey(), self.program)
