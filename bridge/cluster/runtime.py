"""LiteSVM: the accounts as they are now, and Solana's own runtime to execute on them.

Blockhashes, durable nonces, repetition and signatures are checked before a transaction comes here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from solders.account import Account
from solders.clock import Clock
from solders.hash import Hash
from solders.litesvm import LiteSVM
from solders.pubkey import Pubkey
from solders.system_program import ID as SYSTEM
from solders.transaction import VersionedTransaction
from solders.transaction_metadata import SimulateResult, TransactionResult

MEMO_V1: Final = Pubkey.from_string("Memo1UhkJRfHyvLMcVucJwxXeuD728EqVDDwQDxFMNo")
MEMO: Final = Pubkey.from_string("MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr")
MEMO_NEWEST: Final = Pubkey.from_string("Memo4c2pN8afCj432Lb7RMVKi9PbQnnW7ewFFaV3oAH")
MEMO_PROGRAMS: Final = frozenset({MEMO_V1, MEMO, MEMO_NEWEST})

_LOG_BYTES: Final = 10_000
_SLOTS_PER_EPOCH: Final = 432_000
_NO_ACCOUNT: Final = Account(0, b"", SYSTEM)


class Runtime:
    """One LiteSVM with the bundled programs, the newest memo id, and `programs` (ELFs by id)."""

    def __init__(self, programs: Mapping[Pubkey, bytes]) -> None:
        svm = LiteSVM().with_blockhash_check(False).with_sigverify(False)
        self._svm = svm.with_transaction_history(0).with_log_bytes_limit(_LOG_BYTES)
        memo = self._svm.get_account(MEMO)
        if memo is not None:
            self._svm.add_program(MEMO_NEWEST, memo.data)
        for address, elf in programs.items():
            self._svm.add_program(address, elf)

    def set_time(self, slot: int, unix_secs: int) -> None:
        """What programs read from the clock."""
        epoch = slot // _SLOTS_PER_EPOCH
        self._svm.set_clock(Clock(slot, unix_secs, epoch, epoch + 1, unix_secs))

    def set_slot_hashes(self, hashes: Sequence[tuple[int, Hash]]) -> None:
        """What programs read of recent slots, the newest first."""
        self._svm.set_slot_hashes(hashes)

    def account(self, address: Pubkey) -> Account | None:
        return self._svm.get_account(address)

    def put(self, address: Pubkey, account: Account | None) -> None:
        """Set an account, or remove it."""
        self._svm.set_account(address, _NO_ACCOUNT if account is None else account)

    def owned_by(self, program: Pubkey) -> list[tuple[Pubkey, Account]]:
        return self._svm.get_program_accounts(program)

    def rent_exempt_lamports(self, space: int) -> int:
        return self._svm.minimum_balance_for_rent_exemption(space)

    def execute(self, transaction: VersionedTransaction) -> TransactionResult:
        return self._svm.send_transaction(transaction)

    def simulate(self, transaction: VersionedTransaction, state: Mapping[Pubkey, Account | None]) -> SimulateResult:
        """What it would do if the accounts of `state` were so."""
        now = {address: self.account(address) for address in state}
        self._put_all(state.items())
        try:
            return self._svm.simulate_transaction(transaction)
        finally:
            self._put_all(now.items())

    def _put_all(self, accounts: Iterable[tuple[Pubkey, Account | None]]) -> None:
        for address, account in accounts:
            self.put(address, account)
