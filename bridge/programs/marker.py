"""The marker: an empty account that the minting transaction creates, and that cannot be created twice.

Its address is derived with a seed from the minting key and belongs to the Memo program, which never writes to
accounts and never gives them back. `AllocateWithSeed` fails where the account is there already, whatever
amount is asked; lamports that a stranger sent to the address before do not hinder it, as they would hinder
`CreateAccountWithSeed`. The base stays the same for the life of the mint, else old readings could be minted
again.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final

from solders.hash import Hash
from solders.instruction import Instruction
from solders.pubkey import Pubkey
from solders.system_program import ID as SYSTEM_PROGRAM_ID
from solders.system_program import AllocateWithSeedParams, TransferParams, allocate_with_seed, transfer
from spl.memo.constants import MEMO_PROGRAM_ID

from bridge.programs.instructions import Call
from bridge.programs.mode import Order
from bridge.programs.short58 import BYTES as _SEED_BYTES
from bridge.programs.short58 import short58

MARKER_RENT_LAMPORTS: Final = 890_880
"""What an empty account must hold to be exempt from rent; where a cluster asks for less, it may hold more."""

_ALLOCATE_WITH_SEED: Final = 9


class Marker:
    """The markers of one mint's readings. `base` signs every transaction that makes one."""

    def __init__(
        self, genesis: Hash, mint: Pubkey, base: Pubkey, rent_lamports: int = MARKER_RENT_LAMPORTS
    ) -> None:
        self._base = base
        self._rent_lamports = rent_lamports
        self._hasher = sha256(b"gwx1 reading" + bytes(genesis) + bytes(mint))

    def seed(self, order: Order) -> str:
        """Of the cluster, the mint, the meter and the interval; not of the amount."""
        hasher = self._hasher.copy()
        hasher.update(order.meter.encode() + order.interval_start_ms.to_bytes(8, "big"))
        return short58(hasher.digest()[:_SEED_BYTES])

    def address(self, order: Order) -> Pubkey:
        return Pubkey.create_with_seed(self._base, self.seed(order), MEMO_PROGRAM_ID)

    def instructions(self, order: Order, payer: Pubkey, lamports: int) -> list[Instruction]:
        """Make the marker, whose address holds `lamports` already."""
        seed = self.seed(order)
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


def allocated(call: Call) -> Pubkey | None:
    """The address that an instruction allocates with a seed; None for any other instruction."""
    is_allocation = (
        call.program == SYSTEM_PROGRAM_ID
        and call.data[:4] == _ALLOCATE_WITH_SEED.to_bytes(4, "little")
        and call.accounts
    )
    return call.accounts[0] if is_allocation else None
