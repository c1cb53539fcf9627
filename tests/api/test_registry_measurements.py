"""Readings over HTTP: JSON and CSV, issuing, reading back, and who may."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.meters import Meters, meters, moment, reading

NOWHERE = "00000000-0000-7000-8000-000000000000"
HEADER = "device_id,start,end,energy_wh"


@pytest.fixture
async def meter(running: Any) -> Meters:
    return await meters(running)


def production(meter: Meters, *readings: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"json": {"device_id": meter.device_id, "readings": list(readings), **more}}


def row(meter: Meters, hour: float, energy_wh: int = 1000, device_id: str = "") -> str:
    return f"{device_id or meter.device_id},{moment(hour)},{moment(hour + 1)},{energy_wh}"


async def test_readings_are_taken_and_read_back_page_by_page(meter: Meters) -> None:
    told = await meter.done("meter", "POST", "/measurements", 201, **production(meter, reading(0), reading(1, 0)))
    assert (told["accepted"], told["repeated"], told["energy_wh"], told["action_state"]) == (2, 0, 1000, "resolved")
    assert "issuance" not in told
    again = await meter.done("meter", "POST", "/measurements", 201, **production(meter, reading(1, 0), reading(2)))
    assert (again["accepted"], again["repeated"]) == (1, 1)
    question = {"device_id": meter.device_id, "limit": "2"}
    first = await meter.done("holder", "GET", "/measurements", params=question)
    assert [(each["start"], each["energy_wh"]) for each in first["readings"]] == [(moment(0), 1000), (moment(1), 0)]
    assert first["readings"][0]["zone"] == "NL"
    assert first["readings"][0]["energy_source"] == "solar_pv"
    rest = await meter.done("holder", "GET", "/measurements", params=question | {"cursor": first["cursor"]})
    assert [each["start"] for each in rest["readings"]] == [moment(2)]
    assert "cursor" not in rest
    window = {"device_id": meter.device_id, "start": moment(1), "end": moment(2)}
    some = await meter.done("meter", "GET", "/measurements", params=window)
    assert [each["start"] for each in some["readings"]] == [moment(1)]


async def test_readings_are_issued_once(meter: Meters) -> None:
    body = production(meter, reading(0), reading(1, 0), reading(2), issue=True, face_value=10)
    told = await meter.done("both", "POST", "/measurements", 201, **body)
    (issued,) = told["issuance"]
    assert (issued["bundles"], issued["already_issued"], issued["action_state"]) == (2, 0, "resolved")
    assert len(issued["tx_ids"]) == 1
    query = {"source_account_id": meter.account_id, "source_user_id": meter.users["holder"]}
    found = await meter.done("holder", "POST", "/certificates/query", 202, json=query)
    quantities = [each["bundle_quantity"] for each in found["filtered_certificate_bundles"]]
    assert quantities == [100, 100]
    more = production(meter, reading(0), reading(3), issue=True, face_value=10)
    (again,) = (await meter.done("both", "POST", "/measurements", 201, **more))["issuance"]
    assert (again["bundles"], again["already_issued"]) == (1, 1)
    (none,) = (await meter.done("both", "POST", "/measurements", 201, **more))["issuance"]
    assert (none["bundles"], none["already_issued"]) == (0, 2)
    assert "action_id" not in none


async def test_what_cannot_be_issued_is_told_beside_the_readings(meter: Meters) -> None:
    body = production(meter, reading(0, 10**9), issue=True)
    told = await meter.done("both", "POST", "/measurements", 201, **body)
    (issued,) = told["issuance"]
    assert (told["accepted"], issued["bundles"], issued["action_state"]) == (1, 0, "rejected")
    assert issued["error"]["code"] == "ERR_CAPACITY_EXCEEDED"


@pytest.mark.parametrize(
    ("readings", "status", "code", "words"),
    [
        ([reading(0), reading(0, 7)], 422, "ERR_MEASUREMENT_INVALID", "readings[1]"),
        ([reading(0), reading(0.5)], 422, "ERR_MEASUREMENT_INVALID", "overlaps"),
        ([reading(0, hours=2)], 422, "ERR_MEASUREMENT_INVALID", "7200 seconds"),
        ([reading(24 * 400)], 422, "ERR_MEASUREMENT_INVALID", "future"),
        ([reading(0, -1)], 422, "ERR_INVALID_FIELD", "readings.0.energy_wh"),
        ([], 422, "ERR_INVALID_FIELD", "readings"),
    ],
)
async def test_readings_that_are_refused(
    meter: Meters, readings: list[dict[str, Any]], status: int, code: str, words: str
) -> None:
    refusal = await meter.refused("meter", "POST", "/measurements", **production(meter, *readings))
    assert refusal[:2] == (status, code)
    assert words in refusal[2]
    kept = await meter.done("meter", "GET", "/measurements", params={"device_id": meter.device_id})
    assert kept["readings"] == []


async def test_a_file_is_taken_and_issued(meter: Meters) -> None:
    rows = [HEADER, row(meter, 0), row(meter, 1, 0), row(meter, 2, 500)]
    reply = await meter.csv("both", "/measurements/csv?issue=true", *rows)
    assert reply.status == 201, reply.body
    told = reply.json()
    assert (told["accepted"], told["energy_wh"], len(told["action_ids"])) == (3, 1500, 1)
    assert told["issuance"][0]["bundles"] == 2


async def test_a_long_file_is_taken_in_pieces_and_can_be_sent_again(launch: Any) -> None:
    meter = await meters(await launch(registry={"bundles_per_action": 2}))
    rows = [HEADER, *(row(meter, hour) for hour in range(3)), row(meter, 2, 7)]
    reply = await meter.csv("meter", "/measurements/csv", *rows)
    assert reply.status == 422
    assert reply.json()["code"] == "ERR_MEASUREMENT_INVALID"
    assert "row 5: " in reply.json()["message"]
    assert "send all of it again" in reply.json()["message"]
    told = (await meter.csv("meter", "/measurements/csv", *rows[:-1], row(meter, 3))).json()
    assert (told["accepted"], told["repeated"], len(told["action_ids"])) == (2, 2, 2)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (["device_id,start,end"], "row 1: the header must be"),
        ([HEADER], "the file has no rows"),
        ([HEADER, f"{NOWHERE},{moment(0)},{moment(1)},x"], "row 2.energy_wh"),
    ],
)
async def test_files_that_are_refused(meter: Meters, rows: list[str], words: str) -> None:
    reply = await meter.csv("meter", "/measurements/csv", *rows)
    assert reply.status == 422
    assert words in reply.json()["message"]
    assert reply.json()["detail"]


async def test_files_are_bounded_and_must_be_csv(launch: Any) -> None:
    meter = await meters(await launch(registry={"import_bytes": 1024}))
    reply = await meter.csv("meter", "/measurements/csv", "x" * 1025)
    assert (reply.status, reply.json()["code"]) == (413, "ERR_BODY_TOO_LARGE")
    refusal = await meter.refused("meter", "POST", "/measurements/csv", json={})
    assert refusal[:2] == (415, "ERR_UNSUPPORTED_MEDIA_TYPE")


async def test_consumption_by_zone(meter: Meters) -> None:
    body = {"account_id": meter.account_id, "zone": "NL", "readings": [reading(0, 5)]}
    told = await meter.done("holder", "POST", "/consumption", 201, json=body)
    assert told["accepted"] == 1
    header = "start,end,energy_wh,account_id,zone"
    rows = [
        f"{moment(hour)},{moment(hour + 1)},9,{meter.account_id},{zone}" for hour in (1, 2) for zone in ("NL", "BE")
    ]
    reply = await meter.csv("meter", "/consumption/csv", header, *rows)
    assert (reply.status, reply.json()["accepted"]) == (201, 4), reply.body
    question = {"account_id": meter.account_id, "limit": "3"}
    first = await meter.done("holder", "GET", "/consumption", params=question)
    rest = await meter.done("holder", "GET", "/consumption", params=question | {"cursor": first["cursor"]})
    found = [*first["readings"], *rest["readings"]]
    assert sorted((each["start"], each["zone"]) for each in found) == sorted(
        [(moment(0), "NL"), *((moment(hour), zone) for hour in (1, 2) for zone in ("NL", "BE"))]
    )
    of_zone = await meter.done("meter", "GET", "/consumption", params={**question, "zone": "BE"})
    assert [each["start"] for each in of_zone["readings"]] == [moment(1), moment(2)]


async def test_who_may(meter: Meters) -> None:
    body = production(meter, reading(0))
    account = {"account_id": meter.account_id, "zone": "NL", "readings": [reading(0)]}
    device, own = {"device_id": meter.device_id}, {"account_id": meter.account_id}
    calls: list[tuple[str, str, dict[str, Any], dict[str, int]]] = [
        ("POST", "/measurements", body, {"issuer": 403, "holder": 403, "meter": 201, "admin": 201}),
        ("POST", "/measurements", production(meter, reading(1), issue=True), {"meter": 403, "both": 201}),
        ("POST", "/consumption", {"json": account}, {"issuer": 403, "stranger": 403, "meter": 201, "holder": 201}),
        ("GET", "/measurements", {"params": device}, {"stranger": 403, "issuer": 200, "holder": 200}),
        ("GET", "/consumption", {"params": own}, {"stranger": 403, "issuer": 403, "meter": 200, "holder": 200}),
    ]
    for method, path, more, expected in calls:
        for who, status in expected.items():
            assert (who, path, (await meter.ask(who, method, path, **more)).status) == (who, path, status)
    assert (await meter.running.post("/measurements", {})).status == 401


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("", 422, "ERR_INVALID_FIELD"),
        (f"device_id={NOWHERE}", 404, "ERR_DEVICE_UNKNOWN"),
        ("device_id=x", 422, "ERR_INVALID_FIELD"),
        ("device_id={device}&device_id={device}", 422, "ERR_INVALID_FIELD"),
        ("device_id={device}&limit=0", 422, "ERR_INVALID_FIELD"),
        ("device_id={device}&start=yesterday", 422, "ERR_INVALID_FIELD"),
        ("device_id={device}&colour=red", 422, "ERR_INVALID_FIELD"),
        ("device_id={device}&cursor=zz", 400, "ERR_BAD_CURSOR"),
    ],
)
async def test_questions_about_readings_that_cannot_be_answered(
    meter: Meters, query: str, status: int, code: str
) -> None:
    path = "/measurements?" + query.replace("{device}", meter.device_id)
    assert (await meter.refused("admin", "GET", path))[:2] == (status, code)


async def test_unknown_devices_and_accounts(meter: Meters) -> None:
    body = {"json": {"device_id": NOWHERE, "readings": [reading(0)]}}
    assert (await meter.refused("meter", "POST", "/measurements", **body))[:2] == (404, "ERR_DEVICE_UNKNOWN")
    reply = await meter.csv("meter", "/measurements/csv", HEADER, row(meter, 0, device_id=NOWHERE))
    assert (reply.status, reply.json()["code"]) == (404, "ERR_DEVICE_UNKNOWN")
    assert reply.json()["message"].startswith("row 2: ")
    account = {"account_id": NOWHERE, "zone": "NL", "readings": [reading(0)]}
    refusal = await meter.refused("holder", "POST", "/consumption", json=account)
    assert refusal[:2] == (404, "ERR_ACCOUNT_UNKNOWN")
