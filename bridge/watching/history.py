"""The history of an address since a cursor, oldest first, whole or not at all.

The cluster tells it newest first, in pages. A page of an address with a long history would be far from the
cursor, so that the walk goes back to the cursor first, remembers where each page began, and asks for the pages
again in the other order: what is held in memory does not grow with the backlog, but for one signature a page.

An empty page is no proof that there is nothing: the walk is good only when it met the cursor's own transaction,
which each page is asked to reach by naming the one before it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from solders.pubkey import Pubkey
from solders.signature import Signature

from bridge.solana.rpc import SeenSignature, SolanaRpc
from bridge.watching.cursor import Cursor
from config.errors import ErrorCode, Unavailable

PAGE: Final = 1000
_END_ASKED: Final = 4
"""Where no transaction marks the end, so often in a row nothing must come before it."""


class CursorNotMet(Unavailable):
    """The address's history, as the cluster tells it, does not lead back to what was applied last."""

    default_code = ErrorCode.SOLANA_UNAVAILABLE


@dataclass(frozen=True, slots=True)
class _Span:
    """A page that was walked over: how to ask for it again, and how to know that it is the same."""

    before: Signature | None
    oldest: Signature
    count: int


class History:
    """Of one address. `page` is how many entries are asked for at once."""

    def __init__(self, rpc: SolanaRpc, address: Pubkey, page: int = PAGE) -> None:
        self._rpc = rpc
        self._address = address
        self._page_size = page

    async def after(
        self, cursor: Cursor, *, is_doubtful: bool = False
    ) -> AsyncGenerator[list[SeenSignature], None]:
        """Pages of final entries after the cursor, oldest first, failed ones among them. Raises `CursorNotMet`,
        or Unavailable when the cluster contradicts itself; what was handed out before stays true. With
        `is_doubtful`, "nothing at all" is asked again, too."""
        spans: list[_Span] = []
        newest: list[SeenSignature] = []
        oldest: list[SeenSignature] = []
        async for before, oldest in self._back(cursor, is_doubtful=is_doubtful):
            newest = newest if spans else oldest
            spans.append(_Span(before, oldest[-1].signature, len(oldest)))
        if len(spans) > 1:
            yield oldest[::-1]
        for span in reversed(spans[1:-1]):
            yield (await self._again(span))[::-1]
        # The newest page is not asked for again: meanwhile it would be another one.
        if spans:
            yield newest[::-1]

    async def _back(
        self, cursor: Cursor, *, is_doubtful: bool
    ) -> AsyncIterator[tuple[Signature | None, list[SeenSignature]]]:
        """Pages newest first, each with the `before` that it was asked with."""
        before: Signature | None = None
        last_slot: int | None = None
        while True:
            is_end_by_silence = cursor.signature is None and (is_doubtful or before is not None)
            page = await self._page(before, cursor, _END_ASKED if is_end_by_silence else 1)
            if not page:
                _demand_by_slot(cursor)
                return
            _demand_order(page, last_slot)
            fresh, is_met = _newer(page, cursor)
            if fresh:
                yield before, fresh
            if is_met:
                return
            before, last_slot = page[-1].signature, page[-1].slot

    async def _page(self, before: Signature | None, cursor: Cursor, tries: int) -> list[SeenSignature]:
        """A page; empty only when it was so `tries` times."""
        for _ in range(tries):
            page = await self._rpc.signatures_for(
                self._address, before=before, until=cursor.prior, limit=self._page_size
            )
            if page:
                return page
        return []

    async def _again(self, span: _Span) -> list[SeenSignature]:
        page = await self._rpc.signatures_for(self._address, before=span.before, limit=span.count)
        if len(page) != span.count or page[-1].signature != span.oldest:
            raise Unavailable(
                f"the history of {self._address} reads otherwise the second time", ErrorCode.SOLANA_UNAVAILABLE
            )
        return page


def _newer(page: list[SeenSignature], cursor: Cursor) -> tuple[list[SeenSignature], bool]:
    """The entries after the cursor, and whether the page reached it."""
    for index, entry in enumerate(page):
        if cursor.signature is None:
            if entry.slot <= cursor.whole_slot:
                return page[:index], True
        elif entry.signature == cursor.signature:
            return page[:index], True
        elif entry.slot < cursor.slot:
            raise CursorNotMet(f"the history passes slot {cursor.slot} without {cursor.signature}")
    return page, False


def _demand_by_slot(cursor: Cursor) -> None:
    if cursor.signature is not None:
        raise CursorNotMet(f"the history ends before it comes to {cursor.signature}")


def _demand_order(page: list[SeenSignature], last_slot: int | None) -> None:
    slots = [entry.slot for entry in page] if last_slot is None else [last_slot, *(entry.slot for entry in page)]
    if any(newer < older for newer, older in pairwise(slots)):
        raise Unavailable("the history is told out of order", ErrorCode.SOLANA_UNAVAILABLE)
