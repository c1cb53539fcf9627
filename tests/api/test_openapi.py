"""`/openapi.json` is valid, tells of exactly what is served, and what is served keeps to it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import jsonschema
import pytest
import schemathesis
import uvloop
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

from api.app import ROUTES, create_app
from api.node import Node
from api.server import Server


def no_fault(_context: Any, response: Any, _case: Any) -> None:
    """503 is an answer that a route may declare; everything else from 500 on is a fault."""
    assert response.status_code < 500 or response.status_code == 503, response.content


CHECKS = [no_fault, status_code_conformance, response_schema_conformance]
# These answer as ARC and the headers service do, whose errors are documented there.
FOREIGN = ("/dev/arc/", "/dev/headers/")
# An event stream does not end by itself; tests/api/test_mirror_events.py listens to it.
WITHOUT_END = ("/bridge/events",)


async def test_it_tells_of_exactly_what_is_served(launch: Any) -> None:
    running = await launch(ready=False)
    app = create_app(running.node)
    served = {
        (route.method, route.resource.canonical)
        for route in app.router.routes()
        if route.resource is not None and route.method not in ("HEAD", "*")
    }
    document = (await running.get("/openapi.json")).json()
    told = {(verb.upper(), path) for path, verbs in document["paths"].items() for verb in verbs}
    assert told == {(route.method, route.path) for route in app[ROUTES]}
    assert served == {(route.method, path) for route in app[ROUTES] for path in route.paths}


async def test_it_is_valid(launch: Any) -> None:
    document = (await (await launch(ready=False)).get("/openapi.json")).json()
    assert document["openapi"] == "3.1.0"
    operations = [entry["operationId"] for verbs in document["paths"].values() for entry in verbs.values()]
    assert len(operations) == len(set(operations))
    for schema in document["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)
    names = set(document["components"]["schemas"])
    assert {name.rpartition("/")[2] for name in references(document)} <= names
    used_tags = {tag for verbs in document["paths"].values() for entry in verbs.values() for tag in entry["tags"]}
    assert used_tags == {tag["name"] for tag in document["tags"]}


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "$ref":
                yield inner
            else:
                yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


async def test_dev_routes_are_there_on_the_dev_network_only(launch: Any) -> None:
    document = (await (await launch(ready=False)).get("/openapi.json")).json()
    assert "/dev/faucet" in document["paths"]


@pytest.fixture
def elsewhere(settings_of: Callable[..., Any]) -> Iterator[Node]:
    """A node that runs in a thread and loop of its own, for a client that blocks."""
    node, started, stop = Node(settings_of()), threading.Event(), asyncio.Event()
    box: dict[str, Any] = {}

    async def serve() -> None:
        box["loop"] = asyncio.get_running_loop()
        server = Server(node)
        try:
            await server.start()
            box["url"] = f"http://127.0.0.1:{server.port}"
            started.set()
            await stop.wait()
        finally:
            started.set()
            await server.stop()

    thread = threading.Thread(target=uvloop.run, args=(serve(),))
    thread.start()
    assert started.wait(60)
    node.url = box["url"]  # type: ignore[attr-defined]
    yield node
    box["loop"].call_soon_threadsafe(stop.set)
    thread.join(60)


def test_no_request_that_the_document_allows_ends_in_a_fault(elsewhere: Node) -> None:
    schema = schemathesis.openapi.from_url(f"{elsewhere.url}/openapi.json")  # type: ignore[attr-defined]
    tokens = {
        "AdminToken": elsewhere.admin_token,
        "CallbackToken": elsewhere.callback_token,
        "CallerToken": elsewhere.admin_token,
    }
    for result in schema.get_all_operations():
        operation = result.ok()
        if operation.path in WITHOUT_END:
            continue
        schemes = [name for scheme in operation.definition.raw.get("security", []) for name in scheme]
        probe(operation, {"Authorization": f"Bearer {tokens[schemes[0]]}"} if schemes else {})


def probe(operation: Any, headers: dict[str, str]) -> None:
    """Ask in some of the ways that the document allows; no answer may be one that it does not tell of."""
    checks = [no_fault] if operation.path.startswith(FOREIGN) else CHECKS

    @settings(
        max_examples=12,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy())
    def ask(case: Any) -> None:
        case.call_and_validate(headers=headers, checks=checks)

    ask()
