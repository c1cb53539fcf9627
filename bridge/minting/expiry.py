"""Whether a transaction that is not to be found may be given up: decided here, carried out in `settling.py`.

A transaction that was ever sent may land as long as its blockhash is valid, whatever anybody says meanwhile. Only
what all of this proves is given up, and only then may its readings be signed anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

MARGIN_BLOCKS: Final = 32
"""How far past its last valid block the finalized chain must be: nodes behind one address differ by a few."""


class Verdict(StrEnum):
    WAIT = "wait"
    """It may still land, or has landed."""
    GUARDED = "guarded"
    """It cannot land any more, and some of its readings are minted: by what, is to be looked up."""
    EXPIRED = "expired"
    """It did not and cannot land."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was asked, in this order, of a transaction that has no status: the finalized block height; then whether
    the history knows it; then how many of its readings have their guard at finalized."""

    last_valid_block_height: int
    finalized_block_height: int
    is_in_history: bool
    guards: int


def may_be_expired(last_valid_block_height: int, finalized_block_height: int) -> bool:
    """Whether it is worth asking for the rest of the evidence."""
    return finalized_block_height > last_valid_block_height + MARGIN_BLOCKS


def verdict(evidence: Evidence) -> Verdict:
    """The rule. Order matters: what the history knows is settled as it is told there."""
    if not may_be_expired(evidence.last_valid_block_height, evidence.finalized_block_height):
        return Verdict.WAIT
    if evidence.is_in_history:
        return Verdict.WAIT
    return Verdict.GUARDED if evidence.guards else Verdict.EXPIRED
