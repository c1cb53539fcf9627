"""Who is to blame for a transaction that failed whole, and what becomes of each of its readings.

A transaction fails for one instruction's sake. Its reading is at fault; those that only shared the transaction are
signed anew at once, so that one bad reading holds nobody up. Where nobody can be named, each is tried alone.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from enum import StrEnum
from typing import Any

from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction


class Share(StrEnum):
    """What a reading has of the failure."""

    MINTED = "minted"
    """Its guard exists: something else minted it."""
    FAILED = "failed"
    """It is at fault, and the failure is counted."""
    AGAIN = "again"
    """Another one is at fault: due at once."""
    ALONE = "alone"
    """Nobody can be named: due at once, in a transaction of its own."""


def shares(count: int, culprit: int | None, guarded: Collection[int]) -> list[Share]:
    """The share of each of `count` readings. `culprit` is the one whose instruction failed, None if unknown;
    `guarded` are those whose guard exists."""
    return [_share(index, count, culprit, guarded) for index in range(count)]


def _share(index: int, count: int, culprit: int | None, guarded: Collection[int]) -> Share:
    if index in guarded:
        return Share.MINTED
    if count == 1 or index == culprit:
        return Share.FAILED
    # A reading that is minted already is a fault that explains everything.
    return Share.AGAIN if culprit is not None or guarded else Share.ALONE


def failed_instruction(error: Any) -> int | None:
    """The index of the instruction that failed, from a cluster's error; None when it was none."""
    match error:
        case {"InstructionError": [int(index), _]} if not isinstance(index, bool):
            return index
    return None


def culprit_of(error: Any, transaction: VersionedTransaction, guards: Sequence[Pubkey]) -> int | None:
    """Which reading's instruction failed; `guards` are those of the readings, in their order.

    A reading's instructions lie together and begin where its guard is first named, so the bytes alone tell; what
    lies before the first guard (compute budget) is nobody's. Only the making of a token account may lie before its
    reading's guard (energy_token), and is then taken for the reading's before: what makes it fail is the payer's.
    """
    failed = failed_instruction(error)
    keys = transaction.message.account_keys
    readings = {guard: index for index, guard in enumerate(guards)}
    culprit: int | None = None
    for position, instruction in enumerate(transaction.message.instructions):
        named = [readings[keys[at]] for at in instruction.accounts if at < len(keys) and keys[at] in readings]
        culprit = named[0] if named else culprit
        if position == failed:
            return culprit
    return None
