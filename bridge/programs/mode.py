"""What the minter asks of a way to mint: which instructions mint a reading, and which account proves that it
was minted. The ways are `bridge/programs/own.py` and `bridge/programs/energy_token.py`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from solders.instruction import Instruction
from solders.pubkey import Pubkey
from solders.system_program import ID as SYSTEM_PROGRAM_ID

from bridge.solana.rpc import AccountState, SeenTransaction


@dataclass(frozen=True, slots=True)
class Order:
    """One reading that is to be minted. `key` is the reading's key (16 B); `units` are base units."""

    key: bytes
    meter: str
    interval_start_ms: int
    wallet: Pubkey
    units: int


@dataclass(frozen=True, slots=True)
class Facts:
    """What the cluster said of the accounts that an order needs: whether the destination is there, and what
    the guard's address holds already (anybody may send lamports there)."""

    has_destination: bool
    guard_lamports: int


def is_guard(account: AccountState | None) -> bool:
    """Whether a guard's account proves a mint. An address to which somebody only sent lamports is an account
    of the System program, and proves nothing."""
    return account is not None and account.owner != SYSTEM_PROGRAM_ID


class MintMode(Protocol):
    """A way to mint. Everything is deterministic: the same order has the same guard in every process, after
    every restart, whatever was lost."""

    @property
    def mint(self) -> Pubkey: ...

    @property
    def token_program(self) -> Pubkey: ...

    def guard(self, order: Order) -> Pubkey:
        """The account that the minting transaction creates, and that cannot be created twice. It depends on
        cluster, mint, meter and interval alone, not on the amount: an interval is minted once."""
        ...

    def destination(self, order: Order) -> Pubkey:
        """The token account that is minted to."""
        ...

    def instructions(self, order: Order, facts: Facts) -> list[Instruction]:
        """Guard, destination where it is missing, mint; of one reading."""
        ...

    def memo(self, orders: Sequence[Order]) -> Instruction:
        """The memo of a transaction: the readings' ids, in the order of their mints."""
        ...

    def minted(self, orders: Sequence[Order], seen: SeenTransaction) -> dict[bytes, int]:
        """The units that a final transaction minted for each reading, by its key, read from what the
        transaction did (instructions, checked against balances), never from logs. A reading that it did not
        mint, or not to its destination, is left out. `orders` may be any superset or subset of what is in it."""
        ...
