"""Statements of cancellation: what they list, that they stay the same, and what proves them."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import pytest

from certificates.canonical import canonical
from config.errors import ErrorCode, NotFound
from energytag import statements
from energytag.actions import Action, Kind
from energytag.models.common import InvalidFields, read
from energytag.models.matching import CancellationStatement, StatementQuestion
from energytag.retired import TooMuch
from energytag.statements import state_cancellations
from tests.energytag.kit import ACCOUNT, OTHER_ACCOUNT, RegistryNode, moment

YEAR = {"account_id": ACCOUNT, "start": moment(0), "end": moment(365 * 24)}


async def act(registry: RegistryNode, kind: Kind, account_id: str = ACCOUNT, **fields: Any) -> Action:
    body = {"source_account_id": account_id, "source_user_id": account_id, **fields}
    return (await registry.resolved(kind, body)).action


async def state(registry: RegistryNode, **question: Any) -> CancellationStatement:
    return await state_cancellations(registry.registry.ground, read(StatementQuestion, question or YEAR))


def ranges(statement: CancellationStatement) -> list[tuple[str, int, int]]:
    return [
        (each.production_starting_interval, each.bundle_id_range_start, each.bundle_id_range_end)
        for each in statement.statement.retirements
    ]


async def test_a_statement_lists_each_range_with_its_sums(registry: RegistryNode) -> None:
    await registry.issue(0, 2)
    await registry.issue(31 * 24, 1)
    own = await act(registry, Kind.CANCEL, certificate_quantity=1500)
    other = await act(registry, Kind.CANCEL, certificate_quantity=1000, beneficiary="Mill & Sons")
    told = await state(registry)
    assert ranges(told) == [
        (moment(0), 1, 1000),
        (moment(1), 1001, 1500),
        (moment(1), 1501, 2000),
        (moment(31 * 24), 2001, 2500),
    ]
    statement = told.statement
    assert [each.tx_id for each in statement.retirements] == [*own.txids * 2, *other.txids * 2]
    assert (statement.certificates, statement.energy_wh) == (2500, 2500)
    assert (statement.period_start, statement.period_end) == (moment(0), moment(31 * 24 + 1))
    assert [(each.beneficiary, each.energy_wh) for each in statement.beneficiaries] == [
        ("Account 11", 1500),
        ("Mill & Sons", 1000),
    ]
    assert [(each.month, each.zone, each.energy_source, each.energy_wh) for each in statement.energy] == [
        ("2026-01", "NL", "solar_pv", 2000),
        ("2026-02", "NL", "solar_pv", 500),
    ]
    assert (told.account_name, told.claimed_wh) == ("Account 11", 0)
    assert told.statement_id == sha256(canonical(statement.model_dump(mode="json"))).hexdigest()


async def test_claims_do_not_change_what_was_stated(registry: RegistryNode) -> None:
    await registry.issue(0, 1)
    await act(registry, Kind.CANCEL, certificate_quantity=400)
    await act(registry, Kind.CANCEL, certificate_quantity=600, beneficiary=OTHER_ACCOUNT)
    before = await state(registry)
    await act(registry, Kind.CLAIM)
    after = await state(registry)
    assert before.statement_id == after.statement_id
    assert before.statement == after.statement
    assert (before.claimed_wh, after.claimed_wh) == (0, 400)
    assert set(after.timestamp_proofs) == {each.tx_id for each in after.statement.retirements}


async def test_the_beneficiary_states_what_others_cancelled_for_it(registry: RegistryNode) -> None:
    await registry.issue(0, 1)
    action = await act(registry, Kind.CANCEL, certificate_quantity=600, beneficiary=OTHER_ACCOUNT)
    told = await state(registry, **YEAR | {"account_id": OTHER_ACCOUNT})
    assert ranges(told) == [(moment(0), 1, 600)]
    assert (await state(registry)).statement.retirements == []
    by_action = await state(registry, action_id=action.action_id)
    assert by_action.statement.retirements == told.statement.retirements
    assert by_action.statement_id != told.statement_id


async def test_a_statement_of_one_action_or_issuance(registry: RegistryNode) -> None:
    await registry.issue(0, 2)
    first = await act(registry, Kind.CANCEL, certificate_quantity=300)
    await act(registry, Kind.CANCEL, certificate_quantity=1000)
    of_action = await state(registry, action_id=first.action_id)
    assert ranges(of_action) == [(moment(0), 1, 300)]
    issuance_id = of_action.statement.retirements[0].issuance_id
    of_issuance = await state(registry, account_id=ACCOUNT, issuance_id=issuance_id)
    assert ranges(of_issuance) == [(moment(0), 1, 300), (moment(0), 301, 1000)]
    await act(registry, Kind.CLAIM)
    claimed = await state(registry, action_id=first.action_id)
    assert (claimed.statement_id, claimed.claimed_wh) == (of_action.statement_id, 300)
    transfer = await act(registry, Kind.TRANSFER, target_account_id=OTHER_ACCOUNT)
    assert (await state(registry, action_id=transfer.action_id)).statement.retirements == []


async def test_proofs_come_with_the_blocks(registry: RegistryNode) -> None:
    await registry.issue(0, 1)
    action = await act(registry, Kind.CANCEL)
    before = await state(registry)
    assert before.timestamp_proofs == {action.txids[0]: {"status": "unproven"}}
    await registry.node.engine.tend()
    await registry.chain.dev.mine(1)
    await registry.node.headers.sync()
    await registry.node.engine.refresh_proofs()
    after = await state(registry)
    proof = after.timestamp_proofs[action.txids[0]]
    assert proof["status"] == "proven"
    assert proof["block_height"] == registry.node.headers.tip_height
    assert after.statement_id == before.statement_id


async def test_nothing_retired_is_stated_too(registry: RegistryNode) -> None:
    told = await state(registry)
    assert (told.statement.period_start, told.statement.energy_wh, told.timestamp_proofs) == (None, 0, {})


@pytest.mark.parametrize(
    ("question", "code"),
    [
        (YEAR | {"account_id": "00000000-0000-4000-8000-000000000000"}, ErrorCode.ACCOUNT_UNKNOWN),
        ({"action_id": "00000000-0000-4000-8000-000000000000"}, ErrorCode.ACTION_UNKNOWN),
    ],
)
async def test_unknown_accounts_and_actions(
    registry: RegistryNode, question: dict[str, Any], code: ErrorCode
) -> None:
    with pytest.raises(NotFound) as raised:
        await state(registry, **question)
    assert raised.value.code is code


@pytest.mark.parametrize(
    "question",
    [
        {},
        {"account_id": ACCOUNT},
        {"account_id": ACCOUNT, "start": moment(0)},
        {"start": moment(0), "end": moment(1)},
        {"action_id": ACCOUNT, "account_id": ACCOUNT},
    ],
)
def test_a_statement_needs_a_question(question: dict[str, Any]) -> None:
    with pytest.raises(InvalidFields):
        read(StatementQuestion, question)


async def test_statements_are_bounded(registry: RegistryNode, monkeypatch: pytest.MonkeyPatch) -> None:
    await registry.issue(0, 2)
    action = await act(registry, Kind.CANCEL)
    monkeypatch.setattr(statements, "MOST_RETIREMENTS", 1)
    for question in (YEAR, {"action_id": action.action_id}):
        with pytest.raises(TooMuch):
            await state(registry, **question)
