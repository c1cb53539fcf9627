"""What the node asks of a chain: headers to trust, a way to broadcast, proofs to fetch.

Two ports, each with an HTTP client that talks to a real network's service and to the embedded dev chain
alike: `Headers` (the Block Headers Service's API) and `Broadcaster` (ARC's API).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Header:
    """A block header. Hashes are in internal byte order; `raw` are its 80 bytes."""

    height: int
    hash: bytes
    previous: bytes
    merkle_root: bytes
    raw: bytes


class HeaderSource(Protocol):
    """A headers service. Every method raises `Unavailable` when it does not answer."""

    async def tip(self) -> Header:
        """The tip of the longest chain."""
        ...

    async def range(self, start: int, count: int) -> list[Header]:
        """Headers of the longest chain by height, ascending; fewer than `count` at the tip."""
        ...

    async def close(self) -> None: ...


class TxStatus(StrEnum):
    """ARC's statuses, as on the wire."""

    UNKNOWN = "UNKNOWN"
    QUEUED = "QUEUED"
    RECEIVED = "RECEIVED"
    STORED = "STORED"
    ANNOUNCED_TO_NETWORK = "ANNOUNCED_TO_NETWORK"
    REQUESTED_BY_NETWORK = "REQUESTED_BY_NETWORK"
    SENT_TO_NETWORK = "SENT_TO_NETWORK"
    ACCEPTED_BY_NETWORK = "ACCEPTED_BY_NETWORK"
    SEEN_IN_ORPHAN_MEMPOOL = "SEEN_IN_ORPHAN_MEMPOOL"
    SEEN_ON_NETWORK = "SEEN_ON_NETWORK"
    DOUBLE_SPEND_ATTEMPTED = "DOUBLE_SPEND_ATTEMPTED"
    REJECTED = "REJECTED"
    MINED_IN_STALE_BLOCK = "MINED_IN_STALE_BLOCK"
    MINED = "MINED"

    @property
    def refused(self) -> bool:
        """Terminal: the network will not mine this transaction."""
        return self in (TxStatus.REJECTED, TxStatus.DOUBLE_SPEND_ATTEMPTED)


@dataclass(frozen=True, slots=True)
class Broadcast:
    """What a broadcaster says of a transaction. `merkle_path` is a BUMP in binary when mined;
    `competing_txids` (display hex) name the other side of a double spend."""

    txid: bytes
    status: TxStatus
    detail: str = ""
    merkle_path: bytes | None = None
    block_height: int | None = None
    competing_txids: tuple[str, ...] = ()


class Broadcaster(Protocol):
    """ARC. Both methods raise `Unavailable` when it does not answer or answers with a 5xx or 429."""

    async def broadcast(self, transaction: bytes) -> Broadcast:
        """Send one transaction in Extended Format (BRC-30), or raw when the network knows what it spends. A
        refusal is an answer (`status.refused`, with `detail`), not an exception."""
        ...

    async def status(self, txid: bytes) -> Broadcast | None:
        """What became of a transaction; None when it is not known there."""
        ...

    async def close(self) -> None: ...
