"""Exits that wait for blocks: asleep until the chain has come to a height, and woken then.

What is remembered here is lost with the process, and may be: at the start everything that sleeps is woken once,
and each sleeper is due by itself after a while, for what no block tells of (a proof that trails its block, an
eviction).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Final

from bridge.mirror.book import Book, Page
from bridge.mirror.message import Message, load_messages
from bridge.mirror.records import MESSAGES
from bridge.mirror.states import Direction, State
from overlay.headers import HeaderChain
from store.pages import every
from store.port import Find, Store

BATCH: Final = 256
SHORTEST_NAP_MS: Final = 250
LONGEST_NAP_MS: Final = 60_000
_MAY_SLEEP: Final = frozenset({State.OBSERVED, State.ACCOUNTED, State.DST_EXPIRED})


class Sleepers:
    """Who waits for which height. One worker's."""

    def __init__(self, store: Store, book: Book, headers: HeaderChain) -> None:
        self._store = store
        self._book = book
        self._headers = headers
        self._by_height: defaultdict[int, set[bytes]] = defaultdict(set)
        self._tip = -1
        self._tip_seen_ms = 0
        self._has_begun = False

    def put_to_sleep(self, message: Message, height: int, page: Page) -> None:
        """Put the message off until the chain is at `height`, or a nap is over."""
        self._see_tip(page.now_ms)
        self._by_height[height].add(message.id)
        page.put_off(message, page.now_ms + self._nap_ms(height, page.now_ms))

    def _nap_ms(self, height: int, now_ms: int) -> int:
        """Who is mined, and only has to sink, has time. A proof comes soon after its block: who may have been mined
        is looked at soon after one, and ever more seldom until the next."""
        missing = height - self._tip
        if missing > 1:
            return LONGEST_NAP_MS * missing
        since_ms = now_ms - self._tip_seen_ms
        return min(max(since_ms // 2, SHORTEST_NAP_MS), LONGEST_NAP_MS)

    def _see_tip(self, now_ms: int) -> None:
        if self._tip != self._headers.tip_height:
            self._tip, self._tip_seen_ms = self._headers.tip_height, now_ms

    async def wake(self) -> int:
        """Make due what waited for a height that the chain has come to; how many messages."""
        self._see_tip(self._book.now_ms)
        if not self._has_begun:
            count = await self._wake(await self._asleep())
            self._has_begun = True
            return count
        heights = [height for height in self._by_height if height <= self._tip]
        if not heights:
            return 0
        count = await self._wake({each for height in heights for each in self._by_height[height]})
        for height in heights:
            del self._by_height[height]
        return count

    async def _asleep(self) -> set[bytes]:
        """Every message out that is not due, of those that an earlier process may have put to sleep."""
        find = Find("due", {"lane": Direction.OUT.value}, lower=self._book.now_ms + 1)
        return {row["_id"] for row in await every(self._store, MESSAGES, find) if row["state"] in _MAY_SLEEP}

    async def _wake(self, ids: Iterable[bytes]) -> int:
        count, keys = 0, list(ids)
        for start in range(0, len(keys), BATCH):
            messages = await load_messages(self._store, keys[start : start + BATCH])
            count += await self._make_due([each for each in messages.values() if each.state in _MAY_SLEEP])
        return count

    async def _make_due(self, messages: Iterable[Message]) -> int:
        count = 0
        async with self._book.page() as page:
            for message in messages:
                if message.due_ms is not None and message.due_ms > page.now_ms:
                    page.put_off(message, page.now_ms)
                    count += 1
        return count
