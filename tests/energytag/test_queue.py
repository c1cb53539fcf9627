"""The queue: actions planned, packed, admitted, each exactly once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from config.errors import BadRequest, ErrorCode
from energytag.actions import Kind, State
from energytag.audit import check_registry
from energytag.creating import device_attributes
from energytag.packing import Run
from energytag.private import PRIVATE
from energytag.records import ACTIONS, BASKET, DEVICES, INTERVALS, NUMBERS
from lookup.records import CERTIFICATES
from store.port import Document, Put
from tests.energytag.kit import ACCOUNT, DEVICE, OTHER_ACCOUNT, RegistryNode, device_row, moment, readings

OTHER_DEVICE = "5d1f3f5e-93a2-4a6b-8f5d-0e6a9a1c7b43"
ORGANISATION = {"name": "Grid", "business_id": 1, "primary_contact": "a@example.org"}


async def test_readings_become_certificates_in_one_transaction(registry: RegistryNode) -> None:
    action = await registry.issue(0, 24)
    assert len(action.txids) == 1
    assert action.result == {"bundles": 24, "energy_wh": 24_000}
    assert await registry.store.count(CERTIFICATES) == await registry.store.count(BASKET) == 24
    assert await registry.store.count(INTERVALS) == 24
    assert await registry.store.count(NUMBERS) == 1
    stored = await registry.registry.action(action.action_id)
    assert stored == action


async def test_many_bundles_take_several_transactions(registry: RegistryNode) -> None:
    action = await registry.issue(0, 250)
    assert len(action.txids) == 3
    assert await registry.store.count(CERTIFICATES) == 250
    assert (await registry.store.get(ACTIONS, action.action_id))["queued"] is None


async def test_of_fifty_creates_of_one_interval_one_wins(registry: RegistryNode) -> None:
    request = {"device_id": DEVICE, "readings": readings(5, 1)}
    outcomes = await asyncio.gather(*(registry.act(Kind.CREATE_MANY, request) for _ in range(50)))
    states = [outcome.action.state for outcome in outcomes]
    assert states.count(State.RESOLVED) == 1
    assert {o.action.error["code"] for o in outcomes if o.action.error} == {"ERR_ISSUED_TWICE"}
    assert await registry.store.count(CERTIFICATES) == 1


async def test_actions_of_one_round_share_a_transaction(registry: RegistryNode) -> None:
    requests = [{"device_id": DEVICE, "readings": readings(hour, 1)} for hour in range(30)]
    outcomes = await asyncio.gather(*(registry.resolved(Kind.CREATE_MANY, each) for each in requests))
    assert len({outcome.action.txids for outcome in outcomes}) < 30
    numbers = sorted(outcome.made[0].token.issued for outcome in outcomes)
    assert [each.start for each in numbers] == [1 + 1000 * n for n in range(30)]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"energy_wh": 110_001}, "ERR_CAPACITY_EXCEEDED"),
        ({"energy_wh": 0}, "ERR_RANGE_INVALID"),
        ({"end": "2026-01-01T01:00:01Z"}, "ERR_INTERVAL_INVALID"),
        ({"end": "2026-01-01T00:00:00Z"}, "ERR_INTERVAL_INVALID"),
        ({"start": "2036-01-01T00:00:00Z", "end": "2036-01-01T01:00:00Z"}, "ERR_INTERVAL_INVALID"),
    ],
)
async def test_what_cannot_be_issued(registry: RegistryNode, changes: dict, code: str) -> None:
    request = {"device_id": DEVICE, "readings": [*readings(10, 1), readings(0, 1)[0] | changes]}
    outcome = await registry.act(Kind.CREATE_MANY, request)
    assert outcome.action.state is State.REJECTED
    assert outcome.action.error["code"] == code
    assert outcome.action.error["message"].startswith("row 2: ")
    assert await registry.store.count(CERTIFICATES) == 0
    assert await registry.store.count(NUMBERS) == 0


async def test_an_action_of_ones_own_id_happens_once(registry: RegistryNode) -> None:
    request = {"device_id": DEVICE, "readings": readings(0, 1)}
    own = "01890a5d-ac96-774b-bcce-b302099a8057"
    first = await registry.resolved(Kind.CREATE_MANY, request, action_id=own)
    again = await registry.resolved(Kind.CREATE_MANY, request, action_id=own)
    assert first.action == again.action
    assert await registry.store.count(CERTIFICATES) == 1


async def test_private_bundles_are_published_when_told(registry: RegistryNode) -> None:
    request = {"device_id": DEVICE, "readings": readings(0, 2), "broadcast": False}
    kept = await registry.resolved(Kind.CREATE_MANY, request)
    assert await registry.store.count(CERTIFICATES) == 0
    twice = await registry.act(Kind.CREATE_MANY, {"device_id": DEVICE, "readings": readings(1, 1)})
    assert twice.action.error["code"] == "ERR_ISSUED_TWICE"
    published = await registry.resolved(Kind.PUBLISH, {"private_action_id": kept.action.action_id})
    assert published.action.txids == kept.action.txids
    assert await registry.store.count(CERTIFICATES) == 2
    again = await registry.act(Kind.PUBLISH, {"private_action_id": kept.action.action_id})
    assert again.action.error["code"] == "ERR_CERTIFICATE_UNKNOWN"


def stated(device: Document, issuing_body: str) -> dict[str, Any]:
    """A bundle of 1000 Wh as its issuing body states it."""
    return device_attributes(device, issuing_body) | {
        "account_id": device["account_id"],
        "bundle_quantity": 1000,
        "certificate_status": "Active",
        "device_type": "production",
        "energy_carrier": "electricity",
        "expiry_datestamp": "2030-01-01",
        "face_value": 1,
        "issuance_datestamp": "2026-01-02",
        "issuance_post_energy_carrier_conversion": False,
        "production_ending_interval": moment(1),
        "production_starting_interval": moment(0),
        "registry_configuration": 1,
    }


async def test_private_bundles_of_several_accounts_are_refused(registry: RegistryNode) -> None:
    devices = [device_row(DEVICE), device_row(OTHER_DEVICE, account_id=OTHER_ACCOUNT)]
    await registry.store.commit([Put(DEVICES, devices[1])])
    bundles = [stated(device, registry.settings.registry.issuing_body) for device in devices]
    refused = (await registry.act(Kind.CREATE_MANY, {"bundles": bundles, "broadcast": False})).action
    assert refused.error["code"] == "ERR_INVALID_FIELD"
    await registry.resolved(Kind.CREATE_MANY, {"bundles": bundles})


async def test_private_bundles_that_one_transaction_cannot_hold_are_refused(registry: RegistryNode) -> None:
    most = registry.settings.registry.bundles_per_transaction
    request = {"device_id": DEVICE, "readings": readings(0, most + 1), "broadcast": False}
    refused = (await registry.act(Kind.CREATE_MANY, request)).action
    assert refused.state is State.REJECTED
    assert refused.error["code"] == "ERR_INVALID_FIELD"
    assert await registry.store.count(PRIVATE) == 0
    await registry.resolved(Kind.CREATE_MANY, request | {"readings": readings(0, most)})


async def test_what_is_known_already_can_still_be_published(registry: RegistryNode) -> None:
    request = {"device_id": DEVICE, "readings": readings(0, 1), "broadcast": False}
    kept = (await registry.resolved(Kind.CREATE_MANY, request)).action
    row = await registry.store.get(PRIVATE, kept.action_id)
    await registry.node.engine.submit(row["beef"], row["topics"])
    published = await registry.resolved(Kind.PUBLISH, {"private_action_id": kept.action_id})
    assert published.action.txids == kept.txids
    assert await registry.store.count(PRIVATE) == 0
    assert await check_registry(registry.store, registry.keyring) == []


async def test_the_account_holds_what_was_issued(registry: RegistryNode) -> None:
    action = await registry.issue(0, 2)
    outcome = await registry.node.engine.lookup("ls_metawatt", {"account_id": ACCOUNT})
    assert {each.txid[::-1].hex() for each in outcome.outputs} == set(action.txids)


async def test_an_action_that_cannot_be_gone_on_with_is_set_aside(
    registry: RegistryNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    sender, send = registry.registry.sender, registry.registry.sender.send

    async def refuse_the_second(run: Run, alongside: Any) -> Any:
        if run.shares[0].first == 100:
            raise BadRequest("the second transaction is refused", ErrorCode.DOUBLE_SPEND)
        return await send(run, alongside)

    monkeypatch.setattr(sender, "send", refuse_the_second)
    monkeypatch.setattr("energytag.queue._PAUSE_SECS", 0.01)
    outcome = await registry.act(Kind.CREATE_MANY, {"device_id": DEVICE, "readings": readings(0, 250)})
    assert outcome.action.is_set_aside
    assert outcome.action.error["code"] == "ERR_DOUBLE_SPEND"
    assert await registry.store.count(CERTIFICATES) == 150
    await registry.resolved(Kind.ORGANISATION_CREATE, ORGANISATION)
    monkeypatch.setattr(sender, "send", send)
    resumed = await registry.registry.resume(outcome.action.action_id)
    assert resumed.action.state is State.RESOLVED
    assert len(resumed.action.txids) == 3
    assert await registry.store.count(CERTIFICATES) == 250
    assert await check_registry(registry.store, registry.keyring) == []


async def test_storage_produces_nothing(registry: RegistryNode) -> None:
    await registry.store.commit([Put(DEVICES, device_row(DEVICE, is_storage=True))])
    outcome = await registry.act(Kind.CREATE_MANY, {"device_id": DEVICE, "readings": readings(0, 1)})
    assert outcome.action.error["code"] == "ERR_ATTRIBUTES_DIFFER"
