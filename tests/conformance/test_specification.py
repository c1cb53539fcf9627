"""Every operation of EnergyTag's specification against a running node: `specification.json` has its facts."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import jsonschema
import pytest
import requests
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from tests.conformance.conftest import Live, call
from tests.conformance.valid import VALID, Valid
from tests.conformance.world import World

Operation = dict[str, Any]
SPECIFICATION: dict[str, Any] = json.loads((Path(__file__).parent / "specification.json").read_text("utf-8"))
OPERATIONS: list[Operation] = SPECIFICATION["operations"]
SCHEMAS: dict[str, Any] = SPECIFICATION["schemas"]
REGISTRY: Registry[Any] = Registry().with_resource(
    "urn:specification",
    Resource.from_contents({"components": {"schemas": SCHEMAS}}, default_specification=DRAFT202012),
)
FORMATS = jsonschema.FormatChecker(formats=())

# What this registry does not insist on: a field of answers that the specification asks of requests, what the
# discharge record tells of the bundle that is issued from it, and that a meter's number is a UUID.
LENIENT = {"action_response_status"}
TOLD_BY_RECORD = "/storage/issue_sdgc"
FREE_TEXT = {"meter_id"}


@FORMATS.checks("uuid", raises=ValueError)
def _is_uuid(value: object) -> bool:
    return not isinstance(value, str) or str(UUID(value)) == value


@FORMATS.checks("date-time", raises=ValueError)
def _is_moment(value: object) -> bool:
    return not isinstance(value, str) or datetime.fromisoformat(value).tzinfo is not None


def check(reply: requests.Response, schema: str) -> Any:
    """The answer's JSON, valid by a schema of the specification."""
    value = reply.json()
    validator = jsonschema.Draft202012Validator(
        {"$ref": f"urn:specification#/components/schemas/{schema}"}, registry=REGISTRY, format_checker=FORMATS
    )
    validator.validate(value)
    return value


def name_of(operation: Operation) -> str:
    return f"{operation['method']} {operation['path']}"


def ask(live: Live, session: requests.Session, operation: Operation, path: str, valid: Valid) -> requests.Response:
    if valid.subject_id is not None:
        path = path[: path.index("{")] + valid.subject_id
    return call(session, live.url, operation["method"], path, valid.body)


def spellings(operation: Operation) -> list[str]:
    """The paths under which an operation must be served: short, doubled, and as documented."""
    path: str = operation["path"]
    root = path.split("/")[1]
    return list(
        dict.fromkeys([path, operation["documented"], *([f"/{root}{path}"] if root == "certificates" else [])])
    )


@pytest.fixture(params=OPERATIONS, ids=name_of)
def operation(request: pytest.FixtureRequest) -> Operation:
    found: Operation = request.param
    return found


def make(operation: Operation, world: World) -> Valid:
    return VALID[operation["method"], operation["path"]](world)


WITH_BODY = [pytest.param(each, id=name_of(each)) for each in OPERATIONS if each["request"] is not None]


def test_it_has_all_operations() -> None:
    assert len(OPERATIONS) == 34
    assert {(each["method"], each["path"]) for each in OPERATIONS} == VALID.keys()
    assert all(each["errors"] == {"422": "HTTPValidationError"} for each in OPERATIONS)


def test_a_valid_request_is_answered_as_specified(
    live: Live, session: requests.Session, world: World, operation: Operation
) -> None:
    for path in spellings(operation):
        reply = ask(live, session, operation, path, make(operation, world))
        assert reply.status_code == operation["status"], f"{path}: {reply.text}"
        answer = check(reply, operation["response"])
        assert answer.get("action_response_status", "accepted") == "accepted", answer["error"]


@pytest.mark.parametrize("operation", WITH_BODY)
def test_every_required_field_is_required(
    live: Live, session: requests.Session, world: World, operation: Operation
) -> None:
    valid = make(operation, world)
    assert valid.body is not None
    for name in SCHEMAS[operation["request"]].get("required", ()):
        if name in LENIENT or operation["path"] == TOLD_BY_RECORD:
            continue
        body = {key: value for key, value in valid.body.items() if key != name}
        reply = ask(live, session, operation, operation["path"], Valid(body, valid.subject_id))
        assert reply.status_code == 422, f"without {name}: {reply.text}"
        assert ["body", name] in [each["loc"] for each in check(reply, "HTTPValidationError")["detail"]]


@pytest.mark.parametrize("operation", WITH_BODY)
def test_every_field_must_be_of_its_type(
    live: Live, session: requests.Session, world: World, operation: Operation
) -> None:
    valid = make(operation, world)
    for name, schema in SCHEMAS[operation["request"]]["properties"].items():
        for wrong in wrong_values({"type": "string"} if name in FREE_TEXT else schema):
            body = {**(valid.body or {}), name: wrong}
            reply = ask(live, session, operation, operation["path"], Valid(body, valid.subject_id))
            assert reply.status_code == 422, f"{name}: {wrong!r}: {reply.text}"
            detail = check(reply, "HTTPValidationError")["detail"]
            assert any(each["loc"][:2] == ["body", name] for each in detail), f"{name}: {wrong!r}: {detail}"


def wrong_values(schema: Any) -> list[Any]:
    """Values that a schema does not allow."""
    match schema.get("type"), schema.get("format"):
        case "string", None:
            return [17, True, ["text"], {}]
        case "string", _:
            return ["17", 17, ["2026-01-01T00:00:00Z"]]
        case (("integer" | "number"), _):
            return ["many", True, [1], 0.5] if schema["type"] == "integer" else ["many", True, [1]]
        case "boolean", _:
            return ["perhaps", 17]
        case "array", _:
            return ["text", 17, {}, [{}]]
        case _:
            return ["text", 17]


@pytest.mark.parametrize("operation", WITH_BODY)
def test_a_body_must_be_an_object(
    live: Live, session: requests.Session, world: World, operation: Operation
) -> None:
    valid = make(operation, world)
    for body in ([], "text", 17, [valid.body]):
        reply = ask(live, session, operation, operation["path"], Valid(body, valid.subject_id))  # type: ignore[arg-type]
        assert reply.status_code == 422, reply.text
        check(reply, "HTTPValidationError")


def test_what_is_not_json_is_told_so(live: Live, session: requests.Session) -> None:
    headers = {"Content-Type": "application/json"}
    for path in ("/certificates/create", "/accounts", "/storage/create_scr"):
        reply = session.post(live.url + path, data=b"{", headers=headers, timeout=30)
        assert (reply.status_code, reply.json()["code"]) == (400, "ERR_BAD_JSON")


def test_the_own_document_has_every_operation_and_marks_the_others(live: Live, session: requests.Session) -> None:
    document = session.get(f"{live.url}/openapi.json", timeout=30).json()
    for each in OPERATIONS:
        told = document["paths"][each["path"]][each["method"].lower()]
        assert "x-metawatt-extension" not in told, name_of(each)
        assert str(each["status"]) in told["responses"]
        assert "422" in told["responses"], name_of(each)
    specified = {(each["method"].lower(), each["path"]) for each in OPERATIONS}
    roots = {each["path"].split("/")[1] for each in OPERATIONS}
    for path, verbs in document["paths"].items():
        for verb, told in verbs.items():
            if path.split("/")[1] in roots and (verb, path) not in specified:
                assert told.get("x-metawatt-extension"), f"{verb} {path}"


def test_nobody_calls_without_a_token(live: Live, operation: Operation) -> None:
    path = operation["path"].replace("{", "").replace("}", "")
    reply = requests.request(operation["method"], live.url + path, json={}, timeout=30)
    assert reply.status_code == 401
