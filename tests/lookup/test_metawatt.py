"""Questions and answers of `ls_metawatt`, on real tokens and the real store."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import orjson
import pytest

from certificates import successor
from certificates.lifecycle import Status
from certificates.ranges import Range
from config.errors import BadRequest, ErrorCode
from lookup.filters import FILTERS as FILTERS_OF_THE_LANGUAGE
from lookup.query import Group, Sort
from lookup.standing import STATUSES
from overlay.builder import make_transaction
from overlay.lookup_service import Formula
from overlay.pushdrop import lock
from overlay.transaction import Output

YEARS_LATER_MS = 1_900_000_000_000


@pytest.fixture
async def stocked(node: Any) -> Any:
    """Six certificates, of which `named` tells the outpoints."""
    wind = {"energy_source": "wind", "device_technology_type": "wind_turbine"}
    hour = {
        "production_starting_interval": "2026-06-01T11:00:00Z",
        "production_ending_interval": "2026-06-01T12:00:00Z",
    }
    danish = {
        "country_of_issuance": "DK",
        "issue_market_zone": "DK1",
        "connected_grid_identification": "10Y1001A1001A796",
    }
    device = {"device_id": "aaaaaaaa-0000-4000-8000-000000000001", "device_name": "Havvind 1"}
    account = {"account_id": "bbbbbbbb-0000-4000-8000-000000000001"}
    node.named = {
        "solar de 10": await node.issue(),
        "solar de 11": await node.issue(**hour),
        "wind de 10": await node.issue(**wind, device_id="aaaaaaaa-0000-4000-8000-000000000002"),
        "wind dk 10": await node.issue(**wind, **danish, **device),
        "wind dk 11": await node.issue(Range(1, 5000), **wind, **danish, **device, **hour, **account),
        "other": await node.issue(
            signer=node.other_issuer,
            energy_carrier="heat",
            energy_source="Solar PV",
            device_id="aaaaaaaa-0000-4000-8000-000000000003",
        ),
    }
    return node


FILTERS: list[tuple[dict[str, Any], set[str]]] = [
    ({}, {"solar de 10", "solar de 11", "wind de 10", "wind dk 10", "wind dk 11", "other"}),
    ({"energy_source": "wind"}, {"wind de 10", "wind dk 10", "wind dk 11"}),
    ({"energy_source": "Wind"}, {"wind de 10", "wind dk 10", "wind dk 11"}),
    ({"energy_source": "solar_pv"}, {"solar de 10", "solar de 11", "other"}),
    ({"energy_source": ["wind", "hydro"], "country": "dk"}, {"wind dk 10", "wind dk 11"}),
    (
        {"energy_source": ["wind", "solar_pv"], "country": ["DE"]},
        {"solar de 10", "solar de 11", "wind de 10", "other"},
    ),
    ({"country": "DK"}, {"wind dk 10", "wind dk 11"}),
    ({"energy_carrier": "heat"}, {"other"}),
    ({"zone": "DK1"}, {"wind dk 10", "wind dk 11"}),
    ({"grid": "10YDE-EON------1", "energy_source": "wind"}, {"wind de 10"}),
    ({"device_id": "aaaaaaaa-0000-4000-8000-000000000001"}, {"wind dk 10", "wind dk 11"}),
    ({"device_id": ["AAAAAAAA-0000-4000-8000-000000000001"], "sort": "newest"}, {"wind dk 10", "wind dk 11"}),
    ({"device_name": "Havvind 1"}, {"wind dk 10", "wind dk 11"}),
    ({"device_name": "Nobody's"}, set()),
    ({"device_name": "Havvind 1", "device_id": "aaaaaaaa-0000-4000-8000-000000000002"}, set()),
    ({"account_id": "bbbbbbbb-0000-4000-8000-000000000001"}, {"wind dk 11"}),
    ({"period_start": "2026-06-01T11:00:00Z"}, {"solar de 11", "wind dk 11"}),
    ({"period_end": "2026-06-01T11:00:00Z", "country": "DE"}, {"solar de 10", "wind de 10", "other"}),
    ({"period_end": "2026-06-01T12:59:59+02:00"}, set()),
    (
        {"period_start": "2026-06-01T10:30:00Z", "period_end": "2026-06-01T12:00:00Z", "sort": "oldest"},
        {"solar de 11", "wind dk 11"},
    ),
    ({"min_quantity": 1001}, {"wind dk 11"}),
    ({"bundle_id": 5000}, {"wind dk 11"}),
    ({"bundle_id": "5001"}, set()),
    ({"topics": "tm_metawatt_gc_wind_dk"}, {"wind dk 10", "wind dk 11"}),
    ({"topics": ["tm_metawatt_gc_wind_dk", "tm_metawatt_gc_wind_de"]}, {"wind de 10", "wind dk 10", "wind dk 11"}),
    ({"status": "Active", "country": "DK"}, {"wind dk 10", "wind dk 11"}),
    ({"status": ["cancelled", "claimed"]}, set()),
]


@pytest.mark.parametrize(("filters", "expected"), FILTERS, ids=[str(filters) for filters, _ in FILTERS])
async def test_filters(stocked: Any, filters: dict[str, Any], expected: set[str]) -> None:
    found = await stocked.find(filters)
    assert {name for name, outpoint in stocked.named.items() if outpoint in found} == expected
    assert len(found) == len(expected)


async def test_identity_filters(stocked: Any) -> None:
    for outpoint in stocked.named.values():
        token = stocked.tokens[outpoint]
        assert await stocked.find(issuance_id=token.issuance_id) == [outpoint]
        assert await stocked.find(owner_key=token.locking_key.hex()) == [outpoint]
        assert await stocked.find({"type": "byIssuanceId", "value": token.issuance_id}) == [outpoint]
    assert await stocked.find(issuer=stocked.other_issuer.public.hex()) == [stocked.named["other"]]


async def test_legacy_queries_list_live_outputs(stocked: Any) -> None:
    coin = stocked.named["solar de 10"]
    (cancelled,) = await stocked.replace([coin], [successor.cancel(stocked.tokens[coin], "ACME", stocked.key())])
    everything, active = await stocked.find("all"), await stocked.find("listActiveOutputs")
    assert cancelled in everything
    assert len(everything) == 6
    assert set(everything) - set(active) == {cancelled}


SORTS = [
    ("newest", ["other", "wind dk 11", "wind dk 10", "wind de 10", "solar de 11", "solar de 10"], None),
    ("oldest", ["solar de 10", "solar de 11", "wind de 10", "wind dk 10", "wind dk 11", "other"], None),
    ("latest_period", [11, 11, 10, 10, 10, 10], "period"),
    ("earliest_period", [10, 10, 10, 10, 11, 11], "period"),
]
FOR_EACH_STRATEGY: list[dict[str, Any]] = [
    {},
    {"energy_source": ["wind", "solar_pv"], "country": ["DE", "DK"]},
    {"energy_source": ["wind", "solar_pv"]},
    {"country": ["DK", "DE"]},
    {"status": ["Active", "Withdrawn", "lost"]},
]


@pytest.mark.parametrize(("sort", "expected", "by"), SORTS)
@pytest.mark.parametrize("filters", FOR_EACH_STRATEGY, ids=str)
async def test_sorts(stocked: Any, sort: str, expected: list[Any], by: str | None, filters: dict[str, Any]) -> None:
    whole = await stocked.find({**filters, "sort": sort})
    names = {outpoint: name for name, outpoint in stocked.named.items()}
    hours = [11 if "11" in names[each] else 10 for each in whole]
    assert (hours if by else [names[each] for each in whole]) == expected
    pages = await stocked.pages({**filters, "sort": sort, "limit": 2})
    assert [len(page) for page in pages] == [2, 2, 2]
    assert [each for page in pages for each in page] == whole


async def test_the_usual_order_follows_the_question(stocked: Any) -> None:
    device = "aaaaaaaa-0000-4000-8000-000000000001"
    by_period = [stocked.named["wind dk 11"], stocked.named["wind dk 10"]]
    assert await stocked.find(device_id=device) == by_period
    assert await stocked.find(device_id=device, sort="earliest_period") == by_period[::-1]
    assert (await stocked.find())[0] == stocked.named["other"]


async def test_several_identities_are_merged_and_gathered(stocked: Any) -> None:
    outpoints = [stocked.named[name] for name in ("solar de 11", "wind de 10", "wind dk 11")]
    ids = [stocked.tokens[each].issuance_id for each in outpoints]
    assert await stocked.find(issuance_id=ids) == outpoints[::-1]
    pages = await stocked.pages({"issuance_id": ids, "sort": "earliest_period", "limit": 1})
    assert pages[0][0] == outpoints[1]
    assert {page[0] for page in pages} == set(outpoints)


async def test_history_and_limits_reach_the_formula(stocked: Any) -> None:
    answer = await stocked.ask({"limit": 1, "history": 3, "energy_source": "wind"})
    assert isinstance(answer, Formula)
    assert [found.history for found in answer.found] == [3]
    assert answer.cursor is not None
    assert (await stocked.ask({"limit": 3, "energy_source": "wind"})).cursor is None


STATUS_STEPS = [
    (Status.RESERVED, successor.reserve),
    (Status.CANCELLED, lambda token, key: successor.cancel(token, "ACME", key)),
]


@pytest.mark.parametrize(("status", "step"), STATUS_STEPS)
async def test_a_status_lists_what_shows_it(node: Any, status: Status, step: Any) -> None:
    kept, coin = await node.issue(), await node.issue()
    (moved,) = await node.replace([coin], [step(node.tokens[coin], node.key())])
    assert await node.find(status=status.value) == [moved]
    assert await node.find(status=status.value, sort="latest_period") == [moved]
    assert await node.find(status=status.value, country="DE", energy_source="solar_pv") == [moved]
    assert await node.find(status="Active") == [kept]
    assert set(await node.find(status=["Active", status.value])) == {kept, moved}


async def test_claimed_takes_the_place_of_cancelled(node: Any) -> None:
    coin = await node.issue()
    (cancelled,) = await node.replace([coin], [successor.cancel(node.tokens[coin], "ACME", node.key())])
    (claimed,) = await node.replace([cancelled], [successor.claim(node.tokens[cancelled], node.key())])
    assert await node.find(status="Cancelled") == []
    assert await node.find(status="Claimed") == [claimed]
    assert await node.find(status=["Cancelled", "Claimed"]) == [claimed]


async def test_expired_is_computed_when_asked(node: Any) -> None:
    active, other = await node.issue(), await node.issue()
    (cancelled,) = await node.replace([other], [successor.cancel(node.tokens[other], "ACME", node.key())])
    assert await node.find(status="Expired") == []
    assert await node.find({"status": "Expired"}, YEARS_LATER_MS) == [active]
    assert await node.find({"status": "Active"}, YEARS_LATER_MS) == []
    assert await node.find({"status": "Cancelled"}, YEARS_LATER_MS) == [cancelled]
    assert (await node.contexts(YEARS_LATER_MS))[active] == {"status": "Expired"}


async def test_expiry_begins_with_its_day(node: Any) -> None:
    coin = await node.issue(expiry_datestamp="2026-06-02")
    midnight_ms = 1_780_358_400_000
    assert await node.find({"status": "Active"}, midnight_ms - 1) == [coin]
    assert await node.find({"status": "Expired"}, midnight_ms) == [coin]


async def test_lost_is_shown_with_the_transaction_that_did_it(node: Any) -> None:
    kept, coin = await node.issue(), await node.issue()
    txid = await node.lose(coin)
    assert await node.find() == [kept]
    assert await node.find(status="lost") == [coin]
    assert await node.find(status="lost", sort="latest_period") == [coin]
    assert await node.contexts(status="lost") == {coin: {"status": "lost", "lost_by": txid[::-1].hex()}}
    await node.unspend(coin, txid)
    assert set(await node.find()) == {kept, coin}
    assert await node.find(status="lost") == []


async def test_a_topic_that_holds_only_a_part_does_not_make_it_lost(node: Any) -> None:
    """A topic that never held the other half of a merge judges the merge invalid; the others know better."""
    whole = await node.issue()
    halves = await node.replace([whole], successor.split(node.tokens[whole], [400, 600], [node.key(), node.key()]))
    node.held[halves[0]].remove("tm_metawatt_gc_de")
    merged = successor.merge([node.tokens[half] for half in halves], node.key())
    (together,) = await node.replace(halves, [merged])
    assert await node.find() == [together]
    assert await node.find(status="lost") == []
    assert (await node.ranges(whole))["is_partition"]


async def test_proofs_change_nothing_and_evictions_all(node: Any) -> None:
    coin = await node.issue()
    before = await node.documents()
    await node.prove(coin, 812)
    await node.prove(coin, None)
    assert await node.documents() == before
    await node.remove(coin, evicted=True)
    documents = await node.documents()
    assert documents["metawatt_certificates"] == []
    assert documents["metawatt_intervals"] == []


async def test_what_a_topic_lets_go_stays_as_history(node: Any) -> None:
    coin = await node.issue()
    (moved,) = await node.replace([coin], [successor.transfer(node.tokens[coin], node.key())])
    await node.remove(coin, evicted=False)
    assert await node.find() == [moved]
    assert len((await node.documents())["metawatt_certificates"]) == 2


async def test_later_topics_are_added(node: Any) -> None:
    coin = await node.issue()
    transaction, script = node.last, node.outputs[coin].script
    node.held[coin] = ["tm_metawatt_gc"]
    await node.submit(transaction, ["tm_metawatt_gc_de"])
    assert node.outputs[coin].script == script
    assert await node.find(topics="tm_metawatt_gc_de") == [coin]
    assert await node.find(topics="tm_metawatt_gc_solar_pv") == []


async def test_events_replayed_change_nothing(stocked: Any) -> None:
    coin = stocked.named["solar de 10"]
    halves = successor.split(stocked.tokens[coin], [1, 999], [stocked.key(), stocked.key()])
    parts = await stocked.replace([coin], halves)
    await stocked.notice(coin, Range(1, 10))
    await stocked.lose(parts[1])
    once = await stocked.documents()
    for batch in list(stocked.events):
        await stocked.apply(batch)
    assert await stocked.documents() == once
    assert once["metawatt_notices"]


async def test_what_is_not_of_ours_is_ignored(node: Any) -> None:
    token = node.tokens[await node.issue()]
    before = await node.documents()
    transaction = make_transaction([node.funding()], [Output(1, lock(token.locking_key, [b"{}", b"", b""]))])
    outpoint = transaction.txid + bytes(4)
    node.seqs[outpoint] = 1
    admitted = node._admitted("tm_metawatt_gc", transaction, 0)
    await node.apply([admitted])
    await node.prove(outpoint, 5)
    await node.remove(outpoint, evicted=True)
    assert await node.documents() == before


async def test_the_first_tokens_are_listed_as_unissued(small_node: Any) -> None:
    async with small_node(accept_unissued=True) as node:
        maker = node.issuer
        tag = {
            "certificate_status": "Active",
            "account_id": "me",
            "bundle_id_range_start": 1,
            "bundle_id_range_end": 9,
            "bundle_quantity": 9,
            "energy_carrier": "electricity",
            "energy_source": "solar",
            "face_value": 1,
            "issuance_id": "device-7-2024",
            "device_name": "Roof",
            "production_starting_interval": "someday",
        }
        text = orjson.dumps({"energyTag": tag, "note": "hello"})
        signature = maker.sign(sha256(text).digest())
        transaction = make_transaction([node.funding()], [Output(1, lock(maker.public, [text, signature]))])
        events = await node.submit(transaction, ["tm_metawatt_gc"])
        coin = transaction.txid + bytes(4)
        assert len(events) == 1
        for query in ("all", "listActiveOutputs", {"type": "byIssuanceId", "value": "device-7-2024"}):
            assert await node.find(query) == [coin]
        assert await node.find(device_name="Roof", energy_source="solar") == [coin]
        assert await node.contexts() == {coin: {"unissued": True}}
        assert (await node.ask({"aggregate": {"by": "energy_source"}})).result == []
        assert (await node.ask({"ranges": {"issuance_id": "device-7-2024"}})).result["issued"] is None
        await node.lose(coin)
        assert await node.find("all") == await node.find(status="lost") == []


async def test_cursors_belong_to_their_question(stocked: Any) -> None:
    cursor = (await stocked.ask({"limit": 2, "country": "DE"})).cursor
    assert len((await stocked.ask({"limit": 1, "country": ["de"], "cursor": cursor})).found) == 1
    tampered = [
        cursor[:-1],
        cursor + "A",
        "!" + cursor[1:],
        "A" * len(cursor),
        "",
        "é",
        cursor + "=",
        cursor[:-1] + "_",
    ]
    for bad in tampered:
        with pytest.raises(BadRequest) as caught:
            await stocked.ask({"limit": 2, "country": "DE", "cursor": bad})
        assert caught.value.code is ErrorCode.BAD_CURSOR, bad
    for other in ({"country": "DK"}, {"country": "DE", "sort": "oldest"}, {}):
        with pytest.raises(BadRequest) as caught:
            await stocked.ask({**other, "cursor": cursor})
        assert caught.value.code is ErrorCode.BAD_CURSOR


async def test_the_scan_budget_ends_an_answer_early(small_node: Any) -> None:
    async with small_node(lookup_scan=100) as node:
        await node.issue_many([{"issue_market_zone": "A" if index == 3 else "B"} for index in range(130)])
        first = await node.ask({"zone": "A", "sort": "newest"})
        assert len(first.found) < 2
        assert first.cursor is not None
        pages = await node.pages({"zone": "A"})
        assert len(pages) == 2
        found = [each for page in pages for each in page]
        assert [node.tokens[each].bundle.attributes["issue_market_zone"] for each in found] == ["A"]


async def test_too_much_to_sort_is_refused(small_node: Any) -> None:
    async with small_node(lookup_scan=100) as node:
        device = {"device_id": node.device_id()}
        await node.issue_many([device] * 101)
        assert len(await node.find(device)) == 100
        with pytest.raises(BadRequest, match="sort by period"):
            await node.find({**device, "sort": "newest"})


def test_the_manual_is_complete(node: Any) -> None:
    manual = node.service.documentation
    for word in (*FILTERS_OF_THE_LANGUAGE, *Sort, *Group, *STATUSES, "all", "listActiveOutputs", "byIssuanceId"):
        assert f"`{word}`" in manual or f'"{word}"' in manual
    assert "10000" in manual
    assert "{lookup" not in manual
