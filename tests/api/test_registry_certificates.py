"""Certificates and actions over HTTP: who may do what, what is answered, and what stays private."""

from __future__ import annotations

from asyncio import gather
from base64 import b64encode
from io import BytesIO
from typing import Any
from uuid import uuid4

import orjson
import pytest

from config.errors import BadRequest, ErrorCode
from tests.api.meters import Meters, meters, moment, reading

NOWHERE = "00000000-0000-7000-8000-000000000000"


@pytest.fixture
async def town(running: Any) -> Meters:
    return await meters(running)


def base(town: Meters, who: str = "holder", **fields: Any) -> dict[str, Any]:
    return {"source_account_id": town.account_id, "source_user_id": town.users[who]} | fields


async def issue(town: Meters, *readings: Any, **more: Any) -> Any:
    body = {"device_id": town.device_id, "readings": list(readings) or [reading(0)], **more}
    return await town.done("issuer", "POST", "/certificates/create_many", 201, json=body)


async def bundles(town: Meters, who: str = "holder", **fields: Any) -> list[Any]:
    told = await town.done(who, "GET", "/certificates/query", 202, json=base(town, who, **fields))
    return list(told["filtered_certificate_bundles"])


def bundle_body(town: Meters, hour: int = 0, first: int = 1) -> dict[str, Any]:
    return {
        "certificate_status": "Active",
        "account_id": town.account_id,
        "bundle_id_range_start": first,
        "bundle_id_range_end": first + 999,
        "bundle_quantity": 1000,
        "energy_carrier": "electricity",
        "energy_source": "Solar PV",
        "face_value": 1,
        "issuance_post_energy_carrier_conversion": False,
        "registry_configuration": 1,
        "device_id": town.device_id,
        "device_name": "Roof 1",
        "device_technology_type": "solar_pv",
        "device_production_start_date": "2021-04-01",
        "device_capacity": 100_000,
        "device_location": [52.1, 5.2],
        "device_type": "production",
        "production_starting_interval": moment(hour),
        "production_ending_interval": moment(hour + 1),
        "issuance_datestamp": moment(hour)[:10],
        "expiry_datestamp": "2090-01-01",
        "country_of_issuance": "NL",
        "connected_grid_identification": "10YNL----------L",
        "issuing_body": "METAWATT",
        "issue_market_zone": "NL",
    }


# Who may call


@pytest.mark.parametrize(
    ("who", "method", "path", "status"),
    [
        ("holder", "POST", "/certificates/create", 403),
        ("meter", "POST", "/certificates/create_many", 403),
        ("issuer", "POST", "/certificates/transfer", 403),
        ("issuer", "POST", "/certificates/cancel", 403),
        ("holder", "POST", "/certificates/withdraw", 403),
        ("holder", "PATCH", "/certificates/update_mutables", 403),
        ("holder", "POST", "/certificates/unlock", 403),
        ("stranger", "POST", "/certificates/transfer", 403),
        ("stranger", "POST", "/certificates/claim", 403),
        ("stranger", "GET", "/certificates/query", 403),
        ("stranger", "POST", "/certificates/query", 403),
        ("holder", "GET", "/certificates/query", 202),
        ("issuer", "GET", "/certificates/query", 202),
        ("meter", "GET", "/certificates/query", 202),
        ("admin", "GET", "/certificates/query", 202),
    ],
)
async def test_roles(town: Meters, who: str, method: str, path: str, status: int) -> None:
    body = base(town, "holder" if who == "admin" else who)
    if "create" in path:
        body = bundle_body(town) if path.endswith("create") else {"device_id": town.device_id}
    assert (await town.ask(who, method, path, json=body)).status == status


async def test_nobody_acts_in_anothers_name(town: Meters) -> None:
    await issue(town)
    for path in ("transfer", "query"):
        told = await town.refused("holder", "POST", f"/certificates/{path}", json=base(town, "issuer"))
        assert told == (403, "ERR_FORBIDDEN", "source_user_id must be your own user id")


async def test_an_account_that_is_not_there(town: Meters) -> None:
    for path in ("/certificates/cancel", "/certificates/query"):
        body = base(town) | {"source_account_id": NOWHERE}
        assert (await town.refused("holder", "POST", path, json=body))[1] == "ERR_ACCOUNT_UNKNOWN"


# Issuing


async def test_a_created_bundle_is_found_again(town: Meters) -> None:
    made = await town.done("issuer", "POST", "/certificates/create", 201, json=bundle_body(town))
    (found,) = await bundles(town)
    assert found == {name: value for name, value in made.items() if name != "action_id"}
    action = await town.done("issuer", "GET", f"/actions/{made['action_id']}")
    assert (action["action"], action["action_state"], action["tx_ids"]) == ("create", "resolved", [made["tx_id"]])
    assert action["request"]["bundle_quantity"] == 1000


async def test_what_cannot_be_issued_is_refused_with_its_reason(town: Meters) -> None:
    await town.done("issuer", "POST", "/certificates/create", 201, json=bundle_body(town))
    again = bundle_body(town, first=1001)
    assert (await town.refused("issuer", "POST", "/certificates/create", json=again))[:2] == (
        409,
        "ERR_ISSUED_TWICE",
    )
    other = bundle_body(town, 1, 1001) | {"device_capacity": 1}
    status, code, message = await town.refused("issuer", "POST", "/certificates/create", json=other)
    assert (status, code) == (422, "ERR_ATTRIBUTES_DIFFER")
    assert "device_capacity" in message
    assert len(await bundles(town)) == 1


async def test_many_bundles_stated_and_numbered_by_the_registry(town: Meters) -> None:
    stated = [bundle_body(town, hour) for hour in range(3)]
    for each in stated:
        del each["bundle_id_range_start"], each["bundle_id_range_end"]
    told = await town.done("issuer", "POST", "/certificates/create_many", 201, json={"bundles": stated})
    assert [each["bundle_id_range_start"] for each in told["bundles"]] == [1, 1001, 2001]
    assert told["result"] == {"bundles": 3, "energy_wh": 3000}
    assert [each["outpoint"] for each in await bundles(town)] == [each["outpoint"] for each in told["bundles"]]


async def test_one_bundle_of_many_that_is_wrong_is_named(town: Meters) -> None:
    stated = [bundle_body(town), bundle_body(town, 1, 1001) | {"face_value": 0}]
    reply = await town.ask("issuer", "POST", "/certificates/create_many", json={"bundles": stated})
    (fault,) = reply.json()["detail"]
    assert (reply.status, fault["loc"]) == (422, ["body", "bundles", 1, "face_value"])
    assert await bundles(town) == []


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"bundles": []},
        {"device_id": NOWHERE},
        {"readings": [reading(0)]},
        {"bundles": [{}], "device_id": NOWHERE},
        {"device_id": NOWHERE, "readings": [{"start": moment(0), "end": moment(1), "energy_wh": 0}]},
    ],
)
async def test_bodies_of_many_that_are_none(town: Meters, body: dict[str, Any]) -> None:
    assert (await town.refused("issuer", "POST", "/certificates/create_many", json=body))[:2] == (
        422,
        "ERR_INVALID_FIELD",
    )


async def test_a_body_of_many_may_be_larger_than_others(town: Meters) -> None:
    blanks = b" " * (town.running.node.settings.limits.body_bytes + 1)
    headers = {"Content-Type": "application/json"}
    large = orjson.dumps({"bundles": [bundle_body(town)]}) + blanks
    path = "/certificates/create_many"
    await town.done("issuer", "POST", path, 201, data=BytesIO(large), headers=headers)
    single = orjson.dumps(bundle_body(town)) + blanks
    told = await town.refused("issuer", "POST", "/certificates/create", data=BytesIO(single), headers=headers)
    assert told[:2] == (413, "ERR_BODY_TOO_LARGE")


# Private bundles


async def test_a_private_bundle_is_not_told_of_until_it_is_published(town: Meters) -> None:
    body = bundle_body(town) | {"broadcast": False}
    made = await town.done("issuer", "POST", "/certificates/create", 201, json=body)
    assert await bundles(town) == []
    publish = base(town, private_action_id=made["action_id"])
    told = await town.done("holder", "POST", "/certificates/publish", 202, json=publish)
    assert (told["action_response_status"], told["tx_ids"]) == ("accepted", [made["tx_id"]])
    assert [each["outpoint"] for each in await bundles(town)] == [made["outpoint"]]
    again = await town.done("holder", "POST", "/certificates/publish", 202, json=publish)
    assert again["error"]["code"] == "ERR_CERTIFICATE_UNKNOWN"


async def test_an_account_is_told_of_its_private_bundles_when_it_asks_for_them(town: Meters) -> None:
    await issue(town, reading(0))
    private = {"device_id": town.device_id, "readings": [reading(1), reading(2)], "broadcast": False}
    made = await town.done("issuer", "POST", "/certificates/create_many", 201, json=private)
    asked: dict[str, Any] = {"private": True}
    told = await bundles(town, **asked, include=["beef"])
    assert [each["outpoint"] for each in told] == [each["outpoint"] for each in made["bundles"]]
    assert {each["action_id"] for each in told} == {made["action_id"]}
    assert all(each["beef"] and each["timestamp_proof"] == {"status": "unproven"} for each in told)
    assert len(await bundles(town)) == 1
    window = {"certificate_period_start": moment(2), "certificate_period_end": moment(3)}
    for criteria in (window, {"sparse_filter_list": {town.device_id: moment(2)}}):
        assert await bundles(town, **asked, **criteria) == await bundles(town, **asked, **window)
        assert len(await bundles(town, **asked, **criteria)) == 1
    assert await bundles(town, **asked, certificate_status="Cancelled") == []
    first = await town.done("holder", "POST", "/certificates/query", 202, json=base(town, limit=1, **asked))
    rest = base(town, limit=1, cursor=first["cursor"], **asked)
    (second,) = (await town.done("holder", "POST", "/certificates/query", 202, json=rest))[
        "filtered_certificate_bundles"
    ]
    assert second["outpoint"] == told[1]["outpoint"]
    own = {"source_user_id": town.users["meter"]}
    assert (await town.refused("meter", "POST", "/certificates/query", json=base(town, **asked) | own))[0] == 403
    await town.done(
        "holder", "POST", "/certificates/publish", 202, json=base(town, private_action_id=made["action_id"])
    )
    assert await bundles(town, **asked) == []
    assert len(await bundles(town)) == 3


# Acting


async def test_an_action_repeats_the_filters_and_names_its_transaction(town: Meters) -> None:
    await issue(town)
    body = base(town, certificate_quantity=300, energy_source=["Solar PV"], beneficiary="Ada")
    told = await town.done("holder", "POST", "/certificates/cancel", 202, json=body)
    assert {name: told[name] for name in body if name != "beneficiary"} == {
        name: value for name, value in body.items() if name != "beneficiary"
    }
    assert told["action_response_status"] == "accepted"
    assert told["action_request_datetime"] <= told["action_completed_datetime"]
    (cancelled,) = await bundles(town, certificate_status="Cancelled")
    assert told["tx_ids"] == [cancelled["tx_id"]]


async def test_a_rejected_action_says_why_and_changes_nothing(town: Meters) -> None:
    await issue(town)
    before = await bundles(town)
    body = base(town, certificate_quantity=5000)
    told = await town.done("holder", "POST", "/certificates/cancel", 202, json=body)
    assert told["action_response_status"] == told["action_state"] == "rejected"
    assert told["error"]["code"] == "ERR_QUANTITY_LACKING"
    assert await bundles(town) == before


@pytest.mark.parametrize("path", ["reserve", "reseve", "certificates/reserve", "certificates/reseve"])
async def test_every_spelling_of_reserve(town: Meters, path: str) -> None:
    await issue(town)
    told = await town.done("holder", "POST", f"/certificates/{path}", 202, json=base(town))
    assert told["action_response_status"] == "accepted"


async def test_an_answer_does_not_wait_for_ever(town: Meters, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(vars(town.running.node.settings.registry), "action_wait_secs", 0)
    reply = await town.ask("issuer", "POST", "/certificates/create", json=bundle_body(town))
    told = reply.json()
    assert (reply.status, told["action_state"]) == (202, "received")


# Finding


async def test_pages_by_cursor(town: Meters) -> None:
    await issue(town, *(reading(hour) for hour in range(5)))
    found, cursor = [], {}
    while True:
        told = await town.done("holder", "POST", "/certificates/query", 202, json=base(town, limit=2) | cursor)
        found += [each["outpoint"] for each in told["filtered_certificate_bundles"]]
        if "cursor" not in told:
            break
        cursor = {"cursor": told["cursor"]}
    assert len(set(found)) == len(found) == 5


async def test_one_bundle_its_issuance_and_lineage(town: Meters) -> None:
    made = (await issue(town))["bundles"][0]
    bundle = await town.done("stranger", "GET", f"/certificates/bundle/{made['outpoint']}")
    assert bundle["beef"]
    whole = await town.done("stranger", "GET", f"/certificates/{made['issuance_id']}")
    assert [each["outpoint"] for each in whole["bundles"]] == [made["outpoint"]]
    lineage = await town.done("stranger", "GET", f"/certificates/{made['issuance_id']}/lineage")
    assert [step["events"] for step in lineage["timeline"]] == [["issuance"]]


@pytest.mark.parametrize(
    "path",
    [
        f"/certificates/{NOWHERE}",
        f"/certificates/{NOWHERE}/lineage",
        "/certificates/nothing",
        "/certificates/bundle/nothing",
        f"/certificates/bundle/{'00' * 32}.0",
        f"/certificates/bundle/{'00' * 32}.4294967296",
        f"/certificates/bundle/{'00' * 32}.00",
    ],
)
async def test_what_is_not_there(town: Meters, path: str) -> None:
    assert (await town.refused("holder", "GET", path))[:2] == (404, "ERR_CERTIFICATE_UNKNOWN")


# Actions


async def test_actions_are_listed_for_those_whose_they_are(town: Meters) -> None:
    await issue(town)
    action_id = (await town.act("cancel"))["action_id"]
    own = await town.done("holder", "GET", "/actions")
    assert [each["action_id"] for each in own["actions"]] == [action_id]
    assert "request" not in own["actions"][0]
    of_account = await town.done("holder", "GET", f"/actions?account_id={town.account_id}&state=resolved")
    assert action_id in [each["action_id"] for each in of_account["actions"]]
    everything = await town.done("admin", "GET", "/actions")
    assert len(everything["actions"]) > len(of_account["actions"])
    assert (await town.done("stranger", "GET", "/actions"))["actions"] == []
    assert (await town.done("holder", "GET", "/actions?state=rejected"))["actions"] == []


async def test_an_action_is_not_for_strangers(town: Meters) -> None:
    await issue(town)
    action_id = (await town.act("cancel"))["action_id"]
    assert (await town.done("holder", "GET", f"/actions/{action_id}"))["action"] == "cancel"
    assert (await town.refused("stranger", "GET", f"/actions/{action_id}"))[:2] == (403, "ERR_FORBIDDEN")
    path = f"/actions?account_id={town.account_id}"
    assert (await town.refused("stranger", "GET", path))[:2] == (403, "ERR_FORBIDDEN")


async def test_actions_page_by_page(town: Meters, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.registry.actions.MOST_LOOKED_AT", 2)
    await issue(town, *(reading(hour) for hour in range(4)))
    made = [(await town.act("cancel", certificate_quantity=1))["action_id"] for _ in range(5)]
    for limit, sizes in ((1, [1, 1, 1, 1, 1]), (3, [3, 2]), (5, [5]), (100, [5])):
        found, cursor = [], ""
        while True:
            told = await town.done("holder", "GET", f"/actions?state=resolved&limit={limit}{cursor}")
            found.append([each["action_id"] for each in told["actions"]])
            if "cursor" not in told:
                break
            cursor = f"&cursor={told['cursor']}"
        assert [len(page) for page in found] == sizes
        assert [each for page in found for each in page] == made[::-1]
    assert (await town.refused("holder", "GET", "/actions?limit=0"))[:2] == (422, "ERR_INVALID_FIELD")


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/actions?state=lost", "ERR_BAD_QUERY"),
        ("/actions?cursor=zz", "ERR_BAD_CURSOR"),
    ],
)
async def test_lists_that_cannot_be(town: Meters, path: str, code: str) -> None:
    assert (await town.refused("holder", "GET", path))[:2] == (400, code)


async def test_only_what_waits_for_a_signature_is_completed(town: Meters) -> None:
    await issue(town)
    action_id = (await town.act("cancel"))["action_id"]
    body = {"beef": b64encode(b"beef").decode()}
    path = f"/actions/{action_id}/complete"
    assert (await town.ask("holder", "POST", path, json=body)).status in (400, 409, 422)
    assert (await town.ask("holder", "POST", path, json={"beef": "%"})).status == 422
    binary = {"Content-Type": "application/octet-stream"}
    assert (await town.ask("holder", "POST", path, data=b"beef", headers=binary)).status in (400, 409, 422)
    unknown = f"/actions/{uuid4()}/complete"
    assert (await town.refused("holder", "POST", unknown, json=body))[:2] == (404, "ERR_ACTION_UNKNOWN")
    assert (await town.refused("stranger", "POST", path, json=body))[:2] == (403, "ERR_FORBIDDEN")


async def test_of_fifty_creates_of_one_interval_at_once_one_wins(town: Meters) -> None:
    """Fifty connections, each with the same bundle."""
    replies = await gather(
        *(town.ask("issuer", "POST", "/certificates/create", json=bundle_body(town)) for _ in range(50))
    )
    assert sorted(reply.status for reply in replies) == [201] + [409] * 49
    codes = {reply.json()["code"] for reply in replies if reply.status == 409}
    assert codes == {"ERR_ISSUED_TWICE"}
    assert [bundle["bundle_quantity"] for bundle in await bundles(town)] == [1000]


async def test_what_was_set_aside_is_taken_up_again_by_the_administrator(
    town: Meters, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = town.running.node.registry
    sender, send = registry.sender, registry.sender.send

    async def refuse_the_second(run: Any, alongside: Any) -> Any:
        if run.shares[0].first:
            raise BadRequest("the second transaction is refused", ErrorCode.DOUBLE_SPEND)
        return await send(run, alongside)

    monkeypatch.setattr(sender, "send", refuse_the_second)
    monkeypatch.setattr("energytag.queue._PAUSE_SECS", 0.01)
    body = {"device_id": town.device_id, "readings": [reading(-hour) for hour in range(150)]}
    refused = await town.refused("issuer", "POST", "/certificates/create_many", json=body)
    assert refused[1:] == ("ERR_DOUBLE_SPEND", "the second transaction is refused")
    (aside,) = (await town.done("admin", "GET", "/actions?state=pending"))["actions"]
    assert aside["error"]["code"] == "ERR_DOUBLE_SPEND"
    path = f"/actions/{aside['action_id']}/resume"
    assert (await town.refused("issuer", "POST", path))[:2] == (403, "ERR_FORBIDDEN")
    monkeypatch.setattr(sender, "send", send)
    told = await town.done("admin", "POST", path, 202)
    assert (told["action_state"], len(told["tx_ids"])) == ("resolved", 2)
    assert "error" not in told
    assert (await town.done("admin", "POST", path, 202))["tx_ids"] == told["tx_ids"]
    assert len(await bundles(town)) == 150
