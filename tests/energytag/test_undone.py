"""What the network refuses is undone: the registry stands as before, and says so on the actions."""

from __future__ import annotations

from typing import Any

import pytest

from config.errors import ErrorCode
from energytag.actions import Action, Kind, State
from energytag.audit import check_registry
from energytag.delivery import DELIVERIES, atomic_beef
from energytag.imports import IMPORTED, prepare
from energytag.rebuild import rebuild
from energytag.records import ACTION_PARTS, ACTIONS, BASKET, INTERVALS, NUMBERS
from energytag.undone import UNDONE
from overlay.chain import Broadcast, TxStatus
from overlay.hydrate import load_kept
from store.pages import every
from store.port import Find, Insert, Patch
from tests.energytag.kit import ACCOUNT, DEVICE, OTHER_ACCOUNT, RegistryNode, moment, readings
from tests.energytag.storage_kit import body
from tests.energytag.test_imports import body as import_body
from tests.energytag.test_imports import foreign
from topics.names import CERTIFICATES


def hour(number: int) -> dict[str, Any]:
    return {"certificate_period_start": moment(number), "certificate_period_end": moment(number + 1)}


async def refuse(node: RegistryNode, action: Action, status: TxStatus = TxStatus.REJECTED) -> None:
    """The network refuses the transaction of an action."""
    txid = bytes.fromhex(action.txids[0])[::-1]
    assert await node.node.engine.proofs.ingest(Broadcast(txid, status, "told so"))


async def is_sound(node: RegistryNode) -> None:
    await node.treasury.tend()
    assert await check_registry(node.store, node.keyring) == []


@pytest.mark.parametrize("status", [TxStatus.REJECTED, TxStatus.DOUBLE_SPEND_ATTEMPTED])
async def test_an_interval_is_free_again(registry: RegistryNode, status: TxStatus) -> None:
    first = await registry.issue(0, 2)
    kept = await registry.issue(2, 1)
    await refuse(registry, first, status)
    assert await registry.registry.undoing.work() == 1
    assert await registry.registry.undoing.work() == 0
    assert registry.registry.queue.measures.undone == 1
    told = await registry.registry.action(first.action_id)
    assert told.state is State.RESOLVED
    assert told.error is not None
    assert told.error["code"] == ErrorCode.BROADCAST_REJECTED
    assert (await registry.registry.action(kept.action_id)).error is None
    assert await registry.store.count(INTERVALS) == await registry.store.count(BASKET) == 1
    await is_sound(registry)
    again = await registry.resolved(Kind.CREATE_MANY, {"device_id": DEVICE, "readings": readings(0, 2)})
    numbers = [made.token.issued.start for made in again.made if made.token is not None]
    assert numbers == [3001, 4001]
    await is_sound(registry)


async def test_moved_certificates_are_where_they_were(registry: RegistryNode) -> None:
    await registry.issue(0, 1)
    before = await every(registry.store, BASKET, Find())
    moved = await registry.resolved(
        Kind.TRANSFER, body(target_account_id=OTHER_ACCOUNT, certificate_quantity=300, **hour(0))
    )
    cancelled = await registry.resolved(Kind.CANCEL, body(source_account_id=OTHER_ACCOUNT))
    await refuse(registry, moved.action)
    assert await registry.registry.undoing.work() == 2
    assert await every(registry.store, BASKET, Find()) == before
    for outcome in (moved, cancelled):
        assert (await registry.registry.action(outcome.action.action_id)).error is not None
    assert await registry.store.count(UNDONE) == 0
    await is_sound(registry)
    await registry.resolved(Kind.TRANSFER, body(target_account_id=OTHER_ACCOUNT, **hour(0)))


@pytest.mark.parametrize("quantity", [1000, 300])
async def test_a_withdrawal_that_was_refused_does_not_count(registry: RegistryNode, quantity: int) -> None:
    await registry.issue(0, 1)
    (guard,) = await every(registry.store, INTERVALS, Find())
    await registry.resolved(Kind.WITHDRAW, body(certificate_quantity=100, **hour(0)))
    withdrawn = await registry.resolved(Kind.WITHDRAW, body(certificate_quantity=min(quantity, 900), **hour(0)))
    await refuse(registry, withdrawn.action)
    await registry.registry.undoing.work()
    (again,) = await every(registry.store, INTERVALS, Find())
    assert again["withdrawn"] == 100
    assert again["issuance_id"] == guard["issuance_id"]
    await is_sound(registry)
    twice = await registry.act(Kind.CREATE_MANY, {"device_id": DEVICE, "readings": readings(0, 1)})
    assert twice.action.error is not None
    assert twice.action.error["code"] == ErrorCode.ISSUED_TWICE


async def test_an_interval_that_was_issued_anew_keeps_its_guard(registry: RegistryNode) -> None:
    await registry.issue(0, 1)
    withdrawn = await registry.resolved(Kind.WITHDRAW, body(**hour(0)))
    await registry.issue(0, 1, 700)
    (guard,) = await every(registry.store, INTERVALS, Find())
    await refuse(registry, withdrawn.action)
    await registry.registry.undoing.work()
    assert await every(registry.store, INTERVALS, Find()) == [guard]
    faults = await check_registry(registry.store, registry.keyring)
    assert [fault for fault in faults if "has no guard" in fault]


async def test_what_is_rebuilt_keeps_the_gap(registry: RegistryNode) -> None:
    await registry.issue(0, 1)
    last = await registry.issue(1, 1)
    await refuse(registry, last)
    await registry.registry.undoing.work()
    (before,) = await every(registry.store, NUMBERS, Find())
    await registry.registry.stop()
    await rebuild(registry.store, registry.keyring)
    (after,) = await every(registry.store, NUMBERS, Find())
    assert after["next"] == before["next"] == 2001


async def test_what_was_imported_may_be_imported_again(registry: RegistryNode) -> None:
    request = await prepare(registry.registry.ground, import_body(foreign(1)))
    imported = await registry.resolved(Kind.IMPORT, request)
    (before,) = [row for row in await every(registry.store, IMPORTED, Find()) if "source" not in row]
    await refuse(registry, imported.action)
    await registry.registry.undoing.work()
    (freed,) = await every(registry.store, IMPORTED, Find())
    assert freed["ranges"] == []
    await is_sound(registry)
    await registry.resolved(Kind.IMPORT, request)
    await is_sound(registry)
    await registry.registry.stop()
    await rebuild(registry.store, registry.keyring)
    (after,) = [row for row in await every(registry.store, IMPORTED, Find()) if "source" not in row]
    assert after["ranges"] == before["ranges"]


async def test_an_import_that_is_undone_is_not_rebuilt(registry: RegistryNode) -> None:
    imported = await registry.resolved(
        Kind.IMPORT, await prepare(registry.registry.ground, import_body(foreign(1)))
    )
    await refuse(registry, imported.action)
    await registry.registry.undoing.work()
    await registry.registry.stop()
    await rebuild(registry.store, registry.keyring)
    assert await registry.store.count(IMPORTED) == 0


async def test_a_transaction_that_came_back_is_not_undone(registry: RegistryNode) -> None:
    issued = await registry.resolved(Kind.CREATE_MANY, {"device_id": DEVICE, "readings": readings(0, 1)})
    txid = bytes.fromhex(issued.action.txids[0])[::-1]
    beef = atomic_beef(await load_kept(registry.store, {txid}), txid)
    await refuse(registry, issued.action)
    await registry.node.engine.submit(beef, [CERTIFICATES])
    assert await registry.registry.undoing.work() == 0
    assert await registry.store.count(INTERVALS) == await registry.store.count(BASKET) == 1
    assert await registry.store.count(UNDONE) == 0
    assert (await registry.registry.action(issued.action.action_id)).error is None


async def test_parts_of_an_unfinished_action_are_done_again(registry: RegistryNode) -> None:
    issued = await registry.issue(0, 1)
    await registry.registry.stop()
    stopped = (await registry.act(Kind.SPLIT, body(certificate_quantity=10, **hour(0)), wait_secs=0)).action
    part = {"_id": stopped.prefix + bytes(4), "count": 1, "txid": issued.txids[0]}
    other = {"_id": stopped.prefix + bytes(3) + b"\x01", "count": 1, "txid": "00" * 32}
    await registry.store.commit(
        [
            Insert(ACTION_PARTS, part),
            Insert(ACTION_PARTS, other),
            Patch(ACTIONS, stopped.action_id, {"memo": b"{}"}),
        ]
    )
    await refuse(registry, issued)
    await registry.registry.undoing.work()
    assert await every(registry.store, ACTION_PARTS, Find()) == [other]


async def test_deliveries_are_not_waited_for(registry: RegistryNode) -> None:
    issued = await registry.issue(0, 1)
    outpoint = bytes.fromhex(issued.txids[0])[::-1] + bytes(4)
    row = {"_id": outpoint, "account_id": ACCOUNT, "waits_for": ACCOUNT, "seq": 1, "due_ms": 1, "attempts": 0}
    await registry.store.commit([Insert(DELIVERIES, row)])
    await refuse(registry, issued)
    await registry.registry.undoing.work()
    (after,) = await every(registry.store, DELIVERIES, Find())
    assert after["waits_for"] is after["due_ms"] is None
