"""The real token programs in LiteSVM, and what transactions did there as the bridge sees it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from solders.hash import Hash
from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.litesvm import LiteSVM
from solders.pubkey import Pubkey
from solders.system_program import CreateAccountParams, create_account
from solders.token.state import Mint, TokenAccount
from solders.transaction import VersionedTransaction
from solders.transaction_metadata import FailedTransactionMetadata
from spl.token.constants import TOKEN_2022_PROGRAM_ID, TOKEN_PROGRAM_ID
from spl.token.instructions import initialize_mint2
from spl.token.models import InitializeMint2Params

from bridge.programs.instructions import TOKEN_PROGRAMS
from bridge.programs.keys import FileSigner
from bridge.programs.mode import Facts, MintMode, Order
from bridge.programs.packing import Packed, packed
from bridge.programs.signing import signed
from bridge.programs.tokens import associated_account, create_associated_account
from bridge.records import reading_key
from bridge.solana.rpc import InnerInstruction, SeenTransaction, TokenBalance

GENESIS = Hash.hash(b"a cluster of this test")
START_MS = 1_764_547_200_000
"""A full quarter of an hour."""
DECIMALS = 9

BOTH_PROGRAMS = [TOKEN_PROGRAM_ID, TOKEN_2022_PROGRAM_ID]


def order(
    meter: str = "METER-001", interval: int = 0, wallet: Pubkey | None = None, units: int = 1_500_000_000
) -> Order:
    start_ms = START_MS + interval * 900_000
    owner = wallet or Keypair.from_seed(meter.encode().ljust(32, b"\0")[:32]).pubkey()
    return Order(reading_key(meter, start_ms), meter, start_ms, owner, units)


@dataclass
class Chain:
    """A LiteSVM with a key that has lamports."""

    payer: Keypair = field(default_factory=Keypair)
    svm: LiteSVM = field(default_factory=LiteSVM)
    slot: int = 0

    def __post_init__(self) -> None:
        self.fund(self.payer.pubkey())

    def fund(self, address: Pubkey, lamports: int = 10**11) -> None:
        self.svm.airdrop(address, lamports)

    def new_mint(self, program: Pubkey, authority: Pubkey | None = None) -> Pubkey:
        mint = Keypair()
        account = CreateAccountParams(
            from_pubkey=self.payer.pubkey(),
            to_pubkey=mint.pubkey(),
            lamports=self.svm.minimum_balance_for_rent_exemption(82),
            space=82,
            owner=program,
        )
        start = InitializeMint2Params(
            decimals=DECIMALS,
            program_id=program,
            mint=mint.pubkey(),
            mint_authority=authority or self.payer.pubkey(),
        )
        seen = self.run([create_account(account), initialize_mint2(start)], [mint])
        assert seen.error is None, seen.logs
        return mint.pubkey()

    def new_account(self, wallet: Pubkey, mint: Pubkey, program: Pubkey) -> Pubkey:
        seen = self.run([create_associated_account(self.payer.pubkey(), wallet, mint, program)])
        assert seen.error is None, seen.logs
        return associated_account(wallet, mint, program)

    def supply(self, mint: Pubkey) -> int:
        return Mint.from_bytes(self.svm.get_account(mint).data[:82]).supply

    def units(self, account: Pubkey) -> int:
        state = self.svm.get_account(account)
        return TokenAccount.from_bytes(state.data[:165]).amount if state else 0

    def facts(self, mode: MintMode, wanted: Order) -> Facts:
        destination = self.svm.get_account(mode.destination(wanted)) is not None
        return Facts(destination, self.svm.get_balance(mode.guard(wanted)) or 0)

    def mint(self, mode: MintMode, *orders: Order, signers: Sequence[Keypair] = ()) -> list[SeenTransaction]:
        """Pack the orders by what the chain says of them, and run every transaction."""
        found = packed(mode, [(one, self.facts(mode, one)) for one in orders], self.payer.pubkey())
        return [self.run_packed(one, signers) for one in found]

    def run(self, instructions: Sequence[Instruction], signers: Sequence[Keypair] = ()) -> SeenTransaction:
        return self.run_packed(Packed((), tuple(instructions), self.payer.pubkey()), signers)

    def run_packed(self, one: Packed, signers: Sequence[Keypair] = ()) -> SeenTransaction:
        self.svm.expire_blockhash()
        keys = [FileSigner(key) for key in (self.payer, *signers)]
        return self.send(asyncio.run(signed(one, self.svm.latest_blockhash(), keys)))

    def send(self, transaction: VersionedTransaction) -> SeenTransaction:
        keys = tuple(transaction.message.account_keys)
        before = self._balances(keys)
        result = self.svm.send_transaction(transaction)
        failed = isinstance(result, FailedTransactionMetadata)
        meta = result.meta() if failed else result
        self.slot += 1
        return SeenTransaction(
            signature=transaction.signatures[0],
            slot=self.slot,
            block_time=None,
            error=result.err() if failed else None,
            transaction=transaction,
            account_keys=keys,
            logs=tuple(meta.logs()),
            inner={
                outer: tuple(
                    InnerInstruction(
                        one.instruction().program_id_index,
                        tuple(one.instruction().accounts),
                        bytes(one.instruction().data),
                        one.stack_height(),
                    )
                    for one in found
                )
                for outer, found in enumerate(meta.inner_instructions())
                if found
            },
            pre_tokens=before,
            post_tokens=self._balances(keys),
            fee=meta.fee(),
        )

    def _balances(self, keys: Sequence[Pubkey]) -> tuple[TokenBalance, ...]:
        return tuple(balance for key in keys if (balance := self._balance(key)))

    def _balance(self, key: Pubkey) -> TokenBalance | None:
        state = self.svm.get_account(key)
        if state is None or state.owner not in TOKEN_PROGRAMS or len(state.data) in {82, 278, 355}:
            return None
        account = TokenAccount.from_bytes(state.data[:165])
        return TokenBalance(key, account.mint, account.owner, state.owner, account.amount)
