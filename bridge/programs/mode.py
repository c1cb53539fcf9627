"""What is asked of a way to pay tokens out: which instructions do it, and which account proves that it was done.

Readings are minted, by `bridge/programs/own.py` and `bridge/programs/energy_token.py`; what crosses from BSV is
released, by `bridge/programs/release.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias, TypeVar

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

    def __str__(self) -> str:
        return f"the mint of a reading of meter {self.meter}"


class Payable(Protocol):
    """What is paid out once. `key` is its own; `units` are base units; `wallet` is whose associated token account
    it goes to, None where it goes to an account that must be there already."""

    @property
    def key(self) -> bytes: ...

    @property
    def wallet(self) -> Pubkey | None: ...

    @property
    def units(self) -> int: ...


Item = TypeVar("Item", bound=Payable)
_Item_contra = TypeVar("_Item_contra", bound=Payable, contravariant=True)


@dataclass(frozen=True, slots=True)
class Facts:
    """What the cluster said of the accounts that a payment needs: whether the destination is there, and what
    the guard's address holds already (anybody may send lamports there)."""

    has_destination: bool
    guard_lamports: int


def is_guard(account: AccountState | None) -> bool:
    """Whether a guard's account proves a mint. An address to which somebody only sent lamports is an account
    of the System program, and proves nothing."""
    return account is not None and account.owner != SYSTEM_PROGRAM_ID


class PayMode(Protocol[_Item_contra]):
    """A way to pay out. Everything is deterministic: the same item has the same guard in every process, after
    every restart, whatever was lost."""

    @property
    def mint(self) -> Pubkey: ...

    @property
    def token_program(self) -> Pubkey: ...

    def guard(self, item: _Item_contra) -> Pubkey:
        """The account that the paying transaction creates, and that cannot be created twice. Of a reading it
        depends on cluster, mint, meter and interval alone, not on the amount: an interval is minted once."""
        ...

    def destination(self, item: _Item_contra) -> Pubkey:
        """The token account that is paid to."""
        ...

    def instructions(self, item: _Item_contra, facts: Facts) -> list[Instruction]:
        """Guard, destination where it is missing, payment; of one item."""
        ...

    def memo(self, items: Sequence[_Item_contra]) -> Instruction:
        """The memo of a transaction: what it pays out, in the order of its instructions."""
        ...

    def minted(self, items: Sequence[_Item_contra], seen: SeenTransaction) -> dict[bytes, int]:
        """The units that a final transaction paid out for each item, by its key, read from what the transaction
        did (instructions, checked against balances), never from logs. An item that it did not pay, or not to its
        destination, is left out. `items` may be any superset or subset of what is in it."""
        ...


MintMode: TypeAlias = PayMode[Order]
"""A way to mint readings."""
