"""Rows of the books as a page leaves them: read once, changed as often as the page asks, compare-and-set.

Several messages of a page change the same row. Each change is a write of its own, and each expects what the one
before it left; the first expects what was read, so that another worker's change is a `Conflict`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary

from bridge.mirror.book import Page
from store.port import Collection, Document, Insert, Key, Patch, Reader


class Drafts:
    """The rows that pages under way have read or changed. A row's `rev` counts its changes."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._pages: WeakKeyDictionary[Page, dict[tuple[str, Key], Document | None]] = WeakKeyDictionary()

    async def get(self, page: Page, collection: Collection, key: Key) -> Document | None:
        """The row as this page has it; None when there is none."""
        rows = self._pages.setdefault(page, {})
        place = (collection.name, key)
        if place not in rows:
            rows[place] = await self._reader.get(collection, key)
        return rows[place]

    async def put(self, page: Page, collection: Collection, key: Key, fields: Mapping[str, Any]) -> None:
        """The row has these fields after this page."""
        before = await self.get(page, collection, key)
        rev = 1 if before is None else before["rev"] + 1
        after: Document = {**fields, "rev": rev}
        if before is None:
            page.write(Insert(collection, {"_id": key, **after}))
        else:
            page.write(Patch(collection, key, after, expect={"rev": before["rev"]}))
        self._pages[page][collection.name, key] = {"_id": key, **after}
