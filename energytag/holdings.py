"""Certificates as holdings: the index's record, the coin, and the key that it is locked to, put together.

An output stands in an account when its token says so and the basket knows its lock. What merely claims to stand
in an account, locked to who knows whom, is found too, with `key_id` None: nobody can act on it from here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Final

from certificates.token import Token
from energytag.plan import Holding
from energytag.records import BASKET
from lookup.cursor import encode_cursor
from lookup.filters import Filters
from lookup.query import Listing, Sort
from lookup.records import CERTIFICATES
from lookup.search import Shown, search_unmarked
from overlay.builder import Coin
from overlay.outputs import load_outputs
from overlay.transaction import Output, split_outpoint
from store.port import Document, Reader
from topics.certificates import read_script

_FIRST_PAGE: Final = 16
_LARGEST_PAGE: Final = 256
_SCAN_BUDGET: Final = 10_000
"""Index entries that one page may look at."""


async def load(reader: Reader, outpoints: Sequence[bytes]) -> list[Holding]:
    """The certificates at these outpoints (36 bytes), in this order, spent ones too. What is no certificate,
    or is not known here, is left out."""
    if not outpoints:
        return []
    records, locks = await reader.get_each([(CERTIFICATES, outpoints), (BASKET, outpoints)])
    outputs = await load_outputs(reader, [each for each in outpoints if each in records])
    found = (
        _holding(outpoint, outputs[outpoint], records[outpoint], locks.get(outpoint))
        for outpoint in outpoints
        if outpoint in outputs
    )
    return [each for each in found if each is not None]


async def find(reader: Reader, filters: Filters, now_secs: int, limit: int) -> list[Holding]:
    """At most `limit` certificates that the filters admit, as they stand at that moment (epoch seconds); the
    earliest production first, or, when an issuance is named, the first admitted."""
    found: list[bytes] = []
    async for page in shown(reader, filters, now_secs):
        found += [each.record["_id"] for each in page]
        if len(found) >= limit:
            break
    return await load(reader, found[:limit])


async def shown(reader: Reader, filters: Filters, now_secs: int) -> AsyncIterator[Sequence[Shown]]:
    """All records that the filters admit, page by page, in the order of `find`; pages may be empty. Doubles are
    not told."""
    sort = Sort.OLDEST if "issuance_id" in filters.equals else Sort.EARLIEST_PERIOD
    listing = Listing(filters, sort, _FIRST_PAGE)
    while True:
        answer = await search_unmarked(listing, reader, now_secs, _SCAN_BUDGET)
        yield answer.shown
        if answer.end is None:
            return
        cursor = encode_cursor(answer.end, listing.digest)
        listing = Listing(filters, sort, min(2 * listing.limit, _LARGEST_PAGE), cursor)


def _holding(outpoint: bytes, output: Output, record: Document, lock: Document | None) -> Holding | None:
    token = read_script(output.script)
    if not isinstance(token, Token):
        return None
    coin = Coin(*split_outpoint(outpoint), output)
    if lock is None or lock["account_id"] != record["account_id"]:
        return Holding(coin, token, record, record["account_id"])
    return Holding(coin, token, record, record["account_id"], lock["key_id"], lock["sender"])
