"""Every route of the reference's API that is served here answers in its shapes (`contract.yaml`)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

CONTRACT: dict[str, Any] = yaml.safe_load((Path(__file__).parent / "contract.yaml").read_text("utf-8"))
GC = "tm_metawatt_gc"
TXID = "00" * 32
# What later issues bring; until then these are unknown routes.
NOT_YET = {
    "/requestSyncResponse",
    "/requestForeignGASPNode",
    "/admin/ship-records",
    "/admin/slap-records",
    "/admin/bans",
    "/admin/ban",
    "/admin/unban",
    "/admin/health-check",
    "/admin/janitor",
    "/admin/syncAdvertisements",
    "/admin/startGASPSync",
}


def with_dev_network(contract: dict[str, Any]) -> dict[str, Any]:
    """The contract, but that a node may also be on a dev network: that one is ours."""
    for name in ("HealthReport", "AdminStatsResponse"):
        properties = contract["components"]["schemas"][name]["properties"]
        part = properties["service"] if name == "HealthReport" else properties["data"]
        part["properties"]["network"]["enum"].append("dev")
    return contract


REGISTRY: Registry[Any] = Registry().with_resource(
    "urn:contract", Resource.from_contents(with_dev_network(CONTRACT), default_specification=DRAFT202012)
)


def schema_of(path: str, method: str, status: int, media_type: str) -> Any:
    """The contract's schema of a reply."""
    pointer = f"/paths/{path.replace('/', '~1')}/{method}/responses/{status}"
    responses = CONTRACT["paths"][path][method]["responses"]
    reply = responses[str(status)]
    if "$ref" in reply:
        pointer = reply["$ref"].removeprefix("#")
        reply = CONTRACT["components"]["responses"][pointer.rpartition("/")[2]]
    assert media_type in reply["content"], f"{path} may not answer {media_type} with {status}"
    return {"$ref": f"urn:contract#{pointer}/content/{media_type.replace('/', '~1')}/schema"}


def check(path: str, method: str, reply: Any) -> None:
    media_type = reply.headers["Content-Type"].partition(";")[0]
    schema = schema_of(path, method, reply.status, media_type)
    if media_type == "application/json":
        jsonschema.Draft202012Validator(schema, registry=REGISTRY).validate(reply.json())


def test_all_routes_are_tested_or_of_later_issues() -> None:
    assert {path for _, path, _, _ in EXCHANGES} | NOT_YET == set(CONTRACT["paths"])


async def bearer(running: Any) -> dict[str, Any]:
    return {"headers": {"Authorization": f"Bearer {running.node.admin_token}"}}


async def submission(running: Any) -> dict[str, Any]:
    certificate = await running.certificate()
    return {
        "data": certificate.beef,
        "headers": {"x-topics": f'["{GC}"]', "Content-Type": "application/octet-stream"},
    }


async def admitted(running: Any) -> Any:
    certificate = await running.certificate()
    assert (await running.submit(certificate.beef)).status == 200
    return certificate


async def question(running: Any) -> dict[str, Any]:
    await admitted(running)
    return {"json": {"service": "ls_metawatt", "query": {}}}


async def aggregated(running: Any) -> dict[str, Any]:
    return {**await question(running), "headers": {"X-Aggregation": "yes"}}


async def target(running: Any) -> dict[str, Any]:
    certificate = await admitted(running)
    return {"json": {"txid": certificate.txid_hex, "outputIndex": 0}, **await bearer(running)}


async def status(running: Any) -> dict[str, Any]:
    certificate = await admitted(running)
    return {
        "json": {"txid": certificate.txid_hex, "txStatus": "REJECTED"},
        "headers": {"x-callback-token": running.node.callback_token},
    }


def given(**request: Any) -> Callable[[Any], Any]:
    async def make(_running: Any) -> dict[str, Any]:
        return request

    return make


NOTHING = given()
TARGET = {"txid": TXID, "outputIndex": 0}
EXCHANGES = [
    ("post", "/submit", submission, 200),
    ("post", "/submit", given(data=b"x"), 400),
    ("post", "/lookup", question, 200),
    ("post", "/lookup", aggregated, 200),
    ("post", "/lookup", given(json={}), 400),
    ("get", "/listTopicManagers", NOTHING, 200),
    ("get", "/listLookupServiceProviders", NOTHING, 200),
    ("get", "/getDocumentationForTopicManager", given(params={"manager": GC}), 200),
    ("get", "/getDocumentationForLookupServiceProvider", given(params={"lookupService": "ls_metawatt"}), 200),
    ("post", "/arc-ingest", status, 200),
    ("get", "/health", NOTHING, 200),
    ("get", "/health/live", NOTHING, 200),
    ("get", "/health/ready", NOTHING, 200),
    ("get", "/admin/config", NOTHING, 200),
    ("get", "/admin/stats", bearer, 200),
    ("get", "/admin/stats", NOTHING, 401),
    ("get", "/admin/stats", given(headers={"Authorization": "Bearer x"}), 403),
    ("post", "/admin/evictOutpoint", target, 200),
    ("post", "/admin/evictOutpoint", given(json=TARGET), 401),
    ("post", "/admin/remove-token", target, 200),
    ("post", "/admin/remove-token", given(json=TARGET, headers={"Authorization": "Bearer x"}), 403),
]


@pytest.mark.parametrize(("method", "path", "request_for", "expected"), EXCHANGES)
async def test_an_exchange(running: Any, method: str, path: str, request_for: Any, expected: int) -> None:
    reply = await running.ask(method.upper(), path, **await request_for(running))
    assert reply.status == expected, reply.body
    check(path, method, reply)


@pytest.mark.parametrize("path", ["/health", "/health/ready"])
async def test_not_ready(launch: Any, path: str) -> None:
    reply = await (await launch(ready=False)).get(path)
    assert reply.status == 503
    check(path, "get", reply)


async def test_later_routes_are_unknown(running: Any) -> None:
    for path in sorted(NOT_YET):
        for verb in CONTRACT["paths"][path]:
            reply = await running.ask(verb.upper(), path)
            assert (reply.status, reply.json()["code"]) == (404, "ERR_ROUTE_NOT_FOUND")
