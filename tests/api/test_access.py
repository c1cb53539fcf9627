"""Tokens of administrators and of ARC."""

from __future__ import annotations

from typing import Any

import pytest

from api.access import same_secret

NONE = "Unauthorized: Provide a Bearer token or authenticate with your wallet"
WRONG = "Forbidden: Invalid credentials"


@pytest.mark.parametrize(
    ("given", "secret", "same"),
    [
        ("a", "a", True),
        ("a", "b", False),
        ("", "", False),
        ("", "a", False),
        ("é", "é", True),
        ("\udcff", "a", False),
    ],
)
def test_secrets(given: str, secret: str, same: bool) -> None:
    assert same_secret(given, secret) is same


@pytest.mark.parametrize(
    ("header", "status", "message"),
    [
        (None, 401, NONE),
        ("", 401, NONE),
        ("Bearer", 401, NONE),
        ("Basic abc", 401, NONE),
        ("Bearer wrong", 403, WRONG),
        ("Bearer {token}x", 403, WRONG),
        ("bearer {token}", 200, None),
        ("Bearer  {token} ", 200, None),
    ],
)
async def test_admin(running: Any, header: str | None, status: int, message: str | None) -> None:
    headers = {} if header is None else {"Authorization": header.format(token=running.node.admin_token)}
    reply = await running.get("/admin/stats", headers=headers)
    assert reply.status == status
    if message is not None:
        assert reply.json()["message"] == message


async def test_every_admin_route_but_one_needs_the_token(running: Any) -> None:
    paths = (await running.get("/openapi.json")).json()["paths"]
    admin = {path: verbs for path, verbs in paths.items() if path.startswith("/admin/")}
    asked = [(verb.upper(), path) for path, verbs in admin.items() for verb in verbs]
    open_ones = [path for verb, path in asked if (await running.ask(verb, path)).status != 401]
    assert len(admin) > 4
    assert open_ones == ["/admin/config"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": "Bearer wrong"}, 401),
        ({"x-callback-token": "wrong"}, 401),
        ({"Authorization": "Bearer {token}"}, 400),
        ({"x-callback-token": "{token}"}, 400),
    ],
)
async def test_arc(running: Any, headers: dict[str, str], status: int) -> None:
    shown = {name: value.format(token=running.node.callback_token) for name, value in headers.items()}
    reply = await running.post("/arc-ingest", {}, headers=shown)
    assert reply.status == status
    if status == 401:
        assert reply.json()["message"] == "Unauthorized callback"


async def test_the_admin_token_is_no_callback_token(running: Any) -> None:
    reply = await running.post("/arc-ingest", {}, headers={"x-callback-token": running.node.admin_token})
    assert reply.status == 401
