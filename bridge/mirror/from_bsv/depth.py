"""How far a transaction on BSV is to be relied on: what the engine's rows and the header chain say of an exit.

Only a proof counts, and it is checked here once more, against the header chain as it stands at this moment.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from config.errors import BadRequest
from overlay.headers import HeaderChain
from overlay.merkle import Bump
from overlay.records import OUTPUTS, SPENDS, TRANSACTIONS
from overlay.verify import Roots, check_path
from store.port import Document, Reader
from topics.names import CERTIFICATES


@dataclass(frozen=True, slots=True)
class Deep:
    """Deep enough, and proven."""


@dataclass(frozen=True, slots=True)
class Waits:
    """To be looked at again when the chain has come to `height`."""

    height: int


@dataclass(frozen=True, slots=True)
class Gone:
    """Evicted, or the coin is spent."""

    text: str


@dataclass(frozen=True, slots=True)
class Disputed:
    """The stored proof and the header chain contradict each other."""

    text: str


Verdict: TypeAlias = Deep | Waits | Gone | Disputed


@dataclass(frozen=True, slots=True)
class Place:
    """The rows of a coin: its transaction's, its own, and that of who spends it; None where there is none."""

    txid: bytes
    transaction: Document | None
    output: Document | None
    spend: Document | None

    @property
    def height(self) -> int | None:
        return None if self.transaction is None else self.transaction.get("height")


class Chain(Roots, Protocol):
    """What a verdict asks of the header chain, besides roots."""

    @property
    def unsettled_fork(self) -> int | None: ...


async def load_places(reader: Reader, outpoints: Sequence[bytes]) -> dict[bytes, Place]:
    """The rows of these coins, in one trip."""
    transactions, outputs, spends = await reader.get_each(
        [(TRANSACTIONS, list({each[:32] for each in outpoints})), (OUTPUTS, outpoints), (SPENDS, outpoints)]
    )
    return {
        each: Place(each[:32], transactions.get(each[:32]), outputs.get(each), spends.get(each))
        for each in outpoints
    }


async def know_headers(places: Iterable[Place], headers: HeaderChain) -> None:
    """Have the headers of old blocks, which the chain that is followed does not hold. Raises `Unavailable`."""
    heights = {place.height for place in places}
    known = {height for height in heights if height is not None and height <= headers.tip_height}
    await headers.ensure(known)


def verdict_on(place: Place, confirmations: int, chain: Chain) -> Verdict:
    """How a coin stands. Its own block is the first confirmation."""
    if place.transaction is None or place.output is None or CERTIFICATES not in place.output["topics"]:
        return Gone("the transaction that locked the certificate was evicted")
    if place.spend is not None:
        return Gone(f"the locked certificate is spent by {place.spend['txid'][::-1].hex()}")
    height = place.height
    if height is None:
        return Waits(chain.tip_height + 1)
    deep_enough = height + confirmations - 1
    if chain.tip_height < deep_enough:
        return Waits(deep_enough)
    fault = _against_proof(place.txid, place.transaction, chain)
    if fault is None:
        return Deep()
    # While a reorganisation is being dealt with, rows of what it un-proved may not have been changed yet.
    return Waits(chain.tip_height + 1) if chain.unsettled_fork is not None else Disputed(fault)


def _against_proof(txid: bytes, transaction: Document, roots: Roots) -> str | None:
    """Why the stored proof does not hold; None when it does."""
    path = transaction.get("bump")
    if path is None:
        return f"no Merkle path is stored for block {transaction['height']}"
    try:
        bump = Bump.parse_whole(path)
        check_path(txid, transaction["size"], bump, roots)
    except BadRequest as error:
        return error.message
    if bump.height != transaction["height"]:
        return f"the stored Merkle path is of block {bump.height}, the transaction's row of {transaction['height']}"
    return None
