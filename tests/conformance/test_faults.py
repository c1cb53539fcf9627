"""Whatever the registry is asked, by its own document or not, no answer is a fault of the server."""

from __future__ import annotations

from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

from tests.conformance.conftest import Live

ROOTS = (
    "/certificates",
    "/storage",
    "/accounts",
    "/users",
    "/devices",
    "/organisations",
    "/actions",
    "/auth",
    "/recurring",
    "/measurements",
    "/matching",
    "/statements",
    "/wallet",
)
CHECKS: list[Any] = [status_code_conformance, response_schema_conformance]


def no_fault(_context: Any, response: Any, _case: Any) -> None:
    """503 is an answer that a route may declare; everything else from 500 on is a fault."""
    assert response.status_code < 500 or response.status_code == 503, response.content


def test_no_request_ends_in_a_fault(live: Live, session: requests.Session) -> None:
    schema = schemathesis.openapi.from_url(f"{live.url}/openapi.json")
    probed = 0
    for result in schema.get_all_operations():
        operation = result.ok()
        if operation.path.startswith(ROOTS):
            probe(operation, live.node.admin_token)
            probed += 1
    assert probed > 34


def probe(operation: Any, token: str) -> None:
    """Ask in some of the ways that the document allows; no answer may be one that it does not tell of."""

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
        case.call_and_validate(headers={"Authorization": f"Bearer {token}"}, checks=[no_fault, *CHECKS])

    ask()


HOSTILE = [
    "{",
    "[]",
    "null",
    '"\\ud800"',
    '{"source_account_id": 1e400}',
    "[" * 1000,
    '{"a": ' * 200 + "1" + "}" * 200,
]


@pytest.mark.parametrize("body", HOSTILE)
@pytest.mark.parametrize(
    "path", ["/certificates/create", "/certificates/transfer", "/certificates/query", "/users"]
)
def test_no_body_ends_in_a_fault(live: Live, session: requests.Session, path: str, body: str) -> None:
    headers = {"Content-Type": "application/json"}
    reply = session.post(live.url + path, data=body.encode(), headers=headers, timeout=30)
    assert reply.status_code in (400, 422)
