"""Who may do what: the roles as a table, memberships, and in whose name a call is made."""

from __future__ import annotations

import pytest

from config.errors import ErrorCode, Forbidden, NotFound
from energytag.access import MAY, OPERATOR, Caller, Role, acting_user, demand, demand_member, demand_on
from energytag.actions import Kind
from energytag.memberships import membership_key
from energytag.records import MEMBERSHIPS
from store.port import Put
from tests.energytag.kit import ACCOUNT, OTHER_ACCOUNT, RegistryNode

ADA = "aaaaaaaa-0000-7000-8000-000000000001"
NOWHERE = "00000000-0000-7000-8000-000000000000"

ISSUERS = "create create_many withdraw import issue_sdgc withdraw_scr withdraw_sdr"
REGISTRARS = "device_create device_update device_delete"
METERS = "measurements consumption create_scr create_sdr allocate_storage"
HOLDERS = (
    "transfer cancel claim reserve split lock release publish recurring_transfer recurring_cancel recurring_claim "
    "recurring_stop consumption create_scr create_sdr allocate_storage account_create account_update "
    "account_delete whitelist_update"
)
BY_ROLE = {
    Role.GC_ISSUER: ISSUERS,
    Role.PRODUCTION_REGISTRAR: REGISTRARS,
    Role.MEASUREMENT_BODY: METERS,
    Role.ACCOUNT_HOLDER: HOLDERS,
    Role.REGISTRY_ADMINISTRATOR: " ".join(Kind),
}


def user_with(*roles: Role) -> Caller:
    return Caller(ADA, frozenset(roles), NOWHERE)


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("role", Role)
def test_roles(role: Role, kind: Kind) -> None:
    caller = user_with(role)
    if kind in BY_ROLE[role].split():
        demand(caller, kind)
        return
    with pytest.raises(Forbidden) as raised:
        demand(caller, kind)
    for able in {*MAY[kind], Role.REGISTRY_ADMINISTRATOR}:
        assert able in raised.value.message


def test_every_kind_is_in_the_table() -> None:
    assert MAY.keys() == set(Kind)


def test_roles_add_up() -> None:
    caller = user_with(Role.GC_ISSUER, Role.ACCOUNT_HOLDER)
    demand(caller, Kind.CREATE)
    demand(caller, Kind.TRANSFER)
    with pytest.raises(Forbidden):
        demand(user_with(), Kind.TRANSFER)


async def test_members(registry: RegistryNode) -> None:
    row = {"_id": membership_key(ACCOUNT, ADA), "account_id": ACCOUNT, "user_id": ADA}
    await registry.store.commit([Put(MEMBERSHIPS, row)])
    holder = user_with(Role.ACCOUNT_HOLDER)
    await demand_member(registry.store, holder, ACCOUNT)
    await demand_on(registry.store, holder, Kind.TRANSFER, ACCOUNT)
    with pytest.raises(Forbidden):
        await demand_member(registry.store, holder, OTHER_ACCOUNT)
    with pytest.raises(Forbidden):
        await demand_on(registry.store, holder, Kind.CONSUMPTION, OTHER_ACCOUNT)
    with pytest.raises(Forbidden):
        await demand_on(registry.store, holder, Kind.WITHDRAW, ACCOUNT)


@pytest.mark.parametrize("caller", [OPERATOR, user_with(Role.ACCOUNT_HOLDER)])
async def test_nobody_acts_for_an_account_that_is_not_there(registry: RegistryNode, caller: Caller) -> None:
    with pytest.raises(NotFound) as raised:
        await demand_member(registry.store, caller, NOWHERE)
    assert raised.value.code is ErrorCode.ACCOUNT_UNKNOWN


async def test_bodies_of_the_registry_act_on_every_account(registry: RegistryNode) -> None:
    await demand_on(registry.store, user_with(Role.MEASUREMENT_BODY), Kind.CONSUMPTION, ACCOUNT)
    await demand_on(registry.store, user_with(Role.GC_ISSUER), Kind.CREATE, ACCOUNT)
    await demand_member(registry.store, OPERATOR, ACCOUNT)


@pytest.mark.parametrize(
    ("caller", "named", "may"),
    [
        (user_with(Role.ACCOUNT_HOLDER), ADA, True),
        (user_with(Role.ACCOUNT_HOLDER), NOWHERE, False),
        (user_with(Role.REGISTRY_ADMINISTRATOR), NOWHERE, True),
        (OPERATOR, NOWHERE, True),
    ],
)
def test_in_whose_name(caller: Caller, named: str, may: bool) -> None:
    if may:
        assert acting_user(caller, named) == named
    else:
        with pytest.raises(Forbidden):
            acting_user(caller, named)
