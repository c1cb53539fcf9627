"""Whole walks, which the port gives a page at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Final

from store.port import Collection, Document, Find, Reader

_PAGE: Final = 500
_ALL: Final = Find()


async def pages(
    reader: Reader, collection: Collection, find: Find = _ALL, size: int = _PAGE
) -> AsyncIterator[list[Document]]:
    """What `find` covers from its position on, its limit aside, in pages of `size` documents. There is at least
    one page, which may be empty."""
    step = replace(find, limit=size)
    while True:
        page = await reader.find(collection, step)
        yield page.documents
        if page.last is None:
            return
        step = replace(step, after=page.last)


async def every(reader: Reader, collection: Collection, find: Find) -> list[Document]:
    """All that `find` covers, its limit aside: for walks that are short by their nature."""
    return [document async for documents in pages(reader, collection, find) for document in documents]
