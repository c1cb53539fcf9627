"""Orders into transactions, each as full as the network allows.

The rule of fairness: a transaction takes the oldest order that waits, then the next ones while they fit. Past
one that does not fit, younger ones are tried (those that share a wallet are smaller), until `LOOKAHEAD` did
not fit. An order that was passed by keeps its place, so that the nth order is in the nth transaction at the
latest.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from solders.instruction import Instruction
from solders.pubkey import Pubkey
from spl.token.constants import ASSOCIATED_TOKEN_PROGRAM_ID

from bridge.programs.budget import with_priority
from bridge.programs.mode import Facts, MintMode, Order
from config.errors import ErrorCode, MetawattError

PACKET_BYTES: Final = 1232
MAX_ORDERS: Final = 16
"""Most orders in one transaction, however small they are."""
LOOKAHEAD: Final = 8
"""Orders that may be found not to fit before a transaction is closed."""

_SIGNATURE_BYTES: Final = 64
_KEY_BYTES: Final = 32
_SMALLEST_ORDER_BYTES: Final = _KEY_BYTES + 8  # a guard's key and an amount: with less room, none is tried
_HEADER_AND_BLOCKHASH_BYTES: Final = 3 + 32


@dataclass(frozen=True, slots=True)
class Packed:
    """What becomes one transaction, before it has a blockhash. `orders` are in the order of their mints."""

    orders: tuple[Order, ...]
    instructions: tuple[Instruction, ...]
    payer: Pubkey


class OrderTooLarge(MetawattError):
    """One reading's mint does not fit into a transaction."""

    default_code = ErrorCode.MINTING_FORBIDS


def packed(
    mode: MintMode,
    orders: Sequence[tuple[Order, Facts]],
    payer: Pubkey,
    *,
    priority_micro_lamports: int = 0,
    max_orders: int = MAX_ORDERS,
) -> list[Packed]:
    """All orders, oldest first as they are given, in as few transactions as fit the rule above.

    Raises `OrderTooLarge` for an order that does not fit alone, and whatever `mode.instructions` raises.
    """
    waiting = deque((order, mode.instructions(order, facts)) for order, facts in orders)
    found: list[Packed] = []
    while waiting:
        load = _Load(mode, payer, priority_micro_lamports)
        _fill(load, waiting, max_orders)
        found.append(load.packed())
    return found


def transaction_bytes(instructions: Iterable[Instruction], payer: Pubkey) -> int:
    """The size of the signed legacy transaction with these instructions, which is two bytes smaller than the
    same of version 0 without lookup tables."""
    size = _Size(payer)
    for instruction in instructions:
        size.add(instruction)
    return size.total()


class _Size:
    """Counts what serialisation will write, without serialising."""

    def __init__(self, payer: Pubkey) -> None:
        self._keys = {payer}
        self._signers = {payer}
        self._instructions = 0
        self._body_bytes = 0

    def add(self, instruction: Instruction) -> None:
        accounts, data_bytes = instruction.accounts, len(instruction.data)
        self._keys.add(instruction.program_id)
        self._keys.update(meta.pubkey for meta in accounts)
        self._signers.update(meta.pubkey for meta in accounts if meta.is_signer)
        self._instructions += 1
        self._body_bytes += (
            1 + _length_bytes(len(accounts)) + len(accounts) + _length_bytes(data_bytes) + data_bytes
        )

    def with_all(self, instructions: Iterable[Instruction]) -> _Size:
        other = _Size.__new__(_Size)
        other._keys, other._signers = set(self._keys), set(self._signers)
        other._instructions, other._body_bytes = self._instructions, self._body_bytes
        for instruction in instructions:
            other.add(instruction)
        return other

    def total(self) -> int:
        signers, keys = len(self._signers), len(self._keys)
        return (
            _length_bytes(signers)
            + _SIGNATURE_BYTES * signers
            + _HEADER_AND_BLOCKHASH_BYTES
            + _length_bytes(keys)
            + _KEY_BYTES * keys
            + _length_bytes(self._instructions)
            + self._body_bytes
        )


def _length_bytes(length: int) -> int:
    """Of Solana's compact-u16."""
    return 1 if length < 0x80 else 2 if length < 0x4000 else 3


class _Load:
    """A transaction that is being filled."""

    def __init__(self, mode: MintMode, payer: Pubkey, priority_micro_lamports: int) -> None:
        self._mode = mode
        self._payer = payer
        self._priority = priority_micro_lamports
        self._size = _Size(payer).with_all(with_priority((), priority_micro_lamports))
        self._instructions: list[Instruction] = []
        self._free_bytes = PACKET_BYTES
        self.orders: list[Order] = []

    @property
    def has_room(self) -> bool:
        return self._free_bytes >= _SMALLEST_ORDER_BYTES

    def take(self, order: Order, instructions: Sequence[Instruction]) -> bool:
        """Take the order if the transaction stays within a packet."""
        added = [one for one in instructions if not self._is_there(one)]
        size = self._size.with_all(added)
        total = size.with_all([self._mode.memo([*self.orders, order])]).total()
        if total > PACKET_BYTES:
            return False
        self._size, self._free_bytes = size, PACKET_BYTES - total
        self._instructions += added
        self.orders.append(order)
        return True

    def _is_there(self, instruction: Instruction) -> bool:
        """Two readings of a wallet need its account once; every other instruction is of one reading."""
        return instruction.program_id == ASSOCIATED_TOKEN_PROGRAM_ID and instruction in self._instructions

    def packed(self) -> Packed:
        whole = [*self._instructions, self._mode.memo(self.orders)]
        return Packed(tuple(self.orders), tuple(with_priority(whole, self._priority)), self._payer)


def _fill(load: _Load, waiting: deque[tuple[Order, list[Instruction]]], max_orders: int) -> None:
    """Take from `waiting` by the rule; those that were passed by stay in front, in their order."""
    passed: list[tuple[Order, list[Instruction]]] = []
    while waiting and load.has_room and len(load.orders) < max_orders and len(passed) < LOOKAHEAD:
        order, instructions = waiting.popleft()
        if not load.take(order, instructions):
            if not load.orders:
                raise OrderTooLarge(f"The mint of a reading of meter {order.meter} exceeds {PACKET_BYTES} bytes")
            passed.append((order, instructions))
    waiting.extendleft(reversed(passed))
