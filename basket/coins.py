"""The coins for fees as they are kept: a row for each, from when it comes in until its spending is past doubt.

A coin that was spent stays for as long as the transaction that did it may still be evicted: then it is live
again. Spending is a compare-and-set on `live`, so that of two processes that chose one coin only one's commit
goes through.
"""

from __future__ import annotations

from typing import Final

from basket.funds import FundCoin
from basket.purse import PurseCoin
from overlay.builder import Coin
from overlay.transaction import Output, split_outpoint
from store.port import Collection, Delete, Document, Find, Index, Insert, Patch, Reader, Write

FUND_COINS: Final = Collection(
    "basket_coins",
    key="bytes",
    fields={"live": "int", "spender": "bytes", "spent_ms": "int", "arrived_ms": "int"},
    indexes=(
        Index("live", ("live",), partial=True),
        Index("spender", ("spender",), partial=True),
        Index("spent", ("spent_ms",), partial=True),
        Index("arrived", ("arrived_ms",), partial=True),
    ),
)
"""Key: outpoint. `live` are its satoshis until it is spent; then `spent_ms` is when, and `spender` the txid that
did it: None for one that gave no change, or none yet, whose coins do not come back. `arrived_ms` is set but for
change. Besides: `satoshis`, `script`, `key_id`, `is_light`, and `depth`, the unproven transactions of the node's
own that it stood on when it was made."""


def coin_row(coin: PurseCoin, arrived_ms: int | None = None) -> Insert:
    """A new coin; one that is there already stays as it is."""
    output = coin.fund.coin.output
    document = {
        "_id": coin.outpoint,
        "live": output.satoshis,
        "spender": None,
        "spent_ms": None,
        "arrived_ms": arrived_ms,
        "satoshis": output.satoshis,
        "script": output.script,
        "key_id": coin.fund.key_id,
        "depth": coin.depth,
        "is_light": coin.is_light,
    }
    return Insert(FUND_COINS, document, keep=arrived_ms is not None)


def read_coin(document: Document) -> PurseCoin:
    txid, index = split_outpoint(document["_id"])
    fund = FundCoin(Coin(txid, index, Output(document["satoshis"], document["script"])), document["key_id"])
    return PurseCoin(fund, document["depth"], document["is_light"])


def spent(coin: FundCoin, spender: bytes | None, now_ms: int) -> Write:
    """`Conflict` when it is spent already."""
    changes = {"live": None, "spender": spender, "spent_ms": now_ms}
    return Patch(FUND_COINS, coin.outpoint, changes, expect={"live": coin.coin.output.satoshis})


def revived(document: Document) -> Write:
    """The transaction that had spent the coin is gone."""
    changes = {"live": document["satoshis"], "spender": None, "spent_ms": None}
    return Patch(FUND_COINS, document["_id"], changes, expect={"live": None, "spender": document["spender"]})


def buried(document: Document) -> Write:
    """The transaction that had made the coin is gone."""
    return Delete(FUND_COINS, document["_id"])


async def kept(reader: Reader) -> tuple[int, int]:
    """The satoshis of all live coins, and how many coins they are."""
    rows = await reader.aggregate(FUND_COINS, Find("live"), (), "live")
    return sum(row.total for row in rows), sum(row.count for row in rows)
