"""The registry built anew: what is emptied or spoilt comes back as it was, from the log and the overlay."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from config.errors import Unavailable
from energytag.actions import Action, Kind, State
from energytag.audit import check_registry
from energytag.draft import as_json
from energytag.imports import prepare
from energytag.intervals import series_key
from energytag.measurements import MEASUREMENTS
from energytag.models.common import moment_of_ms, read, written
from energytag.models.storage import StorageBundle
from energytag.rebuild import DERIVED, LOGGED, rebuild
from energytag.records import (
    ACCOUNTS,
    ACTIONS,
    BASKET,
    DEVICES,
    INTERVALS,
    MEMBERSHIPS,
    NUMBERS,
    REBUILD_STATE,
)
from energytag.recurring import RECURRING, due
from energytag.storage_records import SDRS
from overlay.keys import PrivateKey
from overlay.records import STATE
from store.port import Collection, Delete, Document, Find, Insert, Patch, Put
from tests.energytag.kit import (
    ACCOUNT,
    DEVICE,
    OTHER_ACCOUNT,
    RegistryNode,
    account_row,
    device_row,
    moment,
    readings,
)
from tests.energytag.storage_kit import Battery, battery_row, body, bundle
from tests.energytag.test_directory import Desk
from tests.energytag.test_imports import body as import_body
from tests.energytag.test_imports import foreign
from tests.overlay.kit import Clock

BOUND = "0b7cdd5c-2b0c-4d0e-9d1b-6f6f8a3d9d77"
WALLET = PrivateKey.from_int(777).public
DAY_MS = 86_400_000


class World:
    """A registry in which something of everything has happened. Rows of the kit are in the log, too."""

    def __init__(self, node: RegistryNode) -> None:
        self.node = node
        self.store = node.store
        self.battery = Battery(node)
        self._logged = 0

    async def log(self, kind: Kind, collection: Collection, row: Document) -> None:
        """A row with the resolved action that made it."""
        self._logged += 1
        result = {
            "id": row["_id"],
            "documents": [{"collection": collection.name, "document": as_json(row)}],
            "removed": [],
        }
        action_id = f"00000000-0000-7000-8000-{self._logged:012d}"
        action = Action(action_id, self._logged, kind, {}, 1, state=State.RESOLVED, completed_ms=1, result=result)
        await self.store.commit([Insert(ACTIONS, action.document()), Put(collection, row)])

    async def populate(self) -> None:
        await self.log(Kind.ACCOUNT_CREATE, ACCOUNTS, account_row(ACCOUNT))
        await self.log(Kind.ACCOUNT_CREATE, ACCOUNTS, account_row(OTHER_ACCOUNT))
        await self.log(Kind.ACCOUNT_CREATE, ACCOUNTS, account_row(BOUND, identity_key=WALLET))
        await self.log(Kind.DEVICE_CREATE, DEVICES, device_row(DEVICE))
        await self.log(Kind.DEVICE_CREATE, DEVICES, battery_row())

    async def act(self, kind: Kind, request: dict[str, Any]) -> Action:
        return (await self.node.resolved(kind, request)).action

    async def directory(self) -> None:
        desk = Desk(self.node)
        organisation_id = await desk.organisation()
        user_id = await desk.user(organisation_id, identity_key=PrivateKey.from_int(78).public.hex())
        account_id = await desk.account(organisation_id, user_id, whitelist=[ACCOUNT])
        gone = await desk.account(organisation_id)
        await desk.device(account_id)
        await desk.make(Kind.ACCOUNT_DELETE, {"account_id": gone})

    async def certificates(self) -> None:
        await self.node.issue(0, 8)
        await self.act(Kind.WITHDRAW, body(**hour(0)))
        await self.node.issue(0, 1, 700)
        await self.act(Kind.WITHDRAW, body(certificate_quantity=300, **hour(1)))
        await self.act(Kind.TRANSFER, body(target_account_id=OTHER_ACCOUNT, certificate_quantity=400, **hour(2)))
        await self.act(Kind.TRANSFER, body(target_account_id=BOUND, **hour(3)))
        await self.act(Kind.CANCEL, body(certificate_quantity=600, **hour(4)))
        await self.act(Kind.CLAIM, body())
        await self.act(Kind.CANCEL, body(beneficiary=OTHER_ACCOUNT, **hour(5)))
        await self.act(Kind.SPLIT, body(certificate_quantity=50, **hour(6)))
        await self.act(Kind.RESERVE, body(**hour(7)))

    async def private(self) -> None:
        """Private bundles, some of them published; one interval begins within a second."""
        kept = {"device_id": DEVICE, "broadcast": False}
        await self.act(Kind.CREATE_MANY, kept | {"readings": readings(20, 3)})
        published = await self.act(Kind.CREATE_MANY, kept | {"readings": readings(23, 2)})
        await self.act(Kind.PUBLISH, {"private_action_id": published.action_id})
        within = {"start": "2026-01-02T03:00:00.250000Z", "end": "2026-01-02T03:30:00.500000Z", "energy_wh": 10}
        await self.act(Kind.CREATE_MANY, {"device_id": DEVICE, "readings": [within]})

    async def storage(self) -> None:
        await self.battery.charged(40, 600)
        await self.battery.charged(41, 600)
        await self.battery.discharged(42, 900)
        await self.battery.done(Kind.ISSUE_SDGC, bundle(42, 900))
        await self.battery.charged(43, 500)
        gone = await self.battery.discharged(44, 90)
        await self.battery.done(Kind.WITHDRAW_SDR, body(source_allocation_id=gone))

    async def readings(self) -> None:
        series = {"device_id": DEVICE, "readings": readings(60, 5)}
        await self.act(Kind.MEASUREMENTS, {"series": [series]})
        await self.act(Kind.MEASUREMENTS, {"series": [series | {"readings": readings(62, 5)}]})
        consumed = {"account_id": ACCOUNT, "zone": "NL", "readings": readings(60, 4)}
        await self.act(Kind.CONSUMPTION, {"series": [consumed]})

    async def recurring(self, clock: Clock) -> None:
        request = body(
            target_account_id=OTHER_ACCOUNT,
            certificate_quantity=10,
            initial_transfer_datetime=moment_in(clock, DAY_MS),
            recurring_transfer_period_units="days",
            recurring_transfer_period_quantity=1,
            number_of_recurring_transfers=3,
        )
        await self.act(Kind.RECURRING_TRANSFER, request)
        stopped = await self.act(Kind.RECURRING_TRANSFER, request)
        await self.act(Kind.RECURRING_STOP, {"recurring_id": stopped.action_id})
        clock.now_ms += DAY_MS + 1
        assert await due(self.node.registry.ground, self.node.registry.act) == 1
        await self.act(
            Kind.RECURRING_STOP, {"recurring_id": (await self.act(Kind.RECURRING_TRANSFER, request)).action_id}
        )

    async def imported(self) -> None:
        request = await prepare(self.node.registry.ground, import_body(foreign(1), foreign(2)))
        await self.act(Kind.IMPORT, request)

    async def snapshot(self) -> dict[str, list[Document]]:
        found = {}
        for collection in (*LOGGED, *DERIVED):
            page = await self.store.find(collection, Find(limit=10_000))
            found[collection.name] = page.documents
        return found

    async def rebuild(self) -> list[tuple[int, int]]:
        steps: list[tuple[int, int]] = []
        await rebuild(self.store, self.node.keyring, lambda done, total: steps.append((done, total)))
        return steps


def hour(number: int) -> dict[str, str]:
    return {"certificate_period_start": moment(number), "certificate_period_end": moment(number + 1)}


def moment_in(clock: Clock, ms: int) -> str:
    return moment_of_ms(clock.now_ms + ms)


def without(snapshot: dict[str, list[Document]]) -> dict[str, list[Document]]:
    """A snapshot less what `rebuild` says comes back otherwise."""
    passed_over = {INTERVALS.name: "action_id", "energytag_imported": "rev"}
    return {
        name: [{key: value for key, value in row.items() if key != passed_over.get(name)} for row in rows]
        for name, rows in snapshot.items()
    }


@pytest.fixture
async def world(registry: RegistryNode, clock: Clock) -> World:
    made = World(registry)
    await made.populate()
    await made.directory()
    await made.certificates()
    await made.private()
    await made.storage()
    await made.readings()
    await made.recurring(clock)
    await made.imported()
    await registry.registry.stop()
    return made


async def test_what_is_emptied_comes_back(world: World) -> None:
    before = await world.snapshot()
    assert [name for name, rows in before.items() if not rows] == []
    for collection in (*LOGGED, *DERIVED):
        for row in before[collection.name]:
            await world.store.commit([Delete(collection, row["_id"])])
    steps = await world.rebuild()
    after = await world.snapshot()
    for name, rows in without(before).items():
        assert without(after)[name] == rows, name
    assert steps[-1][0] == steps[-1][1]
    assert await check_registry(world.store, world.node.keyring) == []


async def test_what_is_spoilt_is_mended(world: World) -> None:
    before = await world.snapshot()
    await world.store.commit(
        [
            Put(NUMBERS, {"_id": b"\0" * 16, "next": 9, "last_end_ms": 9}),
            Patch(NUMBERS, series_key(DEVICE, "electricity"), {"next": 1}),
            Put(BASKET, {"_id": b"\0" * 36, "account_id": ACCOUNT, "key_id": "x", "sender": b"anyone"}),
            Patch(INTERVALS, before[INTERVALS.name][0]["_id"], {"end": 0}),
            Patch(ACCOUNTS, ACCOUNT, {"name": "Nobody", "rev": 99}),
            Delete(DEVICES, DEVICE),
            Patch(SDRS, before[SDRS.name][0]["_id"], {"sdgc": None}),
            Patch(RECURRING, before[RECURRING.name][0]["_id"], {"occurrence": 77}),
            Patch(MEASUREMENTS, before[MEASUREMENTS.name][0]["_id"], {"energy_wh": 1}),
            Put(MEMBERSHIPS, {"_id": "x/y", "account_id": "x", "user_id": "y", "rev": 1}),
        ]
    )
    await world.rebuild()
    assert without(await world.snapshot()) == without(before)


async def test_a_rebuild_of_a_rebuild_changes_nothing(world: World) -> None:
    await world.rebuild()
    once = await world.snapshot()
    await world.rebuild()
    assert await world.snapshot() == once


async def test_a_registry_that_was_rebuilt_goes_on(world: World) -> None:
    await world.rebuild()
    await world.node.registry.start()
    await world.act(Kind.WITHDRAW, body(certificate_quantity=100, **hour(1)))
    twice = await world.node.act(Kind.CREATE_MANY, {"device_id": DEVICE, "readings": readings(20, 1)})
    assert twice.action.error is not None and twice.action.error["code"] == "ERR_ISSUED_TWICE"
    again = await world.node.act(Kind.IMPORT, await prepare(world.node.registry.ground, import_body(foreign(1))))
    assert again.action.state is State.REJECTED
    await world.node.issue(100, 2)
    await world.act(Kind.TRANSFER, body(target_account_id=OTHER_ACCOUNT, **hour(6)))
    assert await check_registry(world.store, world.node.keyring) == []


async def test_an_interrupted_rebuild_keeps_the_registry_from_starting(world: World) -> None:
    await world.store.commit([Put(STATE, {"_id": REBUILD_STATE})])
    with pytest.raises(Unavailable, match="reindex"):
        await world.node.registry.start()
    await world.rebuild()
    await world.node.registry.start()


async def test_the_log_is_applied_in_the_order_of_resolution(world: World) -> None:
    """An action that another process stored may be older than one that was resolved before it."""
    row = account_row(ACCOUNT, name="Later", rev=5)
    await world.log(Kind.ACCOUNT_UPDATE, ACCOUNTS, row)
    late = await world.store.get(ACTIONS, f"00000000-0000-7000-8000-{world._logged:012d}")
    assert late is not None
    early = account_row(ACCOUNT, name="Sooner", rev=4)
    await world.log(Kind.ACCOUNT_UPDATE, ACCOUNTS, early)
    await world.store.commit([Patch(ACTIONS, late["_id"], {"completed_ms": 2}), Put(ACCOUNTS, row)])
    await world.rebuild()
    assert await world.store.get(ACCOUNTS, ACCOUNT) == row


# What is unfinished


def cut_off(registry: RegistryNode, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Let no transaction through after so many."""
    send = registry.registry.sender.send
    sent = 0

    async def fails(run: Any, alongside: Any) -> Any:
        nonlocal sent
        sent += 1
        if sent > after:
            raise Unavailable("the lights went out")
        return await send(run, alongside)

    monkeypatch.setattr(registry.registry.sender, "send", fails)


async def finished(registry: RegistryNode, action_id: str) -> Action:
    async with asyncio.timeout(20):
        while not (action := await registry.registry.action(action_id)).is_settled:
            await asyncio.sleep(0.02)
    return action


async def test_an_unfinished_issuance_is_finished_after_a_rebuild(
    registry: RegistryNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 250 bundles in three transactions two are admitted when the process ends."""
    world = World(registry)
    await world.populate()
    cut_off(registry, monkeypatch, after=2)
    request = {"device_id": DEVICE, "readings": readings(0, 250)}
    outcome = await registry.act(Kind.CREATE_MANY, request, wait_secs=1)
    assert outcome.action.state is State.PENDING
    await registry.registry.stop()
    before = await world.snapshot()
    assert before[NUMBERS.name][0]["next"] == 250_001
    await world.rebuild()
    assert await world.snapshot() == before, "intervals know the unfinished action by its id"
    monkeypatch.undo()
    await registry.registry.start()
    assert (await registry.issue(300, 1)).state is State.RESOLVED
    done = await finished(registry, outcome.action.action_id)
    assert (done.state, len(done.txids)) == (State.RESOLVED, 3)
    assert await check_registry(registry.store, registry.keyring) == []


async def test_an_unfinished_import_keeps_its_claim(
    registry: RegistryNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(registry)
    await world.populate()
    cut_off(registry, monkeypatch, after=1)
    request = await prepare(registry.registry.ground, import_body(*(foreign(number) for number in range(1, 251))))
    outcome = await registry.act(Kind.IMPORT, request, wait_secs=1)
    assert outcome.action.state is State.PENDING
    await registry.registry.stop()
    before = await world.snapshot()
    await world.rebuild()
    assert await world.snapshot() == before
    monkeypatch.undo()
    await registry.registry.start()
    assert (await finished(registry, outcome.action.action_id)).state is State.RESOLVED
    assert await check_registry(registry.store, registry.keyring) == []


async def test_an_unfinished_issuance_from_storage_keeps_its_discharge(
    registry: RegistryNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Decided together with an action that takes several transactions, none of which got through."""
    world = World(registry)
    await world.populate()
    await world.battery.charged(40, 600)
    await world.battery.discharged(42, 540)
    await registry.registry.stop()
    issuing = written(read(StorageBundle, bundle(42, 540)))
    small = await registry.act(Kind.ISSUE_SDGC, issuing, wait_secs=0)
    await registry.act(Kind.CREATE_MANY, {"device_id": DEVICE, "readings": readings(50, 150)}, wait_secs=0)
    cut_off(registry, monkeypatch, after=0)
    await registry.registry.start()
    async with asyncio.timeout(10):
        while (await registry.registry.action(small.action.action_id)).state is not State.PENDING:
            await asyncio.sleep(0.02)
    await registry.registry.stop()
    before = await world.snapshot()
    assert [sdr["issued_by"] for sdr in before[SDRS.name]] == [small.action.action_id]
    await world.rebuild()
    assert without(await world.snapshot()) == without(before)
    monkeypatch.undo()
    await registry.registry.start()
    assert (await finished(registry, small.action.action_id)).state is State.RESOLVED
    assert await check_registry(registry.store, registry.keyring) == []
