"""Export: the bundles that a query finds, all of them, page by page, as CSV or as lines of JSON.

What is held in memory is one page. Each page tells how its bundles stand when it is read; a bundle that moves
during an export is told of where the walk meets it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from enum import StrEnum
from typing import Any, Final

import orjson

from energytag import bundle_table
from energytag.ground import RegistryGround
from energytag.models.certificates import GranularCertificateQuery
from energytag.queries import Page, query

PAGE_BUNDLES: Final = 500
PROOF_COLUMNS: Final = ("tx_id", "outpoint", "block_height", "block_hash", "block_time", "merkle_path")
"""What a table tells of the chain, after EnergyTag's columns; empty until the transaction is mined."""


class Form(StrEnum):
    """How bundles are written; the value is the media type."""

    CSV = "text/csv"
    JSON_LINES = "application/jsonl"


def form_for(accept: str | None) -> Form:
    """The form that an `Accept` header asks for: CSV when it names that, else lines of JSON."""
    return Form.CSV if accept is not None and "csv" in accept.lower() else Form.JSON_LINES


async def chunks(ground: RegistryGround, asked: GranularCertificateQuery, form: Form) -> AsyncIterator[bytes]:
    """The export, a page at a time. Errors of the query come with the first."""
    if form is Form.CSV:
        asked = asked.model_copy(update={"include": None})
    is_first = True
    async for page in _pages(ground, asked):
        text = _table(page.bundles, is_first) if form is Form.CSV else _lines(page.bundles)
        is_first = False
        yield text


async def _pages(ground: RegistryGround, asked: GranularCertificateQuery) -> AsyncIterator[Page]:
    asked = asked.model_copy(update={"limit": PAGE_BUNDLES})
    while True:
        page = await query(ground, asked)
        yield page
        if page.cursor is None:
            return
        asked = asked.model_copy(update={"cursor": page.cursor})


def _lines(bundles: Iterable[Mapping[str, Any]]) -> bytes:
    return b"".join(orjson.dumps(bundle) + b"\n" for bundle in bundles)


def _table(bundles: Iterable[Mapping[str, Any]], with_head: bool) -> bytes:
    head = [bundle_table.head(PROOF_COLUMNS)] if with_head else []
    lines = (bundle_table.line({**bundle["timestamp_proof"], **bundle}, PROOF_COLUMNS) for bundle in bundles)
    return "".join([*head, *lines]).encode()
