"""Meters and readings over HTTP: statuses, shapes, who may do what, and bounds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import jsonschema
import orjson
import pytest
from yarl import URL

from api.bridge.meter_schemas import READING, SHORT_READING, batch_of
from bridge.meters.rotation import rotation_message
from bridge.meters.showing import (
    ConflictsShown,
    MeterShown,
    MetersShown,
    OutcomesShown,
    ReadingShown,
    ReadingsShown,
)
from config.settings import Settings
from store.sqlite import SqliteStore
from tests.bridge.readings_kit import NOW_MS, Gateway, SimpleMeter, key_of, moment, public_of, text_of
from tests.bridge.readings_server import HOLDER, STRANGER, ReadingsServer
from tests.energytag.kit import ACCOUNT, DEVICE, OTHER_ACCOUNT

METER = SimpleMeter()
SUBMIT, SUBMIT_MANY = "/api/meters/submit-reading", "/api/meters/submit-readings"
PAGE = Path(__file__).parents[2] / "docs" / "METERS.md"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ReadingsServer]:
    settings = Settings.model_validate({"meters": {"batch_readings": 20}})
    gateway = Gateway(SqliteStore(tmp_path / "node.db", cache_mib=4), settings)
    await gateway.open()
    made = ReadingsServer(gateway)
    await made.start()
    yield made
    await made.stop()
    await gateway.store.close()


def registration(meter: SimpleMeter = METER, **more: Any) -> dict[str, Any]:
    body = {"serial": meter.serial, "wallet": meter.wallet, "public_key": public_of(meter.key)}
    return body | {"format": meter.form} | more


async def registered(server: ReadingsServer, meter: SimpleMeter = METER, **more: Any) -> None:
    await server.done("POST", "/api/meters", "admin", json=registration(meter, verified=True, **more))


# Readings


async def test_bodies_that_never_end_keep_no_place_of_others(server: ReadingsServer) -> None:
    """Nobody needs a token to begin one."""
    await registered(server)
    address = URL(server.url)
    head = (
        f"POST {SUBMIT_MANY} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 999\r\n\r\n["
    )
    slow = [await asyncio.open_connection(address.host, address.port) for _ in range(40)]
    for _, writer in slow:
        writer.write(head.encode())
        await writer.drain()
    await asyncio.sleep(0.1)
    async with asyncio.timeout(5):
        told = await server.done("POST", SUBMIT_MANY, json=[METER.wire()])
    assert told["accepted"] == 1
    for _, writer in slow:
        writer.close()


async def test_a_reading_is_taken_and_followed(server: ReadingsServer) -> None:
    await registered(server)
    status, taken = await server.ask("POST", SUBMIT, json=METER.wire())
    assert status == 201
    ReadingShown.model_validate(taken)
    gateway_fields = {
        "user_id": None,
        "wallet_address": METER.wallet,
        "kwh_amount": "1.500000",
        "reading_timestamp": "2026-06-01T12:00:00Z",
        "submitted_at": "2026-06-01T12:00:00Z",
        "minted": False,
        "mint_tx_signature": None,
        "state": "accepted",
    }
    assert {name: taken[name] for name in gateway_fields} == gateway_fields
    assert await server.ask("POST", SUBMIT, json=METER.wire()) == (200, taken)
    assert await server.done("GET", f"/api/meters/readings/{taken['id']}", "admin") == taken


async def test_a_json_number_is_its_text(server: ReadingsServer) -> None:
    await registered(server)
    signed = METER.body(kwh="1.50")
    body = orjson.dumps(METER.wire(kwh="1.50") | {"kwh_amount": "MARK"}).replace(b'"MARK"', b"1.50")
    headers = {"Content-Type": "application/json"}
    taken = await server.done("POST", SUBMIT, data=body, headers=headers)
    assert (taken["kwh_amount"], taken["meter_signature"]) == ("1.50", signed.meter_signature)
    changed = body.replace(b"1.50,", b"1.5,")
    assert await server.refused("POST", SUBMIT, data=changed, headers=headers) == (401, "ERR_SIGNATURE_INVALID")


async def test_milliseconds_come_as_a_number_or_as_text(server: ReadingsServer) -> None:
    meter = SimpleMeter("D-1", form="device")
    await registered(server, meter)
    wire = meter.wire()
    assert (await server.ask("POST", SUBMIT, json=wire | {"reading_timestamp": NOW_MS}))[0] == 201
    assert (await server.ask("POST", SUBMIT, json=wire))[0] == 200


@pytest.mark.parametrize(
    ("more", "status", "code"),
    [
        ({"data": b"{"}, 400, "ERR_BAD_JSON"),
        ({"data": b"\xff\xfe"}, 400, "ERR_BAD_JSON"),
        ({"data": b""}, 400, "ERR_BAD_JSON"),
        ({"data": b"[]"}, 422, "ERR_INVALID_FIELD"),
        ({"data": b"{}"}, 422, "ERR_INVALID_FIELD"),
        ({"data": b'{"x":"' + b"x" * 20_000 + b'"}'}, 413, "ERR_BODY_TOO_LARGE"),
        ({"data": b"{}", "headers": {"Content-Type": "text/plain"}}, 415, "ERR_UNSUPPORTED_MEDIA_TYPE"),
    ],
)
async def test_what_is_no_reading(server: ReadingsServer, more: dict[str, Any], status: int, code: str) -> None:
    more = {"headers": {"Content-Type": "application/json"}} | more
    assert await server.refused("POST", SUBMIT, **more) == (status, code)


async def test_a_batch(server: ReadingsServer) -> None:
    await registered(server)
    first = METER.wire(NOW_MS - 300_000)
    await server.done("POST", SUBMIT, json=first)
    entries = [METER.wire(), first, METER.wire(kwh="2"), {}, 7, SimpleMeter("M-404").wire()]
    for body in (entries, {"readings": entries}):
        answer = await server.done("POST", SUBMIT_MANY, json=body)
        OutcomesShown.model_validate(answer)
        told = [each.get("code", each["outcome"]) for each in answer["results"]]
        assert told[1:] == [
            "repeated",
            "ERR_READING_CONFLICTS",
            "ERR_INVALID_FIELD",
            "ERR_INVALID_FIELD",
            "ERR_METER_UNKNOWN",
        ]
        assert told[0] == ("accepted" if body is entries else "repeated")
    assert (answer["accepted"], answer["repeated"], answer["refused"]) == (0, 2, 4)


async def test_a_batch_is_bounded(server: ReadingsServer) -> None:
    assert await server.refused("POST", SUBMIT_MANY, json=[{}] * 21) == (422, "ERR_INVALID_FIELD")
    assert await server.refused("POST", SUBMIT_MANY, json=[]) == (422, "ERR_INVALID_FIELD")


async def test_the_gateways_v1(server: ReadingsServer) -> None:
    await registered(server)
    body = METER.body()
    short = {"kwh": body.kwh_amount, "timestamp": body.reading_timestamp, "signature": body.meter_signature}
    path = "/api/v1/meters/METER-001/readings?auto_mint=true&timeout_secs=30"
    assert (await server.ask("POST", path, json=short))[0] == 201
    assert (await server.ask("POST", path, json=short | {"meter_serial": "METER-001"}))[0] == 200
    assert await server.refused("POST", path, json=short | {"meter_serial": "M-2"}) == (422, "ERR_INVALID_FIELD")
    named = short | {"meter_serial": "METER-001"}
    answer = await server.done("POST", "/api/v1/meters/batch/readings", json=[named, short])
    assert (answer["repeated"], answer["refused"]) == (1, 1)


async def test_a_conflict_is_seen_and_decided(server: ReadingsServer) -> None:
    await registered(server)
    taken = await server.done("POST", SUBMIT, json=METER.wire())
    assert await server.refused("POST", SUBMIT, json=METER.wire(kwh="2")) == (409, "ERR_READING_CONFLICTS")
    listed = await server.done("GET", "/api/admin/meters/conflicts", "admin")
    ConflictsShown.model_validate(listed)
    (conflict,) = listed["conflicts"]
    assert (conflict["kwh_amount"], conflict["first"]["state"], conflict["first"]["id"]) == (
        "2",
        "held",
        taken["id"],
    )
    path = f"/api/admin/meters/readings/{taken['id']}/decide"
    body = {"decision": "take", "conflict_id": conflict["conflict_id"]}
    for who, status in ((None, 401), (HOLDER, 403)):
        assert (await server.refused("POST", path, who, json=body))[0] == status
    decided = await server.done("POST", path, "admin", json=body)
    assert (decided["kwh_amount"], decided["state"]) == ("2", "accepted")
    assert await server.refused("POST", path, "admin", json=body) == (409, "ERR_MINTING_FORBIDS")
    assert (await server.done("GET", "/api/admin/meters/conflicts", "admin"))["conflicts"] == []
    assert (await server.refused("POST", path, "admin", json={"decision": "perhaps"}))[0] == 422


# Who sees what


async def test_readings_are_seen_by_those_who_act_for_the_account(server: ReadingsServer) -> None:
    await registered(server, account_id=ACCOUNT, device_id=DEVICE)
    await registered(server, SimpleMeter("M-2"), account_id=OTHER_ACCOUNT)
    await registered(server, SimpleMeter("M-3"))
    ids = {}
    for meter in (METER, SimpleMeter("M-2"), SimpleMeter("M-3")):
        for ago in (0, 300_000):
            ids[meter.serial] = (await server.done("POST", SUBMIT, json=meter.wire(NOW_MS - ago)))["id"]
    path = "/api/meters/readings"
    for who, status in ((None, 401), (STRANGER, 403), (HOLDER, 200), ("admin", 200)):
        assert (await server.ask("GET", f"{path}/{ids['METER-001']}", who))[0] == status
    assert (await server.ask("GET", f"{path}/{ids['M-3']}", HOLDER))[0] == 403
    counts = {HOLDER: 2, STRANGER: 2, "admin": 6}
    for who, count in counts.items():
        listed = await server.done("GET", f"{path}?wallet={METER.wallet}", who)
        ReadingsShown.model_validate(listed)
        assert len(listed["readings"]) == count
    own = await server.done("GET", f"{path}?meter=METER-001&limit=1", HOLDER)
    rest = await server.done("GET", f"{path}?meter=METER-001&limit=9&cursor={own['cursor']}", HOLDER)
    times = [each["interval_start"] for each in own["readings"] + rest["readings"]]
    assert times == [moment(NOW_MS), moment(NOW_MS - 300_000)]


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/api/meters/readings", 422, "ERR_INVALID_FIELD"),
        ("/api/meters/readings?meter=a&wallet=b", 422, "ERR_INVALID_FIELD"),
        ("/api/meters/readings?meter=a&limit=1001", 422, "ERR_INVALID_FIELD"),
        ("/api/meters/readings?meter=a&cursor=x", 400, "ERR_BAD_CURSOR"),
        ("/api/meters/readings/x", 404, "ERR_READING_UNKNOWN"),
        ("/api/meters/readings/019e82f6-0000-8000-8000-000000000000", 404, "ERR_READING_UNKNOWN"),
        ("/api/meters/x", 404, "ERR_METER_UNKNOWN"),
        ("/api/meters/%ff", 404, "ERR_METER_UNKNOWN"),
        ("/api/admin/meters/conflicts?limit=0", 422, "ERR_INVALID_FIELD"),
    ],
)
async def test_what_cannot_be_found(server: ReadingsServer, path: str, status: int, code: str) -> None:
    assert await server.refused("GET", path, "admin") == (status, code)


# Meters


async def test_a_user_registers_for_an_account_of_his(server: ReadingsServer) -> None:
    path = "/api/meters"
    assert (await server.refused("POST", path, None, json=registration()))[0] == 401
    assert await server.refused("POST", path, HOLDER, json=registration()) == (422, "ERR_INVALID_FIELD")
    other = registration(account_id=OTHER_ACCOUNT)
    assert await server.refused("POST", path, HOLDER, json=other) == (403, "ERR_FORBIDDEN")
    own = registration(account_id=ACCOUNT, device_id=DEVICE)
    assert await server.refused("POST", path, HOLDER, json=own | {"verified": True}) == (403, "ERR_FORBIDDEN")
    status, meter = await server.ask("POST", path, HOLDER, json=own)
    assert (status, meter["status"], meter["user_id"]) == (201, "pending", HOLDER)
    MeterShown.model_validate(meter)
    assert await server.refused("POST", path, "admin", json=own) == (409, "ERR_METER_EXISTS")
    assert await server.refused("POST", SUBMIT, json=METER.wire()) == (403, "ERR_METER_NOT_VERIFIED")
    for verb in ("verify", "suspend", "revoke"):
        assert (await server.refused("POST", f"{path}/METER-001/{verb}", HOLDER, json={}))[0] == 403
    await server.done("POST", f"{path}/METER-001/verify", "admin")
    taken = await server.done("POST", SUBMIT, json=METER.wire())
    assert (taken["user_id"], taken["account_id"], taken["device_id"]) == (HOLDER, ACCOUNT, DEVICE)


async def test_meters_are_seen_by_those_who_act_for_the_account(server: ReadingsServer) -> None:
    await registered(server, account_id=ACCOUNT)
    await registered(server, SimpleMeter("M-2"))
    for who, status in ((None, 401), (STRANGER, 403), (HOLDER, 200), ("admin", 200)):
        assert (await server.ask("GET", "/api/meters/METER-001", who))[0] == status
        assert (await server.ask("GET", f"/api/meters?account_id={ACCOUNT}", who))[0] == status
    everything = await server.done("GET", "/api/meters", "admin")
    MetersShown.model_validate(everything)
    assert [each["serial"] for each in everything["meters"]] == ["M-2", "METER-001"]
    assert await server.refused("GET", "/api/meters", HOLDER) == (422, "ERR_INVALID_FIELD")
    own = await server.done("GET", f"/api/meters?wallet={METER.wallet}", HOLDER)
    assert [each["serial"] for each in own["meters"]] == ["METER-001"]
    both = f"/api/meters?wallet={METER.wallet}&account_id={ACCOUNT}"
    assert (await server.refused("GET", both, "admin"))[0] == 422


async def test_the_operator_changes_meters(server: ReadingsServer) -> None:
    await registered(server)
    path = "/api/meters/METER-001"
    told = await server.done("POST", f"{path}/suspend", "admin", json={"reason": "moved house"})
    assert (told["status"], told["reason"]) == ("suspended", "moved house")
    renewed = {"wallet": text_of(b"\x09" * 32), "public_key": public_of(key_of(5))}
    assert (await server.refused("PUT", path, HOLDER, json=renewed))[0] == 403
    told = await server.done("PUT", path, "admin", json=renewed)
    assert (told["wallet"], told["status"], len(told["old_keys"])) == (renewed["wallet"], "pending", 1)
    await server.done("POST", f"{path}/revoke", "admin", json={})
    assert await server.refused("POST", f"{path}/verify", "admin", json={}) == (409, "ERR_STATUS_FORBIDS")


async def test_a_key_is_changed_by_the_operator_or_by_the_meter(server: ReadingsServer) -> None:
    await registered(server)
    path = "/api/meters/METER-001/rotate-key"
    new = key_of(2)
    body: dict[str, Any] = {"public_key": public_of(new)}
    assert await server.refused("POST", path, None, json=body) == (401, "ERR_SIGNATURE_INVALID")
    assert await server.refused("POST", path, HOLDER, json=body) == (403, "ERR_FORBIDDEN")
    timestamp = moment(NOW_MS)
    message = rotation_message("METER-001", public_of(METER.key), public_of(new), timestamp)
    signed = body | {
        "timestamp": timestamp,
        "old_signature": text_of(METER.key.sign(message).signature),
        "new_signature": text_of(new.sign(message).signature),
    }
    assert (await server.done("POST", path, None, json=signed))["public_key"] == public_of(new)
    told = await server.done("POST", path, "admin", json={"public_key": public_of(key_of(3)), "grace_secs": 0})
    assert [old["public_key"] for old in told["old_keys"]] == [public_of(METER.key), public_of(new)]


async def test_without_a_registry_there_is_the_operator_alone(server: ReadingsServer) -> None:
    server.node.registry = None
    await registered(server)
    assert await server.refused("POST", "/api/meters", HOLDER, json=registration()) == (403, "ERR_FORBIDDEN")
    linked = registration(SimpleMeter("M-2"), account_id=ACCOUNT)
    assert await server.refused("POST", "/api/meters", "admin", json=linked) == (422, "ERR_INVALID_FIELD")
    assert (await server.done("GET", "/api/meters", "admin"))["meters"]


async def test_without_metering_there_is_no_route(server: ReadingsServer) -> None:
    server.node.metering = None
    assert await server.refused("POST", SUBMIT, json=METER.wire()) == (404, "ERR_ROUTE_NOT_FOUND")


# Documentation


def test_the_documented_shapes_take_what_meters_send() -> None:
    body = METER.body()
    jsonschema.validate(METER.wire(), READING)
    jsonschema.validate({"readings": [METER.wire()]}, batch_of(READING))
    jsonschema.validate({"kwh": 1.5, "timestamp": body.reading_timestamp}, SHORT_READING)


def test_the_manual_names_every_route(server: ReadingsServer) -> None:
    page = PAGE.read_text("utf-8")
    for route in server.routes:
        assert f"`{route.method} {route.path}" in page or f"\n{route.method} {route.path}" in page, route.path
