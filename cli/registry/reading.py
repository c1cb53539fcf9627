"""`metawatt query`, `metawatt export`, `metawatt statement`: what a registry tells."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

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
    _print_table(_COLUMNS, [_row(bundle) for bundle in page.filtered_certificate_bundles])
    if page.cursor is not None:
        sys.stderr.write("There are more: narrow the filters, raise --limit, or use `metawatt export`.\n")


async def _asked(registry: RegistryClient, filters: Mapping[str, Any]) -> GranularCertificateQuery:
    given = {name: value for name, value in filters.items() if value is not None}
    return read(GranularCertificateQuery, {**given, "source_user_id": await user_of(registry)})


def _row(bundle: GranularCertificateBundle) -> tuple[str, ...]:
    proof = bundle.timestamp_proof
    return (
        bundle.production_starting_interval,
        bundle.device_name,
        bundle.energy_source,
        bundle.issue_market_zone,
        f"{bundle.bundle_quantity * bundle.face_value:,}",
        bundle.certificate_status,
        bundle.issuance_id,
        "" if proof is None or proof.block_height is None else str(proof.block_height),
    )


def _print_table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns as wide as they need to be: a person copies ids from them, and a program may read them."""
    widths = [max(map(len, column)) for column in zip(names, *rows, strict=True)]
    for row in (names, *rows):
        cells = [
            cell.rjust(width) if name.endswith("Wh") else cell.ljust(width)
            for name, cell, width in zip(names, row, widths, strict=True)
        ]
        sys.stdout.write("  ".join(cells).rstrip() + "\n")


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
    _tell(told)


async def _statement(door: Door, asked: StatementQuestion) -> CancellationStatement:
    async with door.client() as registry:
        return await registry.matching.statement(asked)


async def _page(door: Door, asked: StatementQuestion) -> str:
    async with door.client() as registry:
        return await registry.matching.statement_page(asked)


def _tell(told: CancellationStatement) -> None:
    stated = told.statement
    sys.stdout.write(f"Cancellation statement {told.statement_id}\nof {told.registry} for {told.account_name}\n")
    sys.stdout.write(f"{stated.energy_wh:,} Wh are cancelled, {told.claimed_wh:,} Wh of them claimed\n\n")
    rows = [
        (
            each.production_starting_interval,
            each.device_name,
            each.energy_source,
            f"{each.energy_wh:,}",
            each.beneficiary,
            each.tx_id,
        )
        for each in stated.retirements
    ]
    _print_table(_STATED, rows)
