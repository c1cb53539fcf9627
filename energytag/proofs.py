"""Timestamp proofs: that a transaction was in a block, and when, for anybody to check offline.

A Merkle path (BUMP, BRC-74) leads from the transaction's id to a root, the root stands in a block's header, and
the header states the time that its proof of work sealed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import structlog

from config.errors import Unavailable
from energytag.ground import RegistryGround
from energytag.models.common import moment_of_ms
from overlay.chain import Header
from overlay.headers import HeaderChain
from overlay.records import TRANSACTIONS
from store.port import Document

_TIME: Final = slice(68, 72)

log = structlog.get_logger("metawatt.registry")


@dataclass(frozen=True, slots=True)
class TimestampProof:
    """Where a transaction stands in the chain: `path` is a BUMP. Without a height and a path it is not proven
    yet; without a header it is proven, and the headers of so old a block cannot be had just now."""

    height: int | None = None
    path: bytes | None = None
    header: Header | None = None

    @property
    def is_proven(self) -> bool:
        return self.path is not None

    @property
    def block_time_ms(self) -> int | None:
        """What the block's header says, epoch milliseconds."""
        return None if self.header is None else int.from_bytes(self.header.raw[_TIME], "little") * 1000

    def told(self) -> dict[str, Any]:
        """The proof as JSON; hashes in display order, bytes in hex."""
        if self.path is None:
            return {"status": "unproven"}
        told = {"status": "proven", "block_height": self.height, "merkle_path": self.path.hex()}
        if self.header is not None:
            told |= _told_header(self.header, self.block_time_ms or 0)
        return told


UNPROVEN: Final = TimestampProof()


def _told_header(header: Header, time_ms: int) -> dict[str, Any]:
    return {
        "block_hash": header.hash[::-1].hex(),
        "block_time": moment_of_ms(time_ms),
        "merkle_root": header.merkle_root[::-1].hex(),
        "block_header": header.raw.hex(),
    }


async def proofs_of(ground: RegistryGround, txids: Iterable[bytes]) -> dict[bytes, TimestampProof]:
    """The proof of each of these transactions that is stored, by txid in internal order."""
    found = await ground.store.get_many(TRANSACTIONS, list(dict.fromkeys(txids)))
    documents = list(found.values())
    await _know_headers(ground.headers, documents)
    return {document["_id"]: _proof(document, ground.headers) for document in documents}


async def _know_headers(headers: HeaderChain, documents: Iterable[Document]) -> None:
    """Fetch headers of blocks from before the chain that the node follows, as far as they can be had."""
    heights = {document["height"] for document in documents if document.get("bump") is not None}
    unknown = [height for height in heights if headers.header_at(height) is None]
    if not unknown:
        return
    try:
        await headers.ensure(unknown)
    except Unavailable as error:
        log.info("old headers cannot be had", reason=error.message, headers=len(unknown))


def _proof(document: Document, headers: HeaderChain) -> TimestampProof:
    path, height, block_hash = document.get("bump"), document.get("height"), document.get("block_hash")
    if path is None or height is None:
        return UNPROVEN
    header = headers.header_at(height)
    if header is not None and block_hash is not None and header.hash != block_hash:
        # The block was replaced; the proof keeper is about to take this proof back.
        return UNPROVEN
    return TimestampProof(height, path, header)
