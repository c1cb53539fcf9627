"""Exports: everything that a query finds, in both forms, a page at a time."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from config.errors import BadRequest
from energytag import bundle_table, exports
from energytag.actions import Kind
from energytag.exports import Form, chunks, form_for
from energytag.imports import check_rows
from energytag.models.certificates import GranularCertificateQuery
from energytag.models.common import read
from tests.energytag.kit import ACCOUNT, OTHER_ACCOUNT, RegistryNode, moment

USER = "3f0b8f8a-5d0e-4b63-9a0e-2f1f4c1b7a01"


def asked(**filters: Any) -> GranularCertificateQuery:
    return read(GranularCertificateQuery, {"source_account_id": ACCOUNT, "source_user_id": USER, **filters})


async def exported(registry: RegistryNode, form: Form, **filters: Any) -> list[bytes]:
    return [chunk async for chunk in chunks(registry.registry.ground, asked(**filters), form)]


async def lines(registry: RegistryNode, **filters: Any) -> list[dict[str, Any]]:
    return [
        orjson.loads(line) for line in b"".join(await exported(registry, Form.JSON_LINES, **filters)).splitlines()
    ]


async def test_lines_of_json_are_what_a_query_answers(registry: RegistryNode) -> None:
    await registry.issue(0, 3)
    bundles = await lines(registry)
    assert [bundle["production_starting_interval"] for bundle in bundles] == [moment(hour) for hour in range(3)]
    assert {"tx_id", "outpoint", "timestamp_proof"} <= bundles[0].keys()


async def test_a_table_can_be_imported_again(registry: RegistryNode) -> None:
    await registry.issue(0, 5)
    table = b"".join(await exported(registry, Form.CSV)).decode()
    assert len(table.splitlines()) == 6
    rows = list(bundle_table.rows(table))
    known = set(bundle_table.ATTRIBUTES)
    assert rows == [{name: bundle[name] for name in bundle if name in known} for bundle in await lines(registry)]
    assert len(await check_rows(registry.registry.ground, rows)) == 5


async def test_what_is_held_is_one_page(registry: RegistryNode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports, "PAGE_BUNDLES", 10)
    await registry.issue(0, 95)
    pages = await exported(registry, Form.CSV)
    assert [page.count(b"\r\n") for page in pages] == [11, *[10] * 8, 5]
    assert len(set(b"".join(pages).splitlines())) == 96
    assert len(await lines(registry)) == 95


async def test_filters_hold(registry: RegistryNode) -> None:
    await registry.issue(0, 4)
    await registry.resolved(
        Kind.TRANSFER,
        {
            "source_account_id": ACCOUNT,
            "source_user_id": USER,
            "target_account_id": OTHER_ACCOUNT,
            "certificate_quantity": 1500,
        },
    )
    assert sum(bundle["bundle_quantity"] for bundle in await lines(registry)) == 2500
    assert len(await lines(registry, certificate_period_start=moment(2))) == 2
    assert await lines(registry, certificate_status="Cancelled") == []


async def test_nothing_found_is_a_table_of_names_only(registry: RegistryNode) -> None:
    assert len(b"".join(await exported(registry, Form.CSV)).splitlines()) == 1
    assert await exported(registry, Form.JSON_LINES) == [b""]


async def test_the_beef_goes_along_when_it_is_asked_for(registry: RegistryNode) -> None:
    await registry.issue(0, 1)
    (bundle,) = await lines(registry, include=["beef"])
    assert bundle["beef"]
    assert b"beef" not in b"".join(await exported(registry, Form.CSV, include=["beef"]))


async def test_errors_come_before_the_first_piece(registry: RegistryNode) -> None:
    with pytest.raises(BadRequest):
        await exported(registry, Form.CSV, cursor="nonsense")


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        (None, Form.JSON_LINES),
        ("*/*", Form.JSON_LINES),
        ("application/jsonl", Form.JSON_LINES),
        ("text/csv", Form.CSV),
        ("Text/CSV; charset=utf-8, */*;q=0.1", Form.CSV),
    ],
)
def test_the_form_that_is_asked_for(accept: str | None, form: Form) -> None:
    assert form_for(accept) is form
