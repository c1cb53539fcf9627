"""Organisations, users, accounts and devices over HTTP: who may register, change and see what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from energytag.records import ACTIONS

NOWHERE = "00000000-0000-7000-8000-000000000000"
ISSUER = "GC Issuer"
REGISTRAR = "Production Registrar"
HOLDER = "Account Holder"
WALLET = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"


@dataclass
class Person:
    """A user, and how he calls."""

    running: Any
    user_id: str
    token: str

    async def ask(self, method: str, path: str, body: Any = None) -> Any:
        headers = {"Authorization": f"Bearer {self.token}"}
        more = {} if body is None else {"json": body}
        return await self.running.ask(method, path, headers=headers, **more)

    async def status(self, method: str, path: str, body: Any = None) -> int:
        return int((await self.ask(method, path, body)).status)

    async def done(self, method: str, path: str, body: Any = None) -> Any:
        reply = await self.ask(method, path, body)
        assert reply.status == 200, reply.body
        return reply.json()


@dataclass
class Town:
    """Two organisations, with a holder each, and the bodies of the registry."""

    running: Any
    admin: Person
    own: str
    other: str
    holder: Person
    stranger: Person
    registrar: Person

    async def account(self, organisation_id: str | None = None, **more: Any) -> str:
        body = {"account_name": "Main", "organisation_id": organisation_id or self.own, **more}
        return str((await self.admin.done("POST", "/accounts", body))["account_id"])

    async def device(self, account_id: str) -> str:
        return str((await self.registrar.done("POST", "/devices", device_body(account_id)))["device_id"])


def device_body(account_id: str, **more: Any) -> dict[str, Any]:
    return {
        "device_name": "Roof 1",
        "grid": "10YNL----------L",
        "energy_source": "solar_pv",
        "technology_type": "solar_pv",
        "operational_date": "2021-04-01",
        "capacity": 100_000,
        "peak_demand": 0,
        "account_id": account_id,
        **more,
    }


async def person(running: Any, admin: Person, organisation_id: str, *roles: str) -> Person:
    body = {"name": "A", "primary_contact": "B", "role": list(roles), "organisation_id": organisation_id}
    user_id = (await admin.done("POST", "/users", body))["user_id"]
    told = await admin.done("POST", "/auth/token", {"user_id": user_id})
    return Person(running, user_id, told["token"])


@pytest.fixture
async def town(running: Any) -> Town:
    admin = Person(running, "", running.node.admin_token)
    ids = []
    for name in ("Own", "Other"):
        body = {"name": name, "business_id": 1, "primary_contact": "Ada"}
        ids.append((await admin.done("POST", "/organisations", body))["organisation_id"])
    people = [
        await person(running, admin, ids[0], HOLDER),
        await person(running, admin, ids[1], HOLDER),
        await person(running, admin, ids[1], REGISTRAR),
    ]
    return Town(running, admin, *ids, *people)


# EnergyTag's operations


@pytest.mark.parametrize("path", ["/accounts", "/accounts/account"])
async def test_the_life_of_an_account(town: Town, path: str) -> None:
    body = {"account_name": "Main", "organisation_id": town.own, "webhook_url": "https://a.example/hook"}
    made = await town.holder.done("POST", path, body)
    assert made["organisation"]["name"] == "Own" and made["is_custodial"] is True
    assert [each["user_id"] for each in made["users"]] == [town.holder.user_id]
    own = f"{path}/{made['account_id']}"
    assert await town.holder.done("GET", own) == made
    change = {"organisation_id": town.own, "account_name": "Second", "identity_key": WALLET}
    changed = await town.holder.done("PATCH", own, change)
    assert changed == made | {"account_name": "Second", "identity_key": WALLET, "is_custodial": False}
    assert await town.holder.done("DELETE", own) == changed
    assert (await town.admin.ask("GET", own)).json()["code"] == "ERR_ACCOUNT_UNKNOWN"


@pytest.mark.parametrize("path", ["/devices", "/devices/device"])
async def test_the_life_of_a_device(town: Town, path: str) -> None:
    body = device_body(await town.account(), meter_id="871687", location=[52.1, 5.2], country="nl", zone="NL")
    made = await town.registrar.done("POST", path, body)
    assert made == body | {"device_id": made["device_id"], "is_storage": False, "country": "NL"}
    own = f"{path}/{made['device_id']}"
    assert await town.registrar.done("GET", own) == made
    changed = await town.registrar.done("PATCH", own, {"account_id": body["account_id"], "capacity": 5})
    assert changed == made | {"capacity": 5}
    assert await town.registrar.done("DELETE", own) == changed
    assert (await town.admin.ask("GET", own)).json()["code"] == "ERR_DEVICE_UNKNOWN"


@pytest.mark.parametrize("path", ["/users", "/users/user"])
async def test_the_life_of_a_user(town: Town, path: str) -> None:
    body = {"name": "Ada", "primary_contact": "B", "role": [HOLDER, ISSUER, HOLDER], "organisation_id": town.own}
    made = await town.admin.done("POST", path, body)
    assert made == body | {"user_id": made["user_id"], "role": [HOLDER, ISSUER]}
    own = f"{path}/{made['user_id']}"
    assert await town.holder.done("GET", own) == made
    change = {"role": [REGISTRAR], "organisation_id": town.other, "account_id": await town.account()}
    changed = await town.admin.done("PATCH", own, change)
    assert changed == made | {"role": [REGISTRAR], "organisation_id": town.other}
    assert (await town.admin.done("GET", f"/accounts/{change['account_id']}"))["users"] == [changed]
    assert await town.admin.done("DELETE", own) == changed
    assert (await town.admin.done("GET", f"/accounts/{change['account_id']}"))["users"] == []


@pytest.mark.parametrize("path", ["/organisations", "/organisations/organisation"])
async def test_the_life_of_an_organisation(town: Town, path: str) -> None:
    body = {"name": "New", "business_id": 9, "primary_contact": "B", "website": "https://new.example"}
    made = await town.admin.done("POST", path, body)
    assert made == body | {"organisation_id": made["organisation_id"]}
    own = f"{path}/{made['organisation_id']}"
    assert await town.admin.done("GET", own) == made
    assert await town.admin.done("PATCH", own, {"address": "Street 1"}) == made | {"address": "Street 1"}
    assert (await town.admin.done("DELETE", own))["address"] == "Street 1"
    assert (await town.admin.ask("GET", own)).json()["code"] == "ERR_ORGANISATION_UNKNOWN"


async def test_what_is_in_use_is_not_deleted(town: Town) -> None:
    account_id = await town.account()
    await town.device(account_id)
    for path in (f"/accounts/{account_id}", f"/organisations/{town.own}"):
        reply = await town.admin.ask("DELETE", path)
        assert (reply.status, reply.json()["code"]) == (409, "ERR_STILL_IN_USE")


# Who may change what


async def test_who_may_register(town: Town) -> None:
    organisation = {"name": "New", "business_id": 9, "primary_contact": "B"}
    user = {"name": "A", "primary_contact": "B", "role": [], "organisation_id": town.own}
    account = {"account_name": "Main", "organisation_id": town.own}
    device = device_body(await town.account())
    table = [
        ("/organisations", organisation, (403, 403, 403, 200)),
        ("/users", user, (403, 403, 403, 200)),
        ("/accounts", account, (200, 403, 403, 200)),
        ("/devices", device, (403, 403, 200, 200)),
    ]
    for path, body, expected in table:
        people = (town.holder, town.stranger, town.registrar, town.admin)
        assert tuple([await each.status("POST", path, body) for each in people]) == expected, path


async def test_who_may_change_an_account(town: Town) -> None:
    account_id = (await town.holder.done("POST", "/accounts", {"account_name": "A", "organisation_id": town.own}))[
        "account_id"
    ]
    colleague = await person(town.running, town.admin, town.own, HOLDER)
    change = {"organisation_id": town.own, "account_name": "B"}
    people = (town.holder, colleague, town.stranger, town.registrar, town.admin)
    for method, path, body in (
        ("PATCH", f"/accounts/{account_id}", change),
        ("PUT", f"/accounts/{account_id}/whitelist", {"whitelist": []}),
    ):
        answers = [await each.status(method, path, body) for each in people]
        assert answers == [200, 403, 403, 403, 200]


async def test_a_stranger_is_invited_by_the_administrator_only(town: Town) -> None:
    made = await town.holder.done("POST", "/accounts", {"account_name": "A", "organisation_id": town.own})
    path, invite = (
        f"/accounts/{made['account_id']}",
        {"organisation_id": town.own, "user_id": town.stranger.user_id},
    )
    assert await town.holder.status("PATCH", path, invite) == 403
    assert await town.stranger.status("GET", path) == 403
    await town.admin.done("PATCH", path, invite)
    assert len((await town.stranger.done("GET", path))["users"]) == 2


async def test_a_whitelist(town: Town) -> None:
    first, second = await town.account(), await town.account()
    path = f"/accounts/{first}/whitelist"
    assert await town.admin.done("GET", path) == {"account_id": first, "whitelist": None}
    assert (await town.admin.done("PUT", path, {"whitelist": [second]}))["whitelist"] == [second]
    assert (await town.admin.done("GET", f"/accounts/{first}"))["whitelist"] == [second]
    assert (await town.admin.done("PUT", path, {"whitelist": None}))["whitelist"] is None
    assert await town.admin.status("PUT", path, {}) == 422
    assert await town.admin.status("PUT", path, {"whitelist": [NOWHERE]}) == 404


# What is wrong with a call


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/accounts/seven", None, 422),
        ("GET", f"/accounts/{NOWHERE}", None, 404),
        ("GET", f"/users/{NOWHERE}", None, 404),
        ("PATCH", f"/devices/{NOWHERE}", {"account_id": NOWHERE}, 404),
        ("DELETE", f"/organisations/{NOWHERE}", None, 404),
        ("PATCH", f"/accounts/{NOWHERE}", {"account_name": "A"}, 422),
        ("PATCH", f"/accounts/{NOWHERE}", {"organisation_id": NOWHERE, "account_id": WALLET[:8]}, 422),
        (
            "POST",
            "/users",
            {"name": "A", "primary_contact": "B", "role": ["King"], "organisation_id": NOWHERE},
            422,
        ),
        ("POST", "/accounts", {"account_name": "A", "organisation_id": NOWHERE}, 404),
        ("POST", "/accounts", {"account_name": "A", "organisation_id": NOWHERE, "webhook_url": "ftp://a"}, 422),
        (
            "POST",
            "/accounts",
            {"account_name": "A", "organisation_id": NOWHERE, "identity_key": "02" + "00" * 32},
            422,
        ),
        ("GET", "/accounts?limit=0", None, 422),
        ("GET", "/accounts?limit=x", None, 422),
        ("GET", "/accounts?cursor=", None, 422),
        ("GET", "/accounts?cursor=e30", None, 400),
        ("GET", "/accounts?cursor=WyJhbGwiLFsiYSIsImIiXV0", None, 400),
    ],
)
async def test_what_is_wrong(town: Town, method: str, path: str, body: Any, status: int) -> None:
    reply = await town.admin.ask(method, path, body)
    assert reply.status == status, reply.body
    if status == 422:
        assert {"loc", "msg", "type"} <= reply.json()["detail"][0].keys()


async def test_a_path_and_its_body_name_the_same_object(town: Town) -> None:
    path = f"/accounts/{await town.account()}"
    table = [
        {"organisation_id": town.own, "account_id": NOWHERE},
        {
            "organisation_id": town.own,
            "organisation": {"name": "A", "business_id": 1, "primary_contact": "B", "organisation_id": NOWHERE},
        },
    ]
    for body in table:
        assert await town.admin.status("PATCH", path, body) == 422


async def test_nothing_is_stored_of_a_call_that_is_not_allowed(town: Town) -> None:
    store = town.running.node.store
    before = await store.count(ACTIONS)
    await town.stranger.status("POST", "/devices", device_body(NOWHERE))
    await town.stranger.status("DELETE", f"/accounts/{await town.account()}")
    assert await store.count(ACTIONS) == before + 1


# Who sees what


async def test_who_sees_what(town: Town) -> None:
    account_id = await town.account()
    device_id = await town.device(account_id)
    table = [
        (f"/organisations/{town.own}", (200, 403, 403, 200)),
        (f"/users/{town.holder.user_id}", (200, 403, 403, 200)),
        (f"/accounts/{account_id}", (200, 403, 403, 200)),
        (f"/accounts/{account_id}/whitelist", (200, 403, 403, 200)),
        (f"/accounts/{account_id}/devices", (200, 403, 403, 200)),
        (f"/devices/{device_id}", (200, 403, 200, 200)),
        (f"/users/{town.registrar.user_id}", (403, 200, 200, 200)),
    ]
    for path, expected in table:
        people = (town.holder, town.stranger, town.registrar, town.admin)
        assert tuple([await each.status("GET", path) for each in people]) == expected, path


async def everything(caller: Person, path: str, limit: int) -> list[str]:
    """The ids of a whole list, page by page."""
    kind = path.rpartition("/")[2]
    found, cursor = [], ""
    while True:
        page = await caller.done("GET", f"{path}?limit={limit}{cursor}")
        assert len(page[kind]) <= limit
        found += [each[f"{kind[:-1]}_id"] for each in page[kind]]
        if page["cursor"] is None:
            return found
        cursor = f"&cursor={page['cursor']}"


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
async def test_lists(town: Town, limit: int) -> None:
    own = [await town.account() for _ in range(3)]
    others = [await town.account(town.other) for _ in range(2)]
    devices = {each: [await town.device(each) for _ in range(2)] for each in (*own, *others)}
    gone = await town.account()
    await town.admin.done("DELETE", f"/accounts/{gone}")
    invite = {"organisation_id": town.other, "user_id": town.holder.user_id}
    await town.admin.done("PATCH", f"/accounts/{others[0]}", invite)
    await town.admin.done(
        "PATCH", f"/accounts/{own[0]}", {"organisation_id": town.own, "user_id": town.holder.user_id}
    )
    mine, seen = [*own, others[0]], [device for each in (*own, others[0]) for device in devices[each]]
    every_device = [device for each in devices.values() for device in each]
    table = [
        (town.admin, "/accounts", own + others),
        (town.holder, "/accounts", mine),
        (town.stranger, "/accounts", others),
        (town.admin, "/devices", every_device),
        (town.registrar, "/devices", every_device),
        (town.holder, "/devices", seen),
        (town.holder, f"/accounts/{own[0]}/devices", devices[own[0]]),
        (town.holder, "/organisations", [town.own]),
        (town.admin, "/organisations", [town.own, town.other]),
        (town.holder, "/users", [town.holder.user_id]),
        (town.stranger, "/users", [town.stranger.user_id, town.registrar.user_id]),
    ]
    for caller, path, expected in table:
        assert sorted(await everything(caller, path, limit)) == sorted(expected), path
