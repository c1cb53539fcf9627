"""What is between the chains: each open message, by what both chains show of it at one moment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Final

from bridge.mirror.parity.figures import Between
from bridge.mirror.parity.open_messages import OpenMessage
from bridge.mirror.records import ISSUES, MESSAGES
from bridge.mirror.states import Direction, State
from bridge.mirror.to_bsv.posting import Purpose
from overlay.records import SPENDS, TRANSACTIONS, applied
from store.pages import pages
from store.port import Document, Find, Reader

_PAGE: Final = 500


async def admitted(messages: Iterable[OpenMessage], reader: Reader) -> frozenset[bytes]:
    """Transactions of open incoming messages that are in the overlay at this moment."""
    txids = {txid for each in messages for txid in each.issues}
    rows = await reader.get_many(TRANSACTIONS, sorted(txids)) if txids else {}
    return frozenset(txid for txid in txids if applied(rows.get(txid)))


def payments(messages: Iterable[OpenMessage]) -> set[bytes]:
    """Transactions on Solana that may have paid for open messages."""
    return {each.payment for each in messages if each.payment is not None}


def between(
    messages: Iterable[OpenMessage],
    inbox_units: int,
    on_bsv: Collection[bytes],
    landed: Collection[bytes],
    unwithdrawn: int,
) -> Between:
    """`inbox_units` came and are no message yet; `on_bsv` and `landed` are transactions that are there."""
    sums: Counter[str] = Counter(in_flight_in=inbox_units, unentered=inbox_units, unwithdrawn=unwithdrawn)
    for each in messages:
        if each.direction is Direction.IN:
            _came(each, sums, on_bsv, landed)
        else:
            _leaves(each, sums, landed)
    return Between(**sums)


def _came(each: OpenMessage, sums: Counter[str], on_bsv: Collection[bytes], landed: Collection[bytes]) -> None:
    """An incoming message: its tokens are certificates, on their way to be, held, or back."""
    if each.is_refund:
        sums["refunding"] += each.units
        sums["landed_back" if each.payment in landed else "held"] += each.units
        return
    sums["entered_in" if each.was_accounted else "unentered"] += each.units
    if any(txid in on_bsv for txid in each.issues):
        sums["issued"] += each.units
    else:
        sums["held" if each.state is State.HELD else "in_flight_in"] += each.units


def _leaves(each: OpenMessage, sums: Counter[str], landed: Collection[bytes]) -> None:
    """An exit that is in the books, and is not given back, takes its certificate out of those that live."""
    if each.is_refund or not each.was_accounted:
        return
    sums["leaving"] += each.units
    if each.payment in landed:
        sums["landed_out"] += each.units


async def unwithdrawn_units(reader: Reader) -> int:
    """Of exits that ended, and whose withdrawal on BSV was evicted: their certificates are the bridge's, locked,
    until they are withdrawn anew."""
    units = 0
    async for rows in pages(reader, ISSUES, Find("open"), size=_PAGE):
        own = [row for row in rows if row["purpose"] == Purpose.COMPLETE]
        stored = await reader.get_many(TRANSACTIONS, [row["_id"] for row in own]) if own else {}
        evicted = [row for row in own if not applied(stored.get(row["_id"]))]
        units += await _unspent_units(evicted, reader)
    return units


async def _unspent_units(rows: Sequence[Document], reader: Reader) -> int:
    ids = sorted({each for row in rows for each in row["messages"]})
    if not ids:
        return 0
    messages = (await reader.get_many(MESSAGES, ids)).values()
    spends = await reader.get_many(SPENDS, [each["source_event"] for each in messages])
    return sum(each["units"] for each in messages if each["source_event"] not in spends)
