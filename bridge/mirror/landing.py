"""Whether a message's last transaction may have landed at its destination, or may yet.

Where it may, nothing else is begun: no refund, no second attempt at a person's word.
"""

from __future__ import annotations

from typing import Final

from bridge.mirror.message import Message
from bridge.mirror.records import RELEASES
from bridge.mirror.states import Direction, Hold
from bridge.records import AttemptState
from overlay.records import EVICTIONS, TRANSACTIONS, applied
from store.port import Reader

_DEAD: Final = (AttemptState.EXPIRED, AttemptState.FAILED)


async def may_land(message: Message, reader: Reader) -> str | None:
    """Why it may, for people; None when it cannot have landed, and never will."""
    if message.reason is not None and message.reason.code is Hold.MARKER_FOREIGN:
        return "its marker is on Solana: something of the bridge's key has paid for it"
    if message.destination_tx is None:
        return None
    to_bsv = (message.direction is Direction.IN) is not message.is_refund
    if to_bsv:
        return await _on_bsv(message.destination_tx, message, reader)
    return await _on_solana(message.destination_tx, reader)


async def _on_bsv(txid: bytes, message: Message, reader: Reader) -> str | None:
    """A transaction that this node admitted is out until it was evicted: what it spends was spent otherwise, or the
    network refused it for good."""
    if applied(await reader.get(TRANSACTIONS, txid)):
        return f"its transaction {txid[::-1].hex()} on BSV is admitted"
    is_conflict = message.reason is not None and message.reason.code is Hold.DESTINATION_CONFLICT
    if is_conflict or await reader.get(EVICTIONS, txid) is not None:
        return None
    return f"its transaction {txid[::-1].hex()} on BSV was signed, and not evicted"


async def _on_solana(signature: bytes, reader: Reader) -> str | None:
    row = await reader.get(RELEASES, signature)
    if row is not None and row["state"] in _DEAD:
        return None
    return "its transaction on Solana was signed, and has neither failed nor expired"
