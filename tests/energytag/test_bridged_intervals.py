"""An interval that the bridge issues of is the bridge's, in any number of parts, and nobody else's, for good."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest

from certificates.document import Json
from config.errors import ErrorCode
from energytag.actions import Action, Kind
from energytag.audit import check_registry
from energytag.creating import device_attributes, metered_request
from energytag.intervals import IssuedTwice, is_bridges, issued_elsewhere, series_key, start_of
from energytag.issuing import IssueRequest, plan_issuance
from energytag.plan import Holder, Issue, Made, Scene
from energytag.rebuild import rebuild
from energytag.records import DEVICES, INTERVALS, NUMBERS
from lookup.doubles import overlapping
from lookup.records import CERTIFICATES
from overlay.admission import AlongsideConflict
from overlay.chain import Broadcast, TxStatus
from store.pages import every
from store.port import Conflict, Delete, Document, Find, Put, Write
from tests.energytag.kit import ACCOUNT, DEVICE, RegistryNode, moment, readings
from tests.energytag.storage_kit import body
from tests.energytag.test_rebuild import World

DAY_MS = 86_400_000
HOUR_MS = 3_600_000
ORIGIN: Json = {"bridge": "gwx1", "message": "00" * 32}
SERIES = series_key(DEVICE, "electricity")


class Bridge:
    """Issues as the bridge does: planned as all issuance is, and sent alongside the queue."""

    def __init__(self, node: RegistryNode) -> None:
        self.node = node
        self.store = node.store

    async def request(self, hour: float, energy_wh: int, hours: float = 1) -> IssueRequest:
        ground = self.node.registry.ground
        device = await self.store.get(DEVICES, DEVICE)
        assert device is not None
        constant = device_attributes(device, "METAWATT") | {
            "account_id": ACCOUNT,
            "face_value": 1,
            "issuance_datestamp": moment(hour)[:10],
        }
        identity = ground.keyring.identity
        reading = {"start": moment(hour), "end": moment(hour + hours), "energy_wh": energy_wh}
        made = metered_request(constant, Holder(ACCOUNT, identity), reading, 1, 700 * DAY_MS)
        return replace(made, is_bridged=True)

    async def plan(self, *requests: IssueRequest) -> tuple[list[Issue], list[Write]]:
        ground = self.node.registry.ground
        action = Action("mirror", 0, Kind.CREATE_MANY, {}, ground.now_ms())
        issuance = await plan_issuance(requests, action, Scene(self.store, ground.now_ms()), ground.policy)
        return [replace(piece, origin=ORIGIN) for piece in issuance.pieces], list(issuance.decision)

    async def send(self, pieces: Sequence[Issue], decision: Sequence[Write]) -> tuple[Made, ...]:
        sender = self.node.registry.sender
        topics = frozenset().union(*(sender.topics_of(piece) for piece in pieces))
        return await sender.send_pieces(pieces, topics, lambda _: nullcontext(decision))

    async def issue(self, hour: float, *parts_wh: int, hours: float = 1) -> tuple[Made, ...]:
        requests = [await self.request(hour, wh, hours) for wh in parts_wh]
        return await self.send(*await self.plan(*requests))

    async def guards(self) -> list[Document]:
        return await every(self.store, INTERVALS, Find())

    async def refuse(self, made: Made) -> None:
        """The network refuses the transaction of a certificate, and that is undone."""
        told = Broadcast(made.outpoint[:32], TxStatus.REJECTED, "told so")
        assert await self.node.node.engine.proofs.ingest(told)
        assert await self.node.registry.undoing.work() == 1

    async def is_free_for_others(self, hour: float) -> bool:
        request: dict[str, Any] = {"device_id": DEVICE, "readings": readings(int(hour), 1)}
        action = (await self.node.act(Kind.CREATE_MANY, request)).action
        if action.error is not None:
            assert action.error["code"] == ErrorCode.ISSUED_TWICE
        return action.error is None

    async def is_sound(self) -> bool:
        await self.node.treasury.tend()
        return await check_registry(self.store, self.node.keyring) == []


@pytest.fixture
async def bridge(registry: RegistryNode) -> Bridge:
    return Bridge(registry)


async def test_parts_of_an_interval_are_numbered_on_under_one_guard(bridge: Bridge) -> None:
    first = await bridge.issue(0, 200, 300)
    (guard,) = await bridge.guards()
    assert is_bridges(guard)
    later = await bridge.issue(0, 100)
    numbers = [each.token.issued for each in (*first, *later) if each.token]
    assert [(each.start, each.end) for each in numbers] == [(1, 200), (201, 500), (501, 600)]
    assert await bridge.guards() == [guard]
    assert not await bridge.is_free_for_others(0)
    assert await bridge.is_free_for_others(1)
    assert await bridge.is_sound()


async def test_parts_are_no_doubles_and_another_issuance_is(bridge: Bridge) -> None:
    made = await bridge.issue(0, 200, 300)
    record = await bridge.store.get(CERTIFICATES, made[0].outpoint)
    assert record is not None and record["is_mirrored"]
    assert await overlapping(record, bridge.store) == []
    stranger = record | {"_id": b"\1" * 36, "issuance_id": "another"}
    stranger.pop("is_mirrored")
    await bridge.store.commit([Put(CERTIFICATES, stranger)])
    assert await overlapping(record, bridge.store) == ["another"]


@pytest.mark.parametrize(("hour", "hours"), [(0, 1), (0, 0.5), (0.5, 0.5), (-0.5, 1)])
async def test_what_the_registry_issued_is_not_the_bridges(bridge: Bridge, hour: float, hours: float) -> None:
    await bridge.node.issue(0, 1)
    with pytest.raises(IssuedTwice):
        await bridge.plan(await bridge.request(hour, 10, hours))
    span = int(hour * HOUR_MS), int((hour + hours) * HOUR_MS)
    (guard,) = await bridge.guards()
    begin = start_of(guard)
    claim = SERIES, (begin + span[0], begin + span[1])
    free = SERIES, (begin + HOUR_MS, begin + 2 * HOUR_MS)
    assert await issued_elsewhere(bridge.store, [claim, free, claim]) == [True, False, True]


async def test_the_bridges_own_interval_is_not_elsewhere_but_another_over_it_is(bridge: Bridge) -> None:
    await bridge.issue(0, 10)
    await bridge.node.issue(3, 1)
    (guard, _) = await bridge.guards()
    begin = start_of(guard)
    spans = [(0, HOUR_MS), (0, 2 * HOUR_MS), (HOUR_MS // 2, HOUR_MS)]
    asked = [(SERIES, (begin + start, begin + end)) for start, end in spans]
    assert await issued_elsewhere(bridge.store, asked) == [False, True, True]
    with pytest.raises(IssuedTwice):
        await bridge.plan(await bridge.request(0, 10, 0.5))


async def test_who_claims_at_the_same_time_meets_a_conflict(bridge: Bridge) -> None:
    """Two plans were made before either was carried out; the numbers and the guard let one of them through."""
    planned = await bridge.plan(await bridge.request(0, 10))
    await bridge.node.issue(0, 1)
    with pytest.raises((Conflict, AlongsideConflict)):
        await bridge.send(*planned)
    pieces, _ = planned
    with pytest.raises((Conflict, AlongsideConflict)):
        await bridge.send(pieces, ())
    (guard,) = await bridge.guards()
    assert not is_bridges(guard)


async def test_two_plans_of_the_bridge_do_not_take_the_same_numbers(bridge: Bridge) -> None:
    planned = [await bridge.plan(await bridge.request(0, 10)) for _ in range(2)]
    await bridge.send(*planned[0])
    with pytest.raises((Conflict, AlongsideConflict)):
        await bridge.send(*planned[1])
    await bridge.issue(0, 10)
    assert await bridge.is_sound()


async def test_what_was_refused_leaves_the_interval_the_bridges(bridge: Bridge) -> None:
    (first,) = await bridge.issue(0, 10)
    (second,) = await bridge.issue(0, 20)
    for refused in (first, second):
        await bridge.refuse(refused)
        assert [is_bridges(each) for each in await bridge.guards()] == [True]
        assert not await bridge.is_free_for_others(0)
        assert await bridge.is_sound()
    (again,) = await bridge.issue(0, 30)
    assert again.token is not None and again.token.issued.start == 31
    assert await bridge.is_sound()


async def test_what_the_issuer_withdraws_whole_leaves_it_the_bridges(bridge: Bridge) -> None:
    await bridge.issue(0, 10)
    period = {"certificate_period_start": moment(0), "certificate_period_end": moment(1)}
    withdrawn = await bridge.node.resolved(Kind.WITHDRAW, body(**period))
    assert not await bridge.is_free_for_others(0)
    assert await bridge.is_sound()
    guards = await bridge.guards()
    told = Broadcast(bytes.fromhex(withdrawn.action.txids[0])[::-1], TxStatus.REJECTED, "told so")
    assert await bridge.node.node.engine.proofs.ingest(told)
    await bridge.node.registry.undoing.work()
    assert await bridge.guards() == guards
    assert await bridge.is_sound()


async def test_a_registry_that_is_rebuilt_knows_whose_its_intervals_are(bridge: Bridge) -> None:
    await World(bridge.node).populate()
    await bridge.issue(0, 10, 20)
    await bridge.issue(1, 10)
    await bridge.node.issue(2, 1)
    (gone,) = await bridge.issue(3, 10)
    await bridge.refuse(gone)
    before, numbers = await bridge.guards(), await every(bridge.store, NUMBERS, Find())
    await bridge.node.registry.stop()
    await bridge.store.commit([Delete(INTERVALS, row["_id"]) for row in before])
    await rebuild(bridge.store, bridge.node.keyring)
    after = await bridge.guards()
    assert [row | {"action_id": ""} for row in before] == after
    assert [is_bridges(row) for row in after] == [True, True, False, True]
    assert await every(bridge.store, NUMBERS, Find()) == numbers
    await bridge.node.registry.start()
    assert [await bridge.is_free_for_others(hour) for hour in range(5)] == [False] * 4 + [True]
    assert await bridge.is_sound()


async def test_a_guard_of_the_bridges_that_is_lost_is_found_missing(bridge: Bridge) -> None:
    await bridge.issue(0, 10)
    (guard,) = await bridge.guards()
    await bridge.store.commit([Delete(INTERVALS, guard["_id"])])
    await bridge.node.treasury.tend()
    (fault,) = await check_registry(bridge.store, bridge.node.keyring)
    assert fault.startswith("R1") and fault.endswith("has no guard")
