"""The lineage of an issuance, on the real engine."""

from __future__ import annotations

from typing import Any

import pytest

from config.errors import ErrorCode, NotFound
from energytag.actions import Kind
from energytag.lineage import lineage
from tests.energytag.kit import ACCOUNT, DEVICE, OTHER_ACCOUNT, RegistryNode, readings
from tests.energytag.proving import prove

USER = "11111111-2222-4333-8444-555555555555"


async def act(registry: RegistryNode, kind: Kind, **fields: Any) -> None:
    await registry.resolved(kind, {"source_account_id": ACCOUNT, "source_user_id": USER} | fields)


async def issued(registry: RegistryNode) -> str:
    outcome = await registry.resolved(
        Kind.CREATE_MANY, {"device_id": DEVICE, "readings": readings(0, 1)}, account_id=ACCOUNT
    )
    token = outcome.made[0].token
    assert token is not None
    return token.issuance_id


async def test_every_step_is_told_in_order(registry: RegistryNode) -> None:
    issuance_id = await issued(registry)
    await act(registry, Kind.TRANSFER, certificate_quantity=300, target_account_id=OTHER_ACCOUNT)
    await act(registry, Kind.SPLIT, certificate_quantity=100)
    await act(registry, Kind.CANCEL, certificate_quantity=100, beneficiary=ACCOUNT)
    await act(registry, Kind.CLAIM)
    await act(registry, Kind.RESERVE, certificate_status="Active", target_registry="Another")
    await act(registry, Kind.RELEASE)
    told = await lineage(registry.registry.ground, issuance_id)
    assert [step["events"] for step in told["timeline"]] == [
        ["issuance"],
        ["split", "transfer"],
        ["split"],
        ["cancel"],
        ["claim"],
        ["reserve"],
        ["release"],
    ]
    for step in told["timeline"][1:]:
        assert quantity(step["from"]) == quantity(step["to"])
    assert told["now"]["is_partition"] is True
    assert told["now"]["totals"] == {"Active": 900, "Claimed": 100}


def quantity(outputs: list[dict[str, Any]]) -> int:
    return sum(int(each["bundle_quantity"]) for each in outputs)


async def test_times_are_those_of_blocks_once_there_are_any(registry: RegistryNode) -> None:
    issuance_id = await issued(registry)
    (before,) = (await lineage(registry.registry.ground, issuance_id))["timeline"]
    await prove(registry)
    (after,) = (await lineage(registry.registry.ground, issuance_id))["timeline"]
    assert before["block_height"] is None
    assert before["time"] is not None
    assert after["block_height"] == registry.node.headers.tip_height


async def test_a_withdrawal_is_a_step_that_spends_nothing(registry: RegistryNode) -> None:
    issuance_id = await issued(registry)
    await act(
        registry, Kind.WITHDRAW, source_certificate_issuance_id=issuance_id, reason="wrong", whole_issuance=True
    )
    told = await lineage(registry.registry.ground, issuance_id)
    step = told["timeline"][-1]
    assert (step["events"], step["from"], step["to"]) == (["withdraw"], [], [])
    assert step["withdrawn"][0]["reason"] == "wrong"
    assert told["now"]["totals"] == {"Withdrawn": 1000}


async def test_an_unknown_issuance(registry: RegistryNode) -> None:
    with pytest.raises(NotFound) as caught:
        await lineage(registry.registry.ground, USER)
    assert caught.value.code is ErrorCode.CERTIFICATE_UNKNOWN
