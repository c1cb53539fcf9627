"""Queries on the real engine: which bundles, how they stand, and how much of them is meant."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from config.errors import BadRequest, ErrorCode, MetawattError, NotFound
from config.settings import Settings
from energytag.actions import Kind
from energytag.models.certificates import GranularCertificateQuery
from energytag.queries import Page, bundle_at, issuance, query
from energytag.records import DEVICES
from store.port import Put
from store.sqlite import SqliteStore
from tests.energytag.kit import ACCOUNT, DEVICE, OTHER_ACCOUNT, RegistryNode, device_row, moment, readings
from tests.overlay.kit import Chain, Clock

USER = "11111111-2222-4333-8444-555555555555"
WINDMILL = "5d1f3f5e-93a2-4a6b-8f5d-0e6a9a1c7b43"
DAY_MS = 86_400_000


async def ask(registry: RegistryNode, account_id: str = ACCOUNT, /, **fields: Any) -> Page:
    body = {"source_account_id": account_id, "source_user_id": USER} | fields
    return await query(registry.registry.ground, GranularCertificateQuery.model_validate(body))


async def act(registry: RegistryNode, kind: Kind, **fields: Any) -> None:
    await registry.resolved(kind, {"source_account_id": ACCOUNT, "source_user_id": USER} | fields)


def numbers(page: Page) -> list[tuple[int, int]]:
    return [(each["bundle_id_range_start"], each["bundle_id_range_end"]) for each in page.bundles]


def hours(page: Page) -> list[str]:
    return [each["production_starting_interval"][11:13] for each in page.bundles]


@pytest.fixture
async def stocked(registry: RegistryNode) -> RegistryNode:
    """Four hours of 1000 certificates of a solar roof, and one hour of a windmill's, in one account."""
    await registry.store.commit(
        [Put(DEVICES, device_row(WINDMILL, energy_source="wind", technology_type="wind_turbine"))]
    )
    await registry.issue(count=4)
    request = {"device_id": WINDMILL, "readings": readings(2, 1, 500)}
    await registry.resolved(Kind.CREATE_MANY, request)
    return registry


@pytest.fixture
async def bounded(tmp_path: Path, chain: Chain, clock: Clock) -> AsyncIterator[RegistryNode]:
    """A registry that answers with little."""
    settings = Settings(registry={"query_limit": 2}, limits={"response_bytes": 1024})
    made = RegistryNode(chain, SqliteStore(tmp_path / "node.db", cache_mib=4), clock, settings)
    await made.open()
    await made.populate()
    yield made
    await made.close()


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, ["00", "01", "02", "02", "03"]),
        ({"certificate_period_start": moment(1)}, ["01", "02", "02", "03"]),
        ({"certificate_period_start": moment(1), "certificate_period_end": moment(2)}, ["01"]),
        ({"certificate_period_end": moment(2.5)}, ["00", "01"]),
        ({"energy_source": ["wind"]}, ["02"]),
        ({"energy_source": ["Solar PV", "wind"]}, ["00", "01", "02", "02", "03"]),
        ({"energy_source": ["coal"]}, []),
        ({"device_id": WINDMILL}, ["02"]),
        ({"device_id": WINDMILL, "energy_source": ["solar_pv"]}, []),
        ({"certificate_status": "Active"}, ["00", "01", "02", "02", "03"]),
        ({"certificate_status": "Cancelled"}, []),
        ({"sparse_filter_list": {DEVICE: moment(3)}}, ["03"]),
        ({"sparse_filter_list": {DEVICE: moment(3.5), WINDMILL: moment(2)}}, ["02", "03"]),
        ({"sparse_filter_list": {DEVICE: moment(9)}}, []),
        # The sparse list overrides everything else.
        ({"sparse_filter_list": {DEVICE: moment(0)}, "energy_source": ["coal"], "device_id": WINDMILL}, ["00"]),
    ],
)
async def test_filters(stocked: RegistryNode, fields: dict[str, Any], expected: list[str]) -> None:
    assert hours(await ask(stocked, **fields)) == expected


async def test_another_account_has_nothing_of_it(stocked: RegistryNode) -> None:
    for fields in ({}, {"sparse_filter_list": {DEVICE: moment(0)}}):
        assert (await ask(stocked, OTHER_ACCOUNT, **fields)).bundles == []


async def test_a_bundle_is_told_as_on_chain_with_what_is_known_of_it(registry: RegistryNode) -> None:
    outcome = await registry.resolved(Kind.CREATE_MANY, {"device_id": DEVICE, "readings": readings(0, 1)})
    token = outcome.made[0].token
    assert token is not None
    (bundle,) = (await ask(registry)).bundles
    on_chain = {name: value for name, value in token.bundle.attributes.items() if value is not None}
    assert bundle == on_chain | {
        "tx_id": outcome.action.txids[0],
        "outpoint": f"{outcome.action.txids[0]}.0",
        "issued": {"start": 1, "end": 1000},
        "timestamp_proof": {"status": "unproven"},
    }


# How much of them


async def test_a_range_means_a_part_of_the_bundles_it_cuts(registry: RegistryNode) -> None:
    await registry.issue()
    await act(registry, Kind.SPLIT, certificate_quantity=400)
    issuance_id = (await ask(registry)).bundles[0]["issuance_id"]
    fields = {
        "source_certificate_issuance_id": issuance_id,
        "source_certificate_bundle_id_range_start": 300,
        "source_certificate_bundle_id_range_end": 500,
    }
    page = await ask(registry, **fields)
    assert numbers(page) == [(1, 400), (401, 1000)]
    assert [each["selected"] for each in page.bundles] == [
        {"start": 300, "end": 400, "quantity": 101},
        {"start": 401, "end": 500, "quantity": 100},
    ]
    assert page.quantity == 201


@pytest.mark.parametrize(
    ("quantity", "parts"),
    [(1, [1]), (1000, [1000]), (1001, [1000, 1]), (2500, [1000, 1000, 500]), (9000, [1000, 1000, 1000, 1000])],
)
async def test_a_quantity_is_the_total_over_all_bundles(
    registry: RegistryNode, quantity: int, parts: list[int]
) -> None:
    await registry.issue(count=4)
    page = await ask(registry, certificate_quantity=quantity)
    told = [each.get("selected", {"quantity": each["bundle_quantity"]})["quantity"] for each in page.bundles]
    assert (told, page.quantity, page.cursor) == (parts, sum(parts), None)


async def test_a_quantity_is_counted_over_pages(registry: RegistryNode) -> None:
    await registry.issue(count=4)
    total, cursor, rounds = 0, None, 0
    while True:
        page = await ask(registry, certificate_quantity=2500, limit=1, cursor=cursor)
        total, cursor, rounds = total + page.quantity, page.cursor, rounds + 1
        if cursor is None:
            break
    assert (total, rounds) == (2500, 3)


# Pages


@pytest.mark.parametrize("limit", [1, 2, 3, 1000])
@pytest.mark.parametrize("way", ["account", "issuance", "sparse"])
async def test_pages_have_everything_once(stocked: RegistryNode, limit: int, way: str) -> None:
    await act(stocked, Kind.SPLIT, sizes=[100, 200], certificate_quantity=1000)
    first = (await ask(stocked)).bundles[0]["issuance_id"]
    fields: dict[str, Any] = {
        "account": {},
        "issuance": {"source_certificate_issuance_id": first},
        "sparse": {"sparse_filter_list": {DEVICE: moment(0), WINDMILL: moment(2)}},
    }[way]
    whole = [each["outpoint"] for each in (await ask(stocked, **fields)).bundles]
    found, cursor = [], None
    while True:
        page = await ask(stocked, limit=limit, cursor=cursor, **fields)
        assert len(page.bundles) <= limit
        found += [each["outpoint"] for each in page.bundles]
        cursor = page.cursor
        if cursor is None:
            break
    assert found == whole
    assert len(set(found)) == len(found) == {"account": 7, "issuance": 3, "sparse": 4}[way]


@pytest.mark.parametrize("cursor", ["", "x", "!!", "AAAA", "AAAA.5", "." * 200])
async def test_cursors_that_are_none(registry: RegistryNode, cursor: str) -> None:
    for fields in ({}, {"certificate_quantity": 5}):
        with pytest.raises(BadRequest) as caught:
            await ask(registry, cursor=cursor, **fields)
        assert caught.value.code is ErrorCode.BAD_CURSOR


async def test_a_cursor_belongs_to_its_query(stocked: RegistryNode) -> None:
    cursor = (await ask(stocked, limit=1)).cursor
    assert cursor is not None
    with pytest.raises(BadRequest) as caught:
        await ask(stocked, limit=1, cursor=cursor, energy_source=["solar_pv"])
    assert caught.value.code is ErrorCode.BAD_CURSOR


async def test_no_page_is_larger_than_the_setting(bounded: RegistryNode) -> None:
    await bounded.issue(count=5)
    page = await ask(bounded, limit=100)
    assert (len(page.bundles), page.cursor is None) == (2, False)


async def test_beef_is_bounded(bounded: RegistryNode) -> None:
    await bounded.issue(count=3)
    with pytest.raises(MetawattError) as caught:
        await ask(bounded, include=["beef"])
    assert caught.value.code is ErrorCode.RESPONSE_TOO_LARGE


# How they stand


async def test_status_is_shown_with_expiry(registry: RegistryNode) -> None:
    await registry.issue(count=2)
    await act(registry, Kind.CANCEL, certificate_quantity=1000, beneficiary="Somebody")
    registry.clock.now_ms += 1000 * DAY_MS
    page = await ask(registry)
    assert [each["certificate_status"] for each in page.bundles] == ["Cancelled", "Expired"]
    assert page.bundles[0]["beneficiary"]
    assert hours(await ask(registry, certificate_status="Expired")) == ["01"]


async def test_a_withdrawal_is_shown_over_what_the_token_says(registry: RegistryNode) -> None:
    await registry.issue(count=2)
    first = (await ask(registry)).bundles[0]["issuance_id"]
    await act(
        registry, Kind.WITHDRAW, source_certificate_issuance_id=first, reason="metered wrongly", whole_issuance=True
    )
    page = await ask(registry)
    assert [each["certificate_status"] for each in page.bundles] == ["Withdrawn", "Active"]
    (notice,) = page.bundles[0]["withdrawn"]
    assert (notice["start"], notice["end"], notice["reason"]) == (1, 1000, "metered wrongly")
    assert hours(await ask(registry, certificate_status="Withdrawn")) == ["00"]
    assert hours(await ask(registry, certificate_status="Active")) == ["01"]


# One issuance, one outpoint


async def test_an_issuance_is_told_of_wherever_it_is(registry: RegistryNode) -> None:
    await registry.issue()
    issuance_id = (await ask(registry)).bundles[0]["issuance_id"]
    await act(registry, Kind.TRANSFER, certificate_quantity=250, target_account_id=OTHER_ACCOUNT)
    page = await issuance(registry.registry.ground, issuance_id, 100, None)
    assert [(each["account_id"], each["bundle_quantity"]) for each in page.bundles] == [
        (OTHER_ACCOUNT, 250),
        (ACCOUNT, 750),
    ]


async def test_what_was_spent_says_by_what(registry: RegistryNode) -> None:
    await registry.issue()
    before = (await ask(registry)).bundles[0]
    await act(registry, Kind.TRANSFER, target_account_id=OTHER_ACCOUNT)
    after = (await ask(registry, OTHER_ACCOUNT)).bundles[0]
    txid = bytes.fromhex(before["tx_id"])[::-1]
    spent = await bundle_at(registry.registry.ground, txid + bytes(4))
    assert spent["spent_by"] == after["tx_id"]
    assert "spent_by" not in after


async def test_what_is_not_there(registry: RegistryNode) -> None:
    ground = registry.registry.ground
    for coroutine in (bundle_at(ground, bytes(36)), issuance(ground, USER, 10, None)):
        with pytest.raises(NotFound) as caught:
            await coroutine
        assert caught.value.code is ErrorCode.CERTIFICATE_UNKNOWN
