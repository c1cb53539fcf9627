"""The embedded Solana cluster: the real SPL programs on LiteSVM, with slots, finality, history and faults.

One process is the whole cluster. A slot lasts `slot_ms`; a block is confirmed one slot later and final 31
slots later. A block is confirmed only once it is durable.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from solders.account import Account
from solders.hash import Hash
from solders.pubkey import Pubkey
from solders.signature import Signature

from bridge.cluster.events import Listener
from bridge.cluster.executed import Block, Entry, Executed, Forked, Simulated, Status
from bridge.cluster.faults import Faults
from bridge.solana.rpc import Blockhash, Commitment
from overlay.clock import NowMs
from store.port import Store


class Cluster:
    """The cluster on a store of its own. `slot_ms` 0 opens slots only by `advance`.

    Methods that are not coroutines answer from memory. Reads at a commitment show what was true at that
    commitment's slot, and the faults (`faults`) have their say: they may lag, or deny what is there.
    """

    def __init__(
        self,
        store: Store,
        *,
        network: str,
        slot_ms: int = 400,
        now_ms: NowMs,
        programs: Mapping[Pubkey, bytes] = {},  # noqa: B006
    ) -> None:
        """`programs` are ELFs by program id. Raises MetawattError(SETTINGS_INVALID) unless network is dev."""
        raise NotImplementedError

    faults: Faults
    slot_ms: int

    async def open(self) -> None:
        """Open the store, restore the accounts at the last root, execute the blocks after it, start slots."""
        raise NotImplementedError

    async def close(self) -> None:
        """Close the tip's slot, make it durable, and let go."""
        raise NotImplementedError

    # Slots and blocks

    @property
    def genesis_hash(self) -> Hash:
        """Of this data directory alone, and no real cluster's."""
        raise NotImplementedError

    @property
    def first_available(self) -> int:
        """The oldest slot whose transactions are still told of."""
        raise NotImplementedError

    @property
    def transaction_count(self) -> int:
        """Transactions that landed since genesis."""
        raise NotImplementedError

    def slot(self, commitment: Commitment) -> int:
        """The slot of the newest block at that commitment."""
        raise NotImplementedError

    def block_height(self, commitment: Commitment) -> int:
        """How many blocks that block has below it."""
        raise NotImplementedError

    def commitment_of(self, slot: int) -> Commitment | None:
        """How settled the block of a slot is; None when the slot is skipped, or not yet there."""
        raise NotImplementedError

    def latest_blockhash(self, commitment: Commitment) -> Blockhash:
        raise NotImplementedError

    def is_blockhash_valid(self, blockhash: Hash, commitment: Commitment) -> bool:
        """Whether a transaction with it may land in the block after that commitment's newest."""
        raise NotImplementedError

    def blocks(self, first: int, last: int, commitment: Commitment) -> list[int]:
        """Slots that have a block, from `first` to `last` (both included), at most 500,000."""
        raise NotImplementedError

    async def block(self, slot: int, commitment: Commitment = "finalized") -> Block | None:
        """None when the slot is skipped, pruned, or its block not at that commitment."""
        raise NotImplementedError

    async def block_time(self, slot: int) -> int | None:
        """Epoch seconds; None when the slot has no block."""
        raise NotImplementedError

    # Transactions

    async def send(
        self, raw: bytes, *, skip_preflight: bool = False, preflight_commitment: Commitment = "finalized"
    ) -> Signature:
        """Take a signed transaction; it lands in the tip's block at once (or, by a fault, later or never).

        Identical bytes that landed are not executed again: their signature is the answer, or with preflight
        `PreflightFailed` with AlreadyProcessed once they landed at the preflight's commitment, as on a real
        node. What fails in execution lands with its error. What a real leader would not take (a blockhash
        that is too old, a payer who cannot pay) is refused in preflight, and is silently gone without.
        Raises `Malformed`, `BadSignature`, `PreflightFailed`, `AnswerLost`.
        """
        raise NotImplementedError

    async def simulate(
        self,
        raw: bytes,
        *,
        sig_verify: bool = False,
        replace_blockhash: bool = False,
        commitment: Commitment = "finalized",
    ) -> Simulated:
        """Execute on the state at that commitment, without effect. Raises `Malformed`, `BadSignature`."""
        raise NotImplementedError

    async def airdrop(self, address: Pubkey, lamports: int) -> Signature:
        """A transfer from the faucet. Raises BadRequest when it is more than the faucet has."""
        raise NotImplementedError

    def fee_for(self, message: bytes, commitment: Commitment) -> int | None:
        """Lamports for a serialized message; None when its blockhash is not valid. Raises `Malformed`."""
        raise NotImplementedError

    async def statuses(self, signatures: Sequence[Signature], *, history: bool) -> list[Status | None]:
        """In their order. Without `history` only transactions of the last 150 blocks."""
        raise NotImplementedError

    async def executed(self, signature: Signature, commitment: Commitment = "finalized") -> Executed | None:
        """None when it is not known at that commitment."""
        raise NotImplementedError

    def landed_in(self, slot: int) -> tuple[Executed, ...]:
        """The transactions of one of the last blocks (those not final yet, and some more); from memory."""
        raise NotImplementedError

    async def signatures_for(
        self,
        address: Pubkey,
        *,
        before: Signature | None = None,
        until: Signature | None = None,
        limit: int = 1000,
        commitment: Commitment = "finalized",
    ) -> list[Entry]:
        """An address's history, newest first; `before` and `until` are not in it. Empty when `before` is not
        known. At most 1000."""
        raise NotImplementedError

    # Accounts

    def account(self, address: Pubkey, commitment: Commitment) -> Account | None:
        raise NotImplementedError

    def rent_exempt_lamports(self, space: int) -> int:
        raise NotImplementedError

    def program_accounts(
        self,
        program: Pubkey,
        commitment: Commitment,
        *,
        data_size: int | None = None,
        memcmp: Sequence[tuple[int, bytes]] = (),
    ) -> list[tuple[Pubkey, Account]]:
        """Accounts that a program owns, by address; `memcmp` are (offset, bytes) that the data must have."""
        raise NotImplementedError

    def token_accounts_of(self, owner: Pubkey, commitment: Commitment) -> list[tuple[Pubkey, Account]]:
        """Token accounts (both token programs) of a wallet, by address."""
        raise NotImplementedError

    def token_accounts_for(self, mint: Pubkey, commitment: Commitment) -> list[tuple[Pubkey, Account]]:
        """Token accounts of a mint, largest first."""
        raise NotImplementedError

    # What only a dev cluster can do

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Tell `listener` of every event, on the event loop; the answer ends it."""
        raise NotImplementedError

    async def advance(self, slots: int = 1) -> int:
        """Close the tip's slot and open the next, `slots` times; durable on return. The new tip's slot."""
        raise NotImplementedError

    async def fork(self, depth: int, drop: Collection[Signature] | bool = ()) -> Forked:
        """Undo the last `depth` blocks (1 to 30, the tip's included) and open a new slot on what was before.

        Their transactions land again in the new slot, in their order, but for those in `drop` (True: all) and
        those whose blockhash was of an undone block; these vanish, and may be sent again while their blockhash
        is valid. Undone slots are skipped for ever. Raises BadRequest when it would undo what is final.
        """
        raise NotImplementedError

    async def prune(self, before_slot: int) -> int:
        """Forget the transactions and blocks before a slot that is final; the new `first_available`."""
        raise NotImplementedError
