"""What the bridge asks of a Solana cluster. `bridge/solana/client.py` asks a real one, or the embedded one.

Every call raises `Unavailable(SOLANA_UNAVAILABLE)` when the cluster does not answer, or answers with an error
of its own. "Not found" is an answer, and may be a lie: no caller takes it for proof of absence alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

from solders.hash import Hash
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.transaction import VersionedTransaction

from config.errors import ErrorCode, MetawattError

Commitment: TypeAlias = Literal["processed", "confirmed", "finalized"]


class SendRefused(MetawattError):
    """The cluster's preflight refused a transaction; `error` is the cluster's own, as JSON has it.

    It says nothing of what became of identical bytes that were sent before.
    """

    default_code = ErrorCode.SOLANA_UNAVAILABLE

    def __init__(self, message: str, error: Any = None, logs: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.error = error
        self.logs = tuple(logs)


@dataclass(frozen=True, slots=True)
class Blockhash:
    value: Hash
    last_valid_block_height: int


@dataclass(frozen=True, slots=True)
class Status:
    """Of a transaction that the cluster knows; `error` is None when it succeeded."""

    slot: int
    commitment: Commitment
    error: Any | None


@dataclass(frozen=True, slots=True)
class SeenSignature:
    """An entry of an address's history."""

    signature: Signature
    slot: int
    error: Any | None
    block_time: int | None


@dataclass(frozen=True, slots=True)
class TokenBalance:
    """What a token account held before or after a transaction, in base units."""

    account: Pubkey
    mint: Pubkey
    owner: Pubkey | None
    program: Pubkey | None
    units: int


@dataclass(frozen=True, slots=True)
class InnerInstruction:
    """An instruction that another one called; indexes are into the transaction's `account_keys`."""

    program_index: int
    accounts: tuple[int, ...]
    data: bytes
    stack_height: int | None


@dataclass(frozen=True, slots=True)
class SeenTransaction:
    """A transaction with what it did. `inner[i]` is what the outer instruction `i` called; `account_keys` has
    those of lookup tables at its end. `logs` is None when the cluster kept none."""

    signature: Signature
    slot: int
    block_time: int | None
    error: Any | None
    transaction: VersionedTransaction
    account_keys: tuple[Pubkey, ...]
    logs: tuple[str, ...] | None
    inner: dict[int, tuple[InnerInstruction, ...]]
    pre_tokens: tuple[TokenBalance, ...]
    post_tokens: tuple[TokenBalance, ...]
    fee: int


@dataclass(frozen=True, slots=True)
class AccountState:
    """An account that exists."""

    lamports: int
    owner: Pubkey
    data: bytes


@dataclass(frozen=True, slots=True)
class AccountsAt:
    """Accounts as of one slot."""

    slot: int
    accounts: tuple[AccountState | None, ...]


class SolanaRpc(Protocol):
    """Calls of Solana's JSON-RPC, typed. The commitment is finalized unless a call says otherwise."""

    async def genesis_hash(self) -> Hash: ...

    async def slot(self, commitment: Commitment = "finalized") -> int: ...

    async def block_height(self, commitment: Commitment = "finalized") -> int: ...

    async def first_available_slot(self) -> int:
        """The oldest slot whose transactions the cluster still tells of."""
        ...

    async def latest_blockhash(self, commitment: Commitment = "confirmed") -> Blockhash: ...

    async def send(self, raw: bytes, *, skip_preflight: bool = False) -> Signature:
        """Send the bytes of a signed transaction. Raises `SendRefused` when preflight refuses them."""
        ...

    async def statuses(self, signatures: Sequence[Signature], *, history: bool = True) -> list[Status | None]:
        """Any number of signatures, answered in their order; asked in pages of 256. With `history`, also of
        transactions that the cluster no longer has in its recent cache."""
        ...

    async def transaction(
        self, signature: Signature, commitment: Commitment = "finalized"
    ) -> SeenTransaction | None: ...

    async def signatures_for(
        self,
        address: Pubkey,
        *,
        before: Signature | None = None,
        until: Signature | None = None,
        limit: int = 1000,
        commitment: Commitment = "finalized",
    ) -> list[SeenSignature]:
        """One page of an address's history, newest first."""
        ...

    async def accounts(
        self, addresses: Sequence[Pubkey], commitment: Commitment = "finalized"
    ) -> list[AccountState | None]:
        """Any number of accounts, in their order; asked in pages of 100."""
        ...

    async def accounts_at(self, addresses: Sequence[Pubkey]) -> AccountsAt:
        """At most 100 accounts, in their order, as they are at one final slot."""
        ...

    async def rent_lamports(self, space: int) -> int:
        """What an account of that size must hold to be exempt from rent."""
        ...

    async def balance(self, address: Pubkey, commitment: Commitment = "confirmed") -> int: ...

    async def airdrop(self, address: Pubkey, lamports: int) -> Signature:
        """From a test cluster's faucet."""
        ...

    async def close(self) -> None: ...
