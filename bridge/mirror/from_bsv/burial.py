"""Burial: how many blocks a transaction on BSV has, as the header chain stands at this moment, and must have."""

from __future__ import annotations

from typing import Protocol

from config.settings import BridgeSettings
from store.port import Document


class Blocks(Protocol):
    """What is asked of the header chain."""

    @property
    def tip_height(self) -> int: ...

    def hash_at(self, height: int) -> bytes | None: ...


def confirmations_of(transaction: Document | None, blocks: Blocks) -> int:
    """Blocks from the transaction's own to the tip, both counted; 0 while it has no proof, or one of a block that
    the chain does not hold any more."""
    height: int | None = None if transaction is None else transaction.get("height")
    if transaction is None or height is None or blocks.hash_at(height) != transaction["block_hash"]:
        return 0
    return max(0, blocks.tip_height - height + 1)


def confirmations_needed(wh: int, bridge: BridgeSettings) -> int:
    """Blocks that an exit of so much must have: a large one never fewer than others."""
    return max(bridge.confirmations, bridge.large_confirmations) if wh >= bridge.large_wh else bridge.confirmations
