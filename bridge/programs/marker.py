"""The marker: an empty account that the paying transaction creates, and that cannot be created twice.

Its address is derived with a seed from the key that pays, and belongs to the Memo program, which never writes to
accounts and never gives them back. `AllocateWithSeed` fails where the account is there already, whatever
amount is asked; lamports that a stranger sent to the address before do not hinder it, as they would hinder
`CreateAccountWithSeed`. The base stays the same for the life of the mint, else what was paid out could be
paid out again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from hashlib import sha256
from typing import Final, Generic

from solders.hash import Hash
from solders.instruction import Instruction
from solders.pubkey import Pubkey
from solders.system_program import ID as SYSTEM_PROGRAM_ID
from solders.system_program import AllocateWithSeedParams, TransferParams, allocate_with_seed, transfer
from spl.memo.constants import MEMO_PROGRAM_ID

from bridge.programs.instructions import Call
from bridge.programs.mode import Item, Order
from bridge.programs.short58 import BYTES as _SEED_BYTES
from bridge.programs.short58 import short58

MARKER_RENT_LAMPORTS: Final = 890_880
"""What an empty account must hold to be exempt from rent; where a cluster asks for less, it may hold more."""

_ALLOCATE_WITH_SEED: Final = 9


class Markers(ABC, Generic[Item]):
    """The markers of what one mint's tokens are paid out for. `base` signs every transaction that makes one, and
    `purpose` keeps seeds of one kind apart from those of another."""

    def __init__(
        self,
        purpose: bytes,
        genesis: Hash,
        mint: Pubkey,
        base: Pubkey,
        rent_lamports: int = MARKER_RENT_LAMPORTS,
    ) -> None:
        self._base = base
        self._rent_lamports = rent_lamports
        self._hasher = sha256(purpose + bytes(genesis) + bytes(mint))

    @abstractmethod
    def name(self, item: Item) -> bytes:
        """What tells it from all others, whatever its amount."""

    def seed(self, item: Item) -> str:
        """Of the cluster, the mint and the item's name."""
        hasher = self._hasher.copy()
        hasher.update(self.name(item))
        return short58(hasher.digest()[:_SEED_BYTES])

    def address(self, item: Item) -> Pubkey:
        return Pubkey.create_with_seed(self._base, self.seed(item), MEMO_PROGRAM_ID)

    def instructions(self, item: Item, payer: Pubkey, lamports: int) -> list[Instruction]:
        """Make the marker, whose address holds `lamports` already."""
        seed = self.seed(item)
        address = Pubkey.create_with_seed(self._base, seed, MEMO_PROGRAM_ID)
        allocation = allocate_with_seed(
            AllocateWithSeedParams(address=address, base=self._base, seed=seed, space=0, owner=MEMO_PROGRAM_ID)
        )
        shortfall = self._rent_lamports - lamports
        if shortfall <= 0:
            return [allocation]
        return [
            transfer(TransferParams(from_pubkey=payer, to_pubkey=address, lamports=shortfall)),
            allocation,
        ]


class Marker(Markers[Order]):
    """The markers of one mint's readings."""

    def __init__(
        self, genesis: Hash, mint: Pubkey, base: Pubkey, rent_lamports: int = MARKER_RENT_LAMPORTS
    ) -> None:
        super().__init__(b"gwx1 reading", genesis, mint, base, rent_lamports)

    def name(self, item: Order) -> bytes:
        """The meter and the interval; not the amount."""
        return item.meter.encode() + item.interval_start_ms.to_bytes(8, "big")


def allocated(call: Call) -> Pubkey | None:
    """The address that an instruction allocates with a seed; None for any other instruction."""
    is_allocation = (
        call.program == SYSTEM_PROGRAM_ID
        and call.data[:4] == _ALLOCATE_WITH_SEED.to_bytes(4, "little")
        and call.accounts
    )
    return call.accounts[0] if is_allocation else None
