"""Matching, the residual mix and statements over HTTP, and the page of a statement."""

from __future__ import annotations

import asyncio
import re
from hashlib import sha256
from html.parser import HTMLParser
from typing import Any

import pytest

from api.registry.statement_page import interval_text, moment_text, mwh_text, whole_text
from certificates.canonical import canonical
from tests.api.meters import Meters, meters, moment, reading

NOWHERE = "00000000-0000-7000-8000-000000000000"
PAGE = {"headers": {"Accept": "text/html"}}


@pytest.fixture
async def meter(running: Any) -> Meters:
    """Three hours of 1000 Wh are issued, 1500 Wh of it cancelled, and 2 × 600 Wh consumed."""
    made = await meters(running)
    body = {"device_id": made.device_id, "readings": [reading(0), reading(1), reading(2)], "issue": True}
    await made.done("both", "POST", "/measurements", 201, json=body)
    used = {"account_id": made.account_id, "zone": "NL", "readings": [reading(0, 600), reading(1, 600)]}
    await made.done("holder", "POST", "/consumption", 201, json=used)
    await made.act("cancel", certificate_quantity=1500)
    return made


def day(meter: Meters, **more: Any) -> dict[str, Any]:
    return {"params": {"account_id": meter.account_id, "start": moment(0), "end": moment(24), **more}}


async def test_matching_by_hour_and_by_day(meter: Meters) -> None:
    told = await meter.done("holder", "GET", "/matching", **day(meter))
    (zone,) = told["zones"]
    assert [(each["matched_wh"], each["uncovered_wh"], each["coverage_percent"]) for each in zone["periods"]] == [
        (600, 0, "100.00"),
        (500, 100, "83.33"),
    ]
    assert told["totals"]["hour"]["coverage"] == "11/12"
    assert told["totals"]["day"]["coverage"] == "1/1"
    by_day = await meter.done("holder", "GET", "/matching", **day(meter, granularity="day", zone="NL"))
    assert len(by_day["zones"][0]["periods"]) == 1
    nothing = await meter.done("holder", "GET", "/matching", **day(meter, zone="BE"))
    assert (nothing["zones"], nothing["totals"]["hour"]["coverage"]) == ([], None)


async def test_the_residual_mix(meter: Meters) -> None:
    question = {"zone": "NL", "start": moment(0), "end": moment(24), "total_consumption_wh": "5000"}
    told = await meter.done("stranger", "GET", "/residual_mix", params=question)
    (solar,) = told["sources"]
    assert (solar["energy_source"], solar["production_wh"], solar["residual_wh"]) == ("solar_pv", 3000, 1500)
    assert (told["untracked_wh"], told["is_final"]) == (2000, False)
    assert [each["share"] for each in told["mix"]] == ["3/7", "4/7"]


async def test_a_statement_as_json(meter: Meters) -> None:
    told = await meter.done("holder", "GET", "/statements/cancellation", **day(meter))
    statement = told["statement"]
    assert told["statement_id"] == sha256(canonical(statement)).hexdigest()
    assert [each["energy_wh"] for each in statement["retirements"]] == [1000, 500]
    assert statement["beneficiaries"][0]["beneficiary"] == "Mill"
    assert set(told["timestamp_proofs"]) == {each["tx_id"] for each in statement["retirements"]}
    await meter.act("claim")
    again = await meter.done("holder", "GET", "/statements/cancellation", **day(meter))
    assert (again["statement_id"], again["claimed_wh"]) == (told["statement_id"], 1500)


async def test_a_statement_of_an_action(meter: Meters) -> None:
    action = await meter.act("cancel", certificate_quantity=100, beneficiary="Mill & Sons <b>")
    question = {"params": {"action_id": action["action_id"]}}
    told = await meter.done("holder", "GET", "/statements/cancellation", **question)
    assert [each["energy_wh"] for each in told["statement"]["retirements"]] == [100]
    refusal = await meter.refused("stranger", "GET", "/statements/cancellation", **question)
    assert refusal[:2] == (403, "ERR_FORBIDDEN")


class Links(HTMLParser):
    """What a page would load, and what it would run."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        loaded = [
            value for name, value in attrs if name in ("src", "href") and not (value or "").startswith("data:")
        ]
        self.found += [tag] if tag in ("script", "img", "iframe") else []
        self.found += [str(value) for value in loaded]
        self.found += [name for name in attributes if name.startswith("on")]


async def test_a_statement_as_a_page(meter: Meters) -> None:
    await meter.act("cancel", certificate_quantity=100, beneficiary="Mill & Sons <b>")
    told = await meter.done("holder", "GET", "/statements/cancellation", **day(meter))
    reply = await meter.ask("holder", "GET", "/statements/cancellation", **day(meter), **PAGE)
    assert reply.status == 200
    assert reply.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in reply.headers["Content-Security-Policy"]
    page = reply.body.decode()
    assert told["statement_id"] in page
    assert told["statement"]["retirements"][0]["issuance_id"] in page
    assert "0.001600 MWh" in page
    assert "Mill &amp; Sons &lt;b&gt;" in page
    assert "<b>Mill &amp; Sons" in page
    links = Links()
    links.feed(page)
    assert links.found == []


async def test_a_page_that_has_nothing_to_list(meter: Meters) -> None:
    nothing = {"account_id": meter.account_id, "start": moment(-48), "end": moment(-24)}
    reply = await meter.ask("holder", "GET", "/statements/cancellation", params=nothing, **PAGE)
    assert reply.status == 200
    assert "nothing was found" in reply.body.decode()


async def proven(meter: Meters) -> dict[str, Any]:
    """The proof of the one cancellation, once its transaction was sent and is mined."""
    for _ in range(100):
        assert (await meter.running.post("/dev/mine", {"blocks": 1})).status == 200
        told = await meter.done("holder", "GET", "/statements/cancellation", **day(meter))
        (proof,) = told["timestamp_proofs"].values()
        if proof["status"] == "proven" and "block_time" in proof:
            return dict(proof)
        await asyncio.sleep(0.1)
    raise AssertionError("the cancellation is not mined")


async def test_the_block_is_told_when_there_is_one(meter: Meters) -> None:
    proof = await proven(meter)
    page = (await meter.ask("holder", "GET", "/statements/cancellation", **day(meter), **PAGE)).body.decode()
    assert re.search(rf'<td class="number">{proof["block_height"]}</td>', page)
    assert moment_text(proof["block_time"]) in page
    assert "not in a block yet" not in page


@pytest.mark.parametrize(
    ("path", "query", "status"),
    [
        ("/matching", {}, 422),
        ("/matching", {"account_id": NOWHERE, "start": moment(0), "end": moment(1)}, 404),
        ("/matching", {"account_id": NOWHERE, "start": moment(0.5), "end": moment(1)}, 422),
        ("/matching", {"account_id": NOWHERE, "start": moment(1), "end": moment(0)}, 422),
        ("/residual_mix", {"zone": "NL", "start": moment(0)}, 422),
        ("/residual_mix", {"zone": "NL", "start": moment(0), "end": moment(1), "total_consumption_wh": "-1"}, 422),
        ("/statements/cancellation", {}, 422),
        ("/statements/cancellation", {"account_id": NOWHERE}, 422),
        ("/statements/cancellation", {"account_id": NOWHERE, "issuance_id": NOWHERE}, 404),
        ("/statements/cancellation", {"action_id": NOWHERE}, 404),
    ],
)
async def test_questions_that_cannot_be_answered(
    running: Any, path: str, query: dict[str, str], status: int
) -> None:
    reply = await running.admin("GET", path, params=query)
    assert reply.status == status, reply.body
    assert reply.json()["code"].startswith("ERR_")
    if status == 422:
        assert all(each["loc"][0] == "query" for each in reply.json()["detail"])


async def test_who_may_ask(meter: Meters) -> None:
    for path in ("/matching", "/statements/cancellation"):
        for who, status in {"stranger": 403, "issuer": 403, "holder": 200, "admin": 200}.items():
            assert (await meter.ask(who, "GET", path, **day(meter))).status == status
        assert (await meter.running.get(path)).status == 401
    assert (await meter.running.get("/residual_mix")).status == 401


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (whole_text(1_234_567), "1\u202f234\u202f567"),
        (mwh_text(1), "0.000001"),
        (mwh_text(12_345_678_901), "12\u202f345.678901"),
        (moment_text("2026-06-01T10:00:00Z"), "2026-06-01 10:00"),
        (moment_text("2026-06-01T10:00:30+00:00"), "2026-06-01 10:00:30"),
        (interval_text("2026-06-01T10:00:00Z", "2026-06-01T11:00:00Z"), "2026-06-01 10:00–11:00"),
        (interval_text("2026-06-01T23:00:00Z", "2026-06-02T00:00:00Z"), "2026-06-01 23:00–2026-06-02 00:00"),
    ],
)
def test_how_figures_are_written(shown: str, text: str) -> None:
    assert shown == text
