"""The directory's actions, through the real queue: what they keep, what they refuse, and what a log gives back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from config.errors import MetawattError, NotFound
from energytag.accounts import account, holder_of
from energytag.actions import Action, Kind, State
from energytag.all_collections import COLLECTIONS
from energytag.devices import device
from energytag.memberships import MOST_MEMBERS, is_member, members_of, membership_key
from energytag.models.common import read
from energytag.models.directory import DeviceBase, UserUpdate, changes_of
from energytag.organisations import organisation
from energytag.rebuild_directory import writes_of
from energytag.records import ACTIONS, DIRECTORY, MEMBERSHIPS, USERS
from energytag.users import user, user_of_identity
from overlay.keys import PrivateKey
from store.port import Collection, Delete, Find, Insert, Store
from store.sqlite import SqliteStore
from tests.energytag.kit import ACCOUNT, DEVICE, RegistryNode

NOWHERE = "00000000-0000-7000-8000-000000000000"
WALLET = PrivateKey.from_int(77).public


class Desk:
    """Registers things at a registry; ids come back."""

    def __init__(self, node: RegistryNode) -> None:
        self.node = node
        self.store = node.store

    async def act(self, kind: Kind, request: Mapping[str, Any], user_id: str | None = None) -> Action:
        outcome = await self.node.registry.act(
            kind, request, user_id=user_id, account_id=request.get("account_id"), wait_secs=30
        )
        return outcome.action

    async def make(self, kind: Kind, request: Mapping[str, Any], user_id: str | None = None) -> str:
        action = await self.act(kind, request, user_id)
        assert action.state is State.RESOLVED, action.error
        return str(action.result["id"])

    async def refused(self, kind: Kind, request: Mapping[str, Any], user_id: str | None = None) -> str:
        """The code of a refusal."""
        action = await self.act(kind, request, user_id)
        assert action.error is not None
        return action.error["code"]

    async def organisation(self, name: str = "Grid") -> str:
        body = {"name": name, "business_id": 7, "primary_contact": "Ada"}
        return await self.make(Kind.ORGANISATION_CREATE, body)

    async def user(self, organisation_id: str, role: str = "Account Holder", **more: Any) -> str:
        body = {"name": "Ada", "primary_contact": "ada@grid.example", "role": [role]}
        return await self.make(Kind.USER_CREATE, {**body, "organisation_id": organisation_id, **more})

    async def account(self, organisation_id: str, user_id: str | None = None, **more: Any) -> str:
        body = {"account_name": "Main", "organisation_id": organisation_id, **more}
        return await self.make(Kind.ACCOUNT_CREATE, body, user_id)

    async def device(self, account_id: str) -> str:
        return await self.make(Kind.DEVICE_CREATE, device_body(account_id))


def device_body(account_id: str) -> dict[str, Any]:
    return {
        "device_name": "Roof 1",
        "grid": "10YNL----------L",
        "energy_source": "solar_pv",
        "technology_type": "solar_pv",
        "operational_date": "2021-04-01",
        "capacity": 100_000,
        "peak_demand": 0,
        "account_id": account_id,
        "location": [52.1, 5.2],
        "is_storage": False,
    }


@pytest.fixture
def desk(registry: RegistryNode) -> Desk:
    return Desk(registry)


async def everything(store: Store) -> dict[str, list[dict[str, Any]]]:
    """The whole directory."""
    return {each.name: await whole(store, each) for each in DIRECTORY}


async def whole(store: Store, collection: Collection) -> list[dict[str, Any]]:
    return (await store.find(collection, Find(limit=10_000))).documents


# Life


async def test_what_is_registered_is_kept(desk: Desk) -> None:
    organisation_id = await desk.organisation()
    user_id = await desk.user(organisation_id, identity_key=WALLET.hex())
    account_id = await desk.account(organisation_id, user_id)
    device_id = await desk.device(account_id)
    assert (await organisation(desk.store, organisation_id))["business_id"] == 7
    found = await user_of_identity(desk.store, WALLET)
    assert found is not None and found["_id"] == user_id
    assert await is_member(desk.store, account_id, user_id)
    kept = await device(desk.store, device_id)
    assert kept["capacity_w"] == 100_000 and kept["location"] == [52.1, 5.2] and kept["zone"] is None


async def test_an_administrator_acts_for_no_account_that_he_registers(desk: Desk) -> None:
    organisation_id = await desk.organisation()
    user_id = await desk.user(organisation_id, "Registry Administrator")
    account_id = await desk.account(organisation_id, user_id)
    assert await members_of(desk.store, account_id) == []


async def test_an_update_changes_what_it_names(desk: Desk) -> None:
    organisation_id = await desk.organisation()
    account_id = await desk.account(organisation_id, webhook_url="https://a.example/hook")
    change = {"account_id": account_id, "organisation_id": organisation_id, "account_name": "Second"}
    await desk.make(Kind.ACCOUNT_UPDATE, change)
    kept = await account(desk.store, account_id)
    assert (kept["name"], kept["webhook_url"], kept["rev"]) == ("Second", "https://a.example/hook", 2)
    await desk.make(Kind.ACCOUNT_UPDATE, {**change, "webhook_url": None})
    assert (await account(desk.store, account_id))["webhook_url"] is None


async def test_an_organisation_can_be_renamed(desk: Desk) -> None:
    organisation_id = await desk.organisation()
    await desk.make(Kind.ORGANISATION_UPDATE, {"organisation_id": organisation_id, "name": "Wires"})
    kept = await organisation(desk.store, organisation_id)
    assert (kept["name"], kept["primary_contact"]) == ("Wires", "Ada")


async def test_a_device_moves_to_another_account(desk: Desk) -> None:
    organisation_id = await desk.organisation()
    first, second = await desk.account(organisation_id), await desk.account(organisation_id)
    device_id = await desk.device(first)
    await desk.make(Kind.DEVICE_UPDATE, {"device_id": device_id, "account_id": second, "capacity": 5})
    kept = await device(desk.store, device_id)
    assert (kept["account_id"], kept["capacity_w"], kept["device_name"]) == (second, 5, "Roof 1")


async def test_users_come_to_act_for_accounts_and_cease_to(desk: Desk) -> None:
    organisation_id = await desk.organisation()
    account_id = await desk.account(organisation_id)
    first, second = await desk.user(organisation_id), await desk.user(organisation_id)
    change = {"account_id": account_id, "organisation_id": organisation_id}
    await desk.make(Kind.ACCOUNT_UPDATE, {**change, "user_id": first})
    await desk.make(Kind.ACCOUNT_UPDATE, {**change, "user_id": first})
    joining = {"user_id": second, "organisation_id": organisation_id, "role": ["Account Holder"]}
    await desk.make(Kind.USER_UPDATE, {**joining, "account_id": account_id})
    assert {each["_id"] for each in await members_of(desk.store, account_id)} == {first, second}
    await desk.make(Kind.ACCOUNT_UPDATE, {**change, "remove_user_id": first})
    assert [each["_id"] for each in await members_of(desk.store, account_id)] == [second]
    assert await desk.refused(Kind.ACCOUNT_UPDATE, {**change, "remove_user_id": first}) == "ERR_USER_UNKNOWN"


async def test_an_account_has_so_many_users(desk: Desk) -> None:
    organisation_id = await desk.organisation()
    account_id, user_id = await desk.account(organisation_id), await desk.user(organisation_id)
    rows = [
        {"_id": membership_key(account_id, str(n)), "account_id": account_id, "user_id": str(n)}
        for n in range(MOST_MEMBERS)
    ]
    await desk.store.commit([Insert(MEMBERSHIPS, row) for row in rows])
    change = {"account_id": account_id, "organisation_id": organisation_id, "user_id": user_id}
    assert await desk.refused(Kind.ACCOUNT_UPDATE, change) == "ERR_INVALID_FIELD"


# Keys


async def test_whose_key_an_account_has(desk: Desk) -> None:
    organisation_id = await desk.organisation()
    bound = await desk.account(organisation_id, identity_key=WALLET.hex())
    kept = await desk.account(organisation_id)
    keyring = desk.node.keyring
    held = await holder_of(desk.store, keyring, bound)
    assert (held.identity, held.is_custodial) == (WALLET, False)
    held = await holder_of(desk.store, keyring, kept)
    assert (held.identity, held.is_custodial) == (keyring.account(kept).public, True)
    with pytest.raises(NotFound):
        await holder_of(desk.store, keyring, NOWHERE)


async def test_a_key_changes_only_while_no_certificates_stand_there(desk: Desk) -> None:
    old = await account(desk.store, ACCOUNT)
    owner = await desk.organisation()
    change = {"account_id": ACCOUNT, "organisation_id": owner, "identity_key": WALLET.hex()}
    await desk.make(Kind.ACCOUNT_UPDATE, change)
    await desk.make(Kind.ACCOUNT_UPDATE, {**change, "identity_key": None})
    await desk.node.issue()
    assert await desk.refused(Kind.ACCOUNT_UPDATE, change) == "ERR_STILL_IN_USE"
    await desk.make(Kind.ACCOUNT_UPDATE, {**change, "identity_key": None, "account_name": "Same key"})
    assert (await account(desk.store, ACCOUNT))["identity_key"] is old["identity_key"] is None


async def test_an_identity_logs_one_user_in(desk: Desk) -> None:
    organisation_id = await desk.organisation()
    first = await desk.user(organisation_id, identity_key=WALLET.hex())
    second = await desk.user(organisation_id)
    change = {"user_id": second, "organisation_id": organisation_id, "role": [], "identity_key": WALLET.hex()}
    assert await desk.refused(Kind.USER_UPDATE, change) == "ERR_INVALID_FIELD"
    await desk.make(Kind.USER_UPDATE, {**change, "user_id": first})
    await desk.make(Kind.USER_DELETE, {"user_id": first})
    await desk.make(Kind.USER_UPDATE, change)


# Deletions


async def test_what_is_in_use_stays(desk: Desk) -> None:
    organisation_id = await desk.organisation()
    user_id = await desk.user(organisation_id)
    account_id = await desk.account(organisation_id, user_id)
    device_id = await desk.device(account_id)
    steps = [
        (Kind.ORGANISATION_DELETE, {"organisation_id": organisation_id}),
        (Kind.ACCOUNT_DELETE, {"account_id": account_id}),
    ]
    for kind, request in steps:
        assert await desk.refused(kind, request) == "ERR_STILL_IN_USE"
    await desk.make(Kind.DEVICE_DELETE, {"device_id": device_id})
    await desk.make(Kind.ACCOUNT_DELETE, {"account_id": account_id})
    assert await desk.refused(*steps[0]) == "ERR_STILL_IN_USE"
    await desk.make(Kind.USER_DELETE, {"user_id": user_id})
    await desk.make(*steps[0])


async def test_an_account_with_certificates_stays(desk: Desk) -> None:
    await desk.node.issue()
    await desk.make(Kind.DEVICE_DELETE, {"device_id": DEVICE})
    assert await desk.refused(Kind.ACCOUNT_DELETE, {"account_id": ACCOUNT}) == "ERR_STILL_IN_USE"


async def test_what_is_deleted_is_gone_for_good(desk: Desk) -> None:
    organisation_id = await desk.organisation()
    user_id = await desk.user(organisation_id, identity_key=WALLET.hex())
    account_id = await desk.account(organisation_id, user_id)
    device_id = await desk.device(account_id)
    ids = {
        Kind.DEVICE_DELETE: ("device_id", device_id, "ERR_DEVICE_UNKNOWN"),
        Kind.ACCOUNT_DELETE: ("account_id", account_id, "ERR_ACCOUNT_UNKNOWN"),
        Kind.USER_DELETE: ("user_id", user_id, "ERR_USER_UNKNOWN"),
        Kind.ORGANISATION_DELETE: ("organisation_id", organisation_id, "ERR_ORGANISATION_UNKNOWN"),
    }
    for kind, (name, subject_id, code) in ids.items():
        await desk.make(kind, {name: subject_id})
        assert await desk.refused(kind, {name: subject_id}) == code
    assert await whole(desk.store, MEMBERSHIPS) == []
    assert await user_of_identity(desk.store, WALLET) is None
    gravestone = await desk.store.get(USERS, user_id)
    assert gravestone is not None and gravestone["was"]["identity_key"] == WALLET


@pytest.mark.parametrize("find", [organisation, user, account, device])
async def test_what_is_unknown_is_not_found(desk: Desk, find: Any) -> None:
    with pytest.raises(NotFound) as raised:
        await find(desk.store, NOWHERE)
    assert raised.value.code == f"ERR_{find.__name__.upper()}_UNKNOWN"


# Who may reach beyond an organisation


async def test_a_holder_stays_within_his_organisation(desk: Desk) -> None:
    own, other = await desk.organisation(), await desk.organisation("Other")
    holder, stranger = await desk.user(own), await desk.user(other)
    account_id = await desk.account(own, holder)
    body = {"account_name": "Theirs", "organisation_id": other}
    assert await desk.refused(Kind.ACCOUNT_CREATE, body, holder) == "ERR_FORBIDDEN"
    move = {"account_id": account_id, "organisation_id": other}
    assert await desk.refused(Kind.ACCOUNT_UPDATE, move, holder) == "ERR_FORBIDDEN"
    invite = {"account_id": account_id, "organisation_id": own, "user_id": stranger}
    assert await desk.refused(Kind.ACCOUNT_UPDATE, invite, holder) == "ERR_FORBIDDEN"
    await desk.make(Kind.ACCOUNT_UPDATE, invite)
    assert await is_member(desk.store, account_id, stranger)
    await desk.make(Kind.ACCOUNT_UPDATE, move)


async def test_what_a_body_names_must_exist(desk: Desk) -> None:
    organisation_id = await desk.organisation()
    account_id = await desk.account(organisation_id)
    user_id = await desk.user(organisation_id)
    device_id = await desk.device(account_id)
    person = {"name": "A", "primary_contact": "B", "role": [], "organisation_id": NOWHERE}
    own = {"account_id": account_id, "organisation_id": organisation_id}
    table: list[tuple[Kind, dict[str, Any], str]] = [
        (Kind.USER_CREATE, person, "ORGANISATION"),
        (Kind.USER_UPDATE, {**person, "user_id": user_id}, "ORGANISATION"),
        (Kind.USER_UPDATE, {"user_id": user_id, "role": [], **own, "account_id": NOWHERE}, "ACCOUNT"),
        (Kind.ACCOUNT_CREATE, {"account_name": "A", "organisation_id": NOWHERE}, "ORGANISATION"),
        (Kind.ACCOUNT_CREATE, {"account_name": "A", **own, "whitelist": [NOWHERE]}, "ACCOUNT"),
        (Kind.ACCOUNT_UPDATE, {**own, "organisation_id": NOWHERE}, "ORGANISATION"),
        (Kind.ACCOUNT_UPDATE, {**own, "user_id": NOWHERE}, "USER"),
        (Kind.WHITELIST_UPDATE, {"account_id": account_id, "whitelist": [NOWHERE]}, "ACCOUNT"),
        (Kind.DEVICE_CREATE, device_body(NOWHERE), "ACCOUNT"),
        (Kind.DEVICE_UPDATE, {"device_id": device_id, "account_id": NOWHERE}, "ACCOUNT"),
    ]
    before = await everything(desk.store)
    for kind, request, what in table:
        assert await desk.refused(kind, request) == f"ERR_{what}_UNKNOWN"
    assert await everything(desk.store) == before


async def test_a_whitelist_is_set_and_lifted(desk: Desk) -> None:
    organisation_id = await desk.organisation()
    account_id, friend = await desk.account(organisation_id), await desk.account(organisation_id)
    for wanted, kept in (([friend, friend], [friend]), ([], []), (None, None)):
        await desk.make(Kind.WHITELIST_UPDATE, {"account_id": account_id, "whitelist": wanted})
        assert (await account(desk.store, account_id))["whitelist"] == kept


# The log


async def test_the_log_gives_the_directory_again(desk: Desk, tmp_path: Any) -> None:
    for collection in DIRECTORY:
        await desk.store.commit([Delete(collection, row["_id"]) for row in await whole(desk.store, collection)])
    organisation_id, empty = await desk.organisation(), await desk.organisation("Empty")
    user_id = await desk.user(organisation_id, identity_key=WALLET.hex())
    leaver = await desk.user(organisation_id)
    account_id = await desk.account(organisation_id, user_id, identity_key=WALLET.hex(), whitelist=[])
    device_id, retired = await desk.device(account_id), await desk.device(account_id)
    change = {"account_id": account_id, "organisation_id": organisation_id}
    await desk.make(Kind.ACCOUNT_UPDATE, {**change, "user_id": leaver, "webhook_url": "http://a.example"})
    await desk.make(Kind.DEVICE_UPDATE, {"device_id": device_id, "account_id": account_id, "country": "NL"})
    await desk.refused(Kind.ACCOUNT_DELETE, {"account_id": account_id})
    await desk.make(Kind.DEVICE_DELETE, {"device_id": retired})
    await desk.make(Kind.USER_DELETE, {"user_id": leaver})
    await desk.make(Kind.ORGANISATION_DELETE, {"organisation_id": empty})
    log = (await desk.store.find(ACTIONS, Find("seq", limit=1000))).documents

    again = SqliteStore(tmp_path / "again.db", cache_mib=4)
    await again.open(COLLECTIONS)
    for _ in range(2):
        for document in log:
            await again.commit(writes_of(Action.read(document)))
        assert await everything(again) == await everything(desk.store)
    await again.close()


async def test_other_actions_are_no_part_of_the_directory(desk: Desk) -> None:
    assert writes_of(await desk.node.issue()) == []


# Bodies


@pytest.mark.parametrize(
    ("fields", "is_right"),
    [
        ({}, True),
        ({"capacity": 5000.0}, True),
        ({"capacity": 5000.5}, False),
        ({"capacity": -1}, False),
        ({"capacity": True}, False),
        ({"capacity": "5000"}, False),
        ({"location": [91, 0]}, False),
        ({"location": [0, -181]}, False),
        ({"location": [1]}, False),
        ({"country": "nl"}, True),
        ({"country": "XX"}, False),
        ({"operational_date": "yesterday"}, False),
        ({"unheard": 1}, False),
        ({"account_id": "7"}, False),
    ],
)
def test_bodies_of_devices(fields: dict[str, Any], is_right: bool) -> None:
    body = device_body(ACCOUNT) | fields
    if is_right:
        kept = read(DeviceBase, body)
        assert type(kept.capacity) is int and kept.country in (None, "NL")
    else:
        with pytest.raises(MetawattError) as raised:
            read(DeviceBase, body)
        assert raised.value.code == "ERR_INVALID_FIELD"


def test_null_clears_what_can_be_cleared() -> None:
    update = UserUpdate.model_validate({"role": [], "organisation_id": NOWHERE, "name": None, "identity_key": None})
    assert changes_of(update) == {"role": [], "organisation_id": NOWHERE, "identity_key": None}
