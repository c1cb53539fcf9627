"""The lifecycle as a table: each status × each action × each role.

A cell is planned on a real registry that has a bundle of every status, and changes nothing. What is planned is made
into tokens, and judged by the rules of admission.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

import pytest
import pytest_asyncio

from certificates.admission import Placed, View, judge
from config.errors import Forbidden, MetawattError
from config.settings import Settings
from energytag.access import Caller, Role, demand
from energytag.actions import Action, Kind, new_id
from energytag.choosing import standing_of
from energytag.compose import lay_out
from energytag.holdings import find, shown
from energytag.plan import Move, Plan, Scene
from lookup.filters import Filters
from store.sqlite import SqliteStore
from tests.energytag.kit import ACCOUNT, DEVICE, OTHER_ACCOUNT, RegistryNode, moment
from tests.overlay.kit import Chain, Clock
from topics.certificates import read_script
from topics.keychain import Keychain

pytestmark = pytest.mark.asyncio(loop_scope="module")

USER: Final = "11111111-2222-4333-8444-555555555555"
EXIT: Final = {"chain": "solana", "address": "9xQeWvG816bUx9EPjHmaT23yvVM2ZWbrrpZb9PusVFin"}
QUANTITY: Final = 1000

ALLOWED: Final[dict[str, set[Kind]]] = {
    "Active": {Kind.TRANSFER, Kind.SPLIT, Kind.CANCEL, Kind.RESERVE, Kind.LOCK, Kind.WITHDRAW},
    "Reserved": {Kind.CANCEL, Kind.RELEASE, Kind.WITHDRAW},
    "Reserved for good": {Kind.WITHDRAW},
    "Locked": {Kind.UNLOCK, Kind.WITHDRAW},
    "Cancelled": {Kind.CLAIM},
    "Cancelled for another": set(),
    "Claimed": set(),
    "Withdrawn": set(),
    "Expired": set(),
}
"""What may be done with a bundle of each status; everything else the status forbids."""

MAY: Final[dict[Role, set[Kind]]] = {
    Role.ACCOUNT_HOLDER: {
        Kind.TRANSFER,
        Kind.SPLIT,
        Kind.CANCEL,
        Kind.CLAIM,
        Kind.RESERVE,
        Kind.RELEASE,
        Kind.LOCK,
    },
    Role.GC_ISSUER: {Kind.WITHDRAW},
    Role.PRODUCTION_REGISTRAR: set(),
    Role.MEASUREMENT_BODY: set(),
    Role.REGISTRY_ADMINISTRATOR: set(Kind),
}

ACTIONS: Final[dict[Kind, dict[str, Any]]] = {
    Kind.TRANSFER: {"target_account_id": OTHER_ACCOUNT},
    Kind.SPLIT: {"sizes": [1, 2]},
    Kind.CANCEL: {},
    Kind.CLAIM: {},
    Kind.RESERVE: {"target_registry": "Another registry"},
    Kind.RELEASE: {},
    Kind.LOCK: {"exit": EXIT},
    Kind.UNLOCK: {},
    Kind.WITHDRAW: {"reason": "meter fault"},
}

UPDATES: Final[dict[str, Kind | None]] = {
    "Active": Kind.RELEASE,
    "Reserved": Kind.RESERVE,
    "Locked": None,
    "Cancelled": Kind.CANCEL,
    "Claimed": Kind.CLAIM,
    "Withdrawn": Kind.WITHDRAW,
    "Expired": None,
}
"""What an update to each status amounts to."""


class Table:
    """A registry with a bundle of every status; `issuances` has their ids by the table's names."""

    def __init__(self, registry: RegistryNode, issuances: dict[str, str]) -> None:
        self.registry = registry
        self.issuances = issuances

    async def plan(self, kind: Kind, status: str, fields: dict[str, Any]) -> Plan:
        request = {"source_account_id": ACCOUNT, "source_user_id": USER} | fields
        request["source_certificate_issuance_id"] = self.issuances[status]
        now_ms = self.registry.clock.now_ms
        action = Action(new_id(now_ms), 1, kind, request, now_ms, USER, ACCOUNT)
        return await self.registry.registry.queue.handler(kind).plan(action, Scene(self.registry.store, now_ms))

    async def cell(self, role: Role, kind: Kind, status: str, fields: dict[str, Any]) -> str:
        """What comes of it: "done", "forbidden" to the role, or the code of the refusal."""
        try:
            demand(Caller(USER, frozenset({role})), kind)
        except Forbidden:
            return "forbidden"
        try:
            plan = await self.plan(kind, status, fields)
        except MetawattError as error:
            return error.code.value
        self.check(plan)
        return "done"

    def check(self, plan: Plan) -> None:
        """The node's own rules take every output, and lose no coin."""
        coins = [piece.holding.coin for piece in plan.pieces if isinstance(piece, Move)]
        outpoint = coins[0].txid + coins[0].index.to_bytes(4, "little") if coins else bytes(36)
        made = lay_out(plan.pieces, outpoint, self.registry.keyring)
        view = View(
            outpoint,
            [Placed(index, 1, _content(each.script)) for index, each in enumerate(made)],
            [Placed(index, 1, _content(coin.output.script)) for index, coin in enumerate(coins)],
        )
        verdict = judge(view, self.registry.registry.ground.policy, Keychain())
        assert not verdict.refusals
        assert verdict.outputs_to_admit == tuple(range(len(made)))
        assert verdict.coins_to_retain == tuple(range(len(coins)))
        assert plan.result["quantity"] == QUANTITY


def _content(script: bytes) -> Any:
    content = read_script(script)
    assert content is not None
    return content


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def table(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Table]:
    folder, clock = tmp_path_factory.mktemp("table"), Clock()
    chain = Chain(folder, clock)
    await chain.open()
    keys = [chain.issuer.public.hex()]
    settings = Settings.model_validate({"topics": {"bridge_keys": keys}, "bridge": {"enabled": False}})
    registry = RegistryNode(chain, SqliteStore(folder / "node.db", cache_mib=4), clock, settings)
    await registry.open()
    await registry.populate()
    yield Table(registry, await _bundles(registry))
    await registry.close()
    await chain.close()


async def _bundles(registry: RegistryNode) -> dict[str, str]:
    """One bundle of each status, in the order of the table."""
    await registry.issue(0, 1)
    attributes = (await _held(registry))[0].token.bundle.attributes
    for hour, status in enumerate(ALLOWED):
        if hour:
            await registry.resolved(Kind.CREATE, _stated(attributes, hour, status))
    issuances = dict(zip(ALLOWED, (each.token.issuance_id for each in await _held(registry)), strict=True))
    for kind, status, fields in (
        (Kind.RESERVE, "Reserved", {}),
        (Kind.RESERVE, "Reserved for good", {}),
        (Kind.LOCK, "Locked", {"exit": EXIT}),
        (Kind.CANCEL, "Cancelled", {}),
        (Kind.CANCEL, "Cancelled for another", {"beneficiary": "Somebody else"}),
        (Kind.CANCEL, "Claimed", {}),
        (Kind.CLAIM, "Claimed", {}),
        (Kind.WITHDRAW, "Withdrawn", {}),
    ):
        request = {"source_account_id": ACCOUNT, "source_user_id": USER} | fields
        await registry.resolved(kind, request | {"source_certificate_issuance_id": issuances[status]})
    return issuances


async def _held(registry: RegistryNode) -> list[Any]:
    filters = Filters({"device_id": (DEVICE,)})
    return await find(registry.store, filters, registry.clock.now_ms // 1000, 100)


def _stated(attributes: Any, hour: int, status: str) -> dict[str, Any]:
    own = {"issuance_id", "bundle_id_range_start", "bundle_id_range_end"}
    bundle = {name: value for name, value in attributes.items() if name not in own}
    return bundle | {
        "production_starting_interval": moment(hour),
        "production_ending_interval": moment(hour + 1),
        "registry_configuration": 2 if status == "Reserved for good" else 1,
        "expiry_datestamp": "2026-02-01" if status == "Expired" else "2028-01-01",
    }


def expected(role: Role, kind: Kind, amounts_to: Kind | None, status: str) -> str:
    """The cell as the two tables have it."""
    if kind not in MAY[role]:
        return "forbidden"
    if amounts_to in ALLOWED[status]:
        return "done"
    if amounts_to is Kind.CLAIM and status == "Cancelled for another":
        return "ERR_NOT_BENEFICIARY"
    return "ERR_STATUS_FORBIDS"


async def test_the_index_shows_the_statuses_of_the_table(table: Table) -> None:
    now_secs = table.registry.clock.now_ms // 1000
    for status, issuance_id in table.issuances.items():
        filters = Filters({"issuance_id": (issuance_id,)})
        found = [each async for page in shown(table.registry.store, filters, now_secs) for each in page]
        assert [standing_of(each, now_secs)[0] for each in found] == [status.split(" ")[0]]


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("kind", ACTIONS)
@pytest.mark.parametrize("status", ALLOWED)
async def test_each_status_each_action_each_role(table: Table, status: str, kind: Kind, role: Role) -> None:
    assert await table.cell(role, kind, status, ACTIONS[kind]) == expected(role, kind, kind, status)


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("value", UPDATES)
@pytest.mark.parametrize("status", ALLOWED)
async def test_each_status_each_update_each_role(table: Table, status: str, value: str, role: Role) -> None:
    fields = {"certificate_status": value}
    found = await table.cell(role, Kind.UPDATE_MUTABLES, status, fields)
    assert found == expected(role, Kind.UPDATE_MUTABLES, UPDATES[value], status)


@pytest.mark.parametrize("status", ALLOWED)
async def test_each_status_to_another_account_by_an_update(table: Table, status: str) -> None:
    role = Role.REGISTRY_ADMINISTRATOR
    found = await table.cell(role, Kind.UPDATE_MUTABLES, status, {"account_id": OTHER_ACCOUNT})
    assert found == expected(role, Kind.UPDATE_MUTABLES, Kind.TRANSFER, status)
