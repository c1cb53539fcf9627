"""`metawatt query`, `metawatt export`, `metawatt statement`: what a registry tells."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table

from cli.registry.connecting import Door, user_of
from energytag.client import RegistryClient
from energytag.client.certificates import Form
from energytag.models.answers import GranularCertificateBundle
from energytag.models.certificates import GranularCertificateQuery
from energytag.models.common import read
from energytag.models.matching import CancellationStatement, StatementQuestion

_COLUMNS = ("production", "device", "source", "zone", "energy Wh", "status", "issuance", "block")
_STATED = ("production", "device", "source", "energy Wh", "beneficiary", "transaction")


def query(door: Door, filters: Mapping[str, Any], most: int, as_json: bool) -> None:
    """Print the bundles that a query finds: a table, or one JSON object a line."""
    asyncio.run(_query(door, filters, most, as_json))


async def _query(door: Door, filters: Mapping[str, Any], most: int, as_json: bool) -> None:
    async with door.client() as registry:
        asked = await _asked(registry, {**filters, "limit": most})
        page = await registry.certificates.query_page(asked)
    if as_json:
        for bundle in page.filtered_certificate_bundles:
            sys.stdout.buffer.write(orjson.dumps(bundle.model_dump(mode="json", exclude_none=True)) + b"\n")
        return
    console = Console(highlight=False)
    console.print(_table(page.filtered_certificate_bundles))
    console.print(
        "There are more: narrow the filters, raise --limit, or use `metawatt export`." * bool(page.cursor)
    )


async def _asked(registry: RegistryClient, filters: Mapping[str, Any]) -> GranularCertificateQuery:
    given = {name: value for name, value in filters.items() if value is not None}
    return read(GranularCertificateQuery, {**given, "source_user_id": await user_of(registry)})


def _table(bundles: list[GranularCertificateBundle]) -> Table:
    table = Table(*_COLUMNS, box=None, pad_edge=False)
    for bundle in bundles:
        proof = bundle.timestamp_proof
        height = "" if proof is None or proof.block_height is None else str(proof.block_height)
        table.add_row(
            bundle.production_starting_interval,
            bundle.device_name,
            bundle.energy_source,
            bundle.issue_market_zone,
            f"{bundle.bundle_quantity * bundle.face_value:,}",
            bundle.certificate_status,
            bundle.issuance_id,
            height,
        )
    return table


def export(door: Door, filters: Mapping[str, Any], form: Form, output: Path | None) -> None:
    """Write all that a query finds to a file, or to standard output."""
    asyncio.run(_export(door, filters, form, output))


async def _export(door: Door, filters: Mapping[str, Any], form: Form, output: Path | None) -> None:
    async with door.client() as registry:
        pieces = registry.certificates.export(await _asked(registry, filters), form)
        if output is None:
            async for piece in pieces:
                sys.stdout.buffer.write(piece)
            return
        # What is cut off half way leaves no file that looks whole.
        partial = output.with_name(f"{output.name}.partial")
        with partial.open("wb") as file:
            async for piece in pieces:
                file.write(piece)
        partial.replace(output)


def statement(door: Door, question: Mapping[str, Any], page: Path | None, as_json: bool) -> None:
    """Print a cancellation statement, or write its page."""
    asked = read(StatementQuestion, {name: value for name, value in question.items() if value is not None})
    if page is not None:
        page.write_text(asyncio.run(_page(door, asked)), "utf-8")
        return
    told = asyncio.run(_statement(door, asked))
    if as_json:
        sys.stdout.buffer.write(orjson.dumps(told.model_dump(mode="json")) + b"\n")
        return
    _tell(told, Console(highlight=False))


async def _statement(door: Door, asked: StatementQuestion) -> CancellationStatement:
    async with door.client() as registry:
        return await registry.matching.statement(asked)


async def _page(door: Door, asked: StatementQuestion) -> str:
    async with door.client() as registry:
        return await registry.matching.statement_page(asked)


def _tell(told: CancellationStatement, console: Console) -> None:
    stated = told.statement
    console.print(f"Cancellation statement {told.statement_id}")
    console.print(
        f"of {told.registry} for {told.account_name}: {stated.energy_wh:,} Wh, {told.claimed_wh:,} claimed"
    )
    table = Table(
        "production", "device", "source", "energy Wh", "beneficiary", "transaction", box=None, pad_edge=False
    )
    for each in stated.retirements:
        table.add_row(
            each.production_starting_interval,
            each.device_name,
            each.energy_source,
            f"{each.energy_wh:,}",
            each.beneficiary,
            each.tx_id,
        )
    console.print(table)
