"""`/auth` over HTTP: tokens from the administrator, logins with a wallet, and what a token opens."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from api.node import Node
from config.secrets import SecretUnusable
from overlay.keys import PrivateKey

WALLET = PrivateKey.from_int(32)
NOBODY = "00000000-0000-7000-8000-000000000000"


async def user_at(running: Any, **more: Any) -> str:
    reply = await running.admin(
        "POST", "/organisations", json={"name": "Grid", "business_id": 1, "primary_contact": "Ada"}
    )
    body = {
        "name": "Ada",
        "primary_contact": "ada@grid.example",
        "role": ["Account Holder"],
        "organisation_id": reply.json()["organisation_id"],
        **more,
    }
    reply = await running.admin("POST", "/users", json=body)
    assert reply.status == 200, reply.body
    return str(reply.json()["user_id"])


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def me(running: Any, token: str) -> Any:
    return await running.get("/users/me", headers=bearer(token))


def signature_of(told: dict[str, Any], key: PrivateKey = WALLET) -> str:
    level, name = told["protocol"]
    own = key.derive((level, name), told["key_id"], bytes.fromhex(told["counterparty"]))
    return own.sign(sha256(bytes.fromhex(told["challenge"])).digest()).hex()


async def test_the_administrator_gives_tokens(running: Any) -> None:
    user_id = await user_at(running)
    reply = await running.admin("POST", "/auth/token", json={"user_id": user_id, "hours": 1})
    told = reply.json()
    assert reply.status == 200 and told["token_type"] == "Bearer" and told["expires"].endswith("Z")
    assert (await me(running, told["token"])).json()["user_id"] == user_id


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"user_id": NOBODY}, 404),
        ({"user_id": "ada"}, 422),
        ({}, 422),
        ({"user_id": NOBODY, "hours": 0}, 422),
        ({"user_id": NOBODY, "hours": 1e9}, 422),
        ({"user_id": NOBODY, "hours": "1"}, 422),
    ],
)
async def test_tokens_that_are_not_given(running: Any, body: dict[str, Any], status: int) -> None:
    assert (await running.admin("POST", "/auth/token", json=body)).status == status


async def test_only_the_administrator_gives_tokens(running: Any) -> None:
    user_id = await user_at(running, role=["Registry Administrator"])
    reply = await running.admin("POST", "/auth/token", json={"user_id": user_id})
    headers = bearer(reply.json()["token"])
    assert (await running.post("/auth/token", {"user_id": user_id})).status == 401
    assert (await running.post("/auth/token", {"user_id": user_id}, headers=headers)).status == 403


async def test_a_wallet_logs_in(running: Any) -> None:
    user_id = await user_at(running, identity_key=WALLET.public.hex())
    told = (await running.post("/auth/challenge", {"identity_key": WALLET.public.hex()})).json()
    assert told["counterparty"] == running.node.identity.hex()
    body = {"challenge": told["challenge"], "signature": signature_of(told)}
    reply = await running.post("/auth/login", body)
    assert reply.status == 200 and reply.json()["user_id"] == user_id
    assert (await me(running, reply.json()["token"])).status == 200
    again = await running.post("/auth/login", body)
    assert (again.status, again.json()["code"]) == (401, "ERR_UNAUTHORIZED")


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"signature": "00"}, 401),
        ({"signature": "0"}, 422),
        ({"signature": ""}, 422),
        ({"challenge": "ff" * 90}, 401),
        ({"challenge": "zz"}, 422),
        ({"challenge": "00" * 1000}, 422),
        ({"key_id": "another"}, 401),
        ({"key_id": ""}, 422),
    ],
)
async def test_logins_that_fail(running: Any, changes: dict[str, Any], status: int) -> None:
    await user_at(running, identity_key=WALLET.public.hex())
    told = (await running.post("/auth/challenge", {"identity_key": WALLET.public.hex()})).json()
    body = {"challenge": told["challenge"], "signature": signature_of(told)} | changes
    assert (await running.post("/auth/login", body)).status == status


@pytest.mark.parametrize("identity", ["", "02" + "00" * 32, "05" + "11" * 32, "02ab"])
async def test_no_challenge_for_what_is_no_key(running: Any, identity: str) -> None:
    assert (await running.post("/auth/challenge", {"identity_key": identity})).status == 422


async def test_a_token_ends_with_its_user(running: Any) -> None:
    user_id = await user_at(running)
    token = (await running.admin("POST", "/auth/token", json={"user_id": user_id})).json()["token"]
    assert (await running.admin("DELETE", f"/users/{user_id}")).status == 200
    assert (await me(running, token)).status == 401


async def test_tokens_are_revoked(running: Any) -> None:
    user_id = await user_at(running)
    token = (await running.admin("POST", "/auth/token", json={"user_id": user_id})).json()["token"]
    kept = (await me(running, token)).json()
    change = {"organisation_id": kept["organisation_id"], "role": kept["role"], "revoke_tokens": True}
    assert (await running.admin("PATCH", f"/users/{user_id}", json=change)).status == 200
    assert (await me(running, token)).json()["message"] == "This token was revoked: log in again"


@pytest.mark.parametrize("header", [{}, {"Authorization": "Bearer x.y.z"}, {"Authorization": "Basic YTpi"}])
async def test_without_a_token_that_is_good(running: Any, header: dict[str, str]) -> None:
    for method, path in [("GET", "/users/me"), ("GET", "/accounts"), ("POST", "/accounts"), ("GET", "/devices")]:
        reply = await running.ask(method, path, headers=header)
        assert reply.status == 401 and reply.headers["WWW-Authenticate"]


async def test_the_operator_is_no_user(running: Any) -> None:
    assert (await running.admin("GET", "/users/me")).json()["code"] == "ERR_USER_UNKNOWN"


async def test_nodes_that_share_a_secret_take_each_others_tokens(settings_of: Any, tmp_path: Path) -> None:
    secret = tmp_path / "jwt.secret"
    secret.write_text("s" * 40)
    secret.chmod(0o600)
    access = {"jwt_secret_file": secret}
    token = Node(settings_of(access=access)).tokens.issue(NOBODY).token
    assert Node(settings_of(access=access, node={"data_dir": tmp_path / "b"})).tokens.check(token)
    secret.write_text("short")
    with pytest.raises(SecretUnusable):
        Node(settings_of(access=access))
