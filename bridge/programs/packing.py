"""Payments into transactions, each as full as the network allows.

The rule of fairness: a transaction takes the oldest order that waits, then the next ones while they fit. Past
one that does not fit, younger ones are tried (those that share a wallet are smaller), until `LOOKAHEAD` did
not fit. An order that was passed by keeps its place, so that the nth order is in the nth transaction at the
latest.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeAlias

from solders.instruction import Instruction
from solders.pubkey import Pubkey
from spl.token.constants import ASSOCIATED_TOKEN_PROGRAM_ID

from bridge.programs.budget import with_priority
from bridge.programs.mode import Facts, Item, PayMode
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
class Packed(Generic[Item]):
    """What becomes one transaction, before it has a blockhash. `orders` are in the order of their payments."""

    orders: tuple[Item, ...]
    instructions: tuple[Instruction, ...]
    payer: Pubkey


class OrderTooLarge(MetawattError):
    """One payment does not fit into a transaction."""

    default_code = ErrorCode.MINTING_FORBIDS


@dataclass(frozen=True, slots=True)
class _Piece:
    """An instruction, and what it adds to a transaction's size: looked at once, however often it is tried."""

    instruction: Instruction
    keys: frozenset[Pubkey]
    signers: frozenset[Pubkey]
    body_bytes: int

    @classmethod
    def of(cls, instruction: Instruction) -> _Piece:
        accounts, data_bytes = instruction.accounts, len(instruction.data)
        keys = [meta.pubkey for meta in accounts]
        signers = [key for key, meta in zip(keys, accounts, strict=True) if meta.is_signer]
        body_bytes = 1 + _length_bytes(len(keys)) + len(keys) + _length_bytes(data_bytes) + data_bytes
        return cls(instruction, frozenset((instruction.program_id, *keys)), frozenset(signers), body_bytes)


_Ordered: TypeAlias = tuple[Item, list[_Piece]]


def packed(
    mode: PayMode[Item],
    orders: Iterable[tuple[Item, Facts]],
    payer: Pubkey,
    *,
    priority_micro_lamports: int = 0,
    max_orders: int = MAX_ORDERS,
    max_transactions: int | None = None,
) -> list[Packed[Item]]:
    """The orders, oldest first as they are given, in as few transactions as fit the rule above; all of them, or
    as many as `max_transactions` hold.

    Raises `OrderTooLarge` for an order that does not fit alone, and whatever `mode.instructions` raises.
    """
    waiting = _Waiting(
        (order, [_Piece.of(each) for each in mode.instructions(order, facts)]) for order, facts in orders
    )
    found: list[Packed[Item]] = []
    while (max_transactions is None or len(found) < max_transactions) and (first := waiting.take()) is not None:
        waiting.put_back([first])
        load = _Load(mode, payer, priority_micro_lamports)
        _fill(load, waiting, max_orders)
        found.append(load.packed())
    return found


def transaction_bytes(instructions: Iterable[Instruction], payer: Pubkey) -> int:
    """The size of the signed legacy transaction with these instructions, which is two bytes smaller than the
    same of version 0 without lookup tables."""
    return _Size.of(payer).with_all([_Piece.of(each) for each in instructions]).total()


class _Waiting(Generic[Item]):
    """The orders that wait, in their order; what they are made of is found out as they are taken."""

    def __init__(self, orders: Iterator[_Ordered[Item]]) -> None:
        self._orders = orders
        self._front: deque[_Ordered[Item]] = deque()

    def take(self) -> _Ordered[Item] | None:
        """The next one; None when there is none."""
        return self._front.popleft() if self._front else next(self._orders, None)

    def put_back(self, orders: Sequence[_Ordered[Item]]) -> None:
        """In front of the others."""
        self._front.extendleft(reversed(orders))


@dataclass(frozen=True, slots=True)
class _Size:
    """Counts what serialisation will write, without serialising."""

    keys: frozenset[Pubkey]
    signers: frozenset[Pubkey]
    instructions: int = 0
    body_bytes: int = 0

    @classmethod
    def of(cls, payer: Pubkey) -> _Size:
        return cls(frozenset((payer,)), frozenset((payer,)))

    def with_all(self, pieces: Sequence[_Piece]) -> _Size:
        return _Size(
            self.keys.union(*[piece.keys for piece in pieces]),
            self.signers.union(*[piece.signers for piece in pieces]),
            self.instructions + len(pieces),
            self.body_bytes + sum([piece.body_bytes for piece in pieces]),
        )

    def total(self) -> int:
        signers, keys = len(self.signers), len(self.keys)
        return (
            _length_bytes(signers)
            + _SIGNATURE_BYTES * signers
            + _HEADER_AND_BLOCKHASH_BYTES
            + _length_bytes(keys)
            + _KEY_BYTES * keys
            + _length_bytes(self.instructions)
            + self.body_bytes
        )


def _length_bytes(length: int) -> int:
    """Of Solana's compact-u16."""
    return 1 if length < 0x80 else 2 if length < 0x4000 else 3


class _Load(Generic[Item]):
    """A transaction that is being filled."""

    def __init__(self, mode: PayMode[Item], payer: Pubkey, priority_micro_lamports: int) -> None:
        self._mode = mode
        self._payer = payer
        self._priority = priority_micro_lamports
        self._size = _Size.of(payer).with_all([_Piece.of(each) for each in with_priority((), self._priority)])
        self._instructions: list[Instruction] = []
        self._free_bytes = PACKET_BYTES
        self.orders: list[Item] = []

    @property
    def has_room(self) -> bool:
        return self._free_bytes >= _SMALLEST_ORDER_BYTES

    def take(self, order: Item, pieces: Sequence[_Piece]) -> bool:
        """Take the order if the transaction stays within a packet."""
        added = [one for one in pieces if not self._is_there(one.instruction)]
        if sum([one.body_bytes for one in added]) > self._free_bytes:
            return False  # without counting keys, which costs more
        size = self._size.with_all(added)
        if size.total() > PACKET_BYTES:
            return False
        total = size.with_all([_Piece.of(self._mode.memo([*self.orders, order]))]).total()
        if total > PACKET_BYTES:
            return False
        self._size, self._free_bytes = size, PACKET_BYTES - total
        self._instructions += [one.instruction for one in added]
        self.orders.append(order)
        return True

    def _is_there(self, instruction: Instruction) -> bool:
        """Two payments to a wallet need its account once; every other instruction is of one payment."""
        return instruction.program_id == ASSOCIATED_TOKEN_PROGRAM_ID and instruction in self._instructions

    def packed(self) -> Packed[Item]:
        whole = [*self._instructions, self._mode.memo(self.orders)]
        return Packed(tuple(self.orders), tuple(with_priority(whole, self._priority)), self._payer)


def _fill(load: _Load[Item], waiting: _Waiting[Item], max_orders: int) -> None:
    """Take from `waiting` by the rule; those that were passed by stay in front, in their order."""
    passed: list[_Ordered[Item]] = []
    while load.has_room and len(load.orders) < max_orders and len(passed) < LOOKAHEAD:
        if (ordered := waiting.take()) is None:
            break
        if not load.take(*ordered):
            if not load.orders:
                raise OrderTooLarge(f"No transaction of {PACKET_BYTES} bytes takes {ordered[0]}")
            passed.append(ordered)
    waiting.put_back(passed)
