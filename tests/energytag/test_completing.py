"""What comes of a wallet's transaction that came in by another way, or does more than it was asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from config.errors import BadRequest, ErrorCode
from energytag.actions import Action, Kind, State
from energytag.records import BASKET
from overlay.envelope import parse_envelope
from overlay.transaction import outpoint
from store.sqlite import SqliteStore
from tests.energytag.kit import ACCOUNT, DEVICE, OTHER_ACCOUNT, readings
from tests.energytag.wallet_kit import BOUND, WalletRegistry, transfer
from tests.overlay.kit import Chain, Clock
from topics.names import CERTIFICATES


@pytest.fixture
async def node(tmp_path: Path, chain: Chain, clock: Clock) -> AsyncIterator[WalletRegistry]:
    made = WalletRegistry(chain, SqliteStore(tmp_path / "node.db", cache_mib=4), clock)
    await made.begin()
    yield made
    await made.end()


async def prepared(node: WalletRegistry, **criteria: Any) -> tuple[Action, dict[str, Any]]:
    """A transfer out of the bound account that waits for its wallet, and what that is to make."""
    action = (await node.act(Kind.TRANSFER, transfer(BOUND, ACCOUNT, **criteria))).action
    assert action.memo is not None
    return action, action.memo["prepared"]


async def two_prepared(node: WalletRegistry) -> tuple[Action, dict[str, Any], dict[str, Any]]:
    """Transfers of two bundles, the first of them as an action."""
    issued = await node.resolved(Kind.CREATE_MANY, {"device_id": DEVICE, "readings": readings(0, 2)})
    issuances = [made.token.issuance_id for made in issued.made if made.token is not None]
    for issuance in issuances:
        await node.resolved(Kind.TRANSFER, transfer(ACCOUNT, BOUND, source_certificate_issuance_id=issuance))
    action, first = await prepared(node, source_certificate_issuance_id=issuances[0])
    _, second = await prepared(node, source_certificate_issuance_id=issuances[1])
    return action, first, second


async def test_a_transaction_that_was_submitted_before_completes_its_action(node: WalletRegistry) -> None:
    await node.give()
    action, asked = await prepared(node)
    beef = await node.signed(asked)
    await node.node.engine.submit(beef, [CERTIFICATES])
    assert (await node.registry.action(action.action_id)).state is State.PENDING
    for _ in range(2):
        outcome = await node.registry.complete(action.action_id, beef)
        assert outcome.action == await node.registry.action(action.action_id)
        assert outcome.action.state is State.RESOLVED
    assert await node.store.get(BASKET, outpoint(parse_envelope(beef).subject.txid, 0)) is not None
    await node.resolved(Kind.TRANSFER, transfer(ACCOUNT, OTHER_ACCOUNT))


@pytest.mark.parametrize("is_admitted", [False, True])
async def test_completions_at_once_answer_the_same(node: WalletRegistry, is_admitted: bool) -> None:
    await node.give()
    action, asked = await prepared(node)
    beef = await node.signed(asked)
    if is_admitted:
        await node.node.engine.submit(beef, [CERTIFICATES])
    outcomes = await asyncio.gather(*(node.registry.complete(action.action_id, beef) for _ in range(4)))
    stored = await node.registry.action(action.action_id)
    assert stored.state is State.RESOLVED
    assert all(outcome.action == stored for outcome in outcomes)


async def test_a_wallet_may_move_more_of_its_own_beside(node: WalletRegistry) -> None:
    action, first, second = await two_prepared(node)
    both = {name: [*first[name], *second[name]] for name in ("inputs", "outputs")}
    outcome = await node.registry.complete(action.action_id, await node.signed(both))
    assert outcome.action.state is State.RESOLVED
    assert len(outcome.made) == 1


async def test_a_transaction_that_loses_another_certificate_is_refused(node: WalletRegistry) -> None:
    action, first, second = await two_prepared(node)
    loses = {"inputs": [*first["inputs"], *second["inputs"]], "outputs": first["outputs"]}
    with pytest.raises(BadRequest) as caught:
        await node.registry.complete(action.action_id, await node.signed(loses))
    assert caught.value.code == ErrorCode.SIGNED_OTHERWISE
    assert (await node.registry.action(action.action_id)).state is State.PENDING
    outcome = await node.registry.complete(action.action_id, await node.signed(first))
    assert outcome.action.state is State.RESOLVED


async def test_parts_of_one_issuance_spoil_one_another(node: WalletRegistry) -> None:
    await node.give()
    cut, asked = await prepared(node, certificate_quantity=400)
    await node.registry.complete(cut.action_id, await node.signed(asked))
    await node.resolved(Kind.TRANSFER, transfer(ACCOUNT, BOUND))
    action, first = await prepared(node, certificate_quantity=400)
    _, all_of_it = await prepared(node)
    other = [each for each in all_of_it["inputs"] if each not in first["inputs"]]
    spoilt = {"inputs": [*first["inputs"], *other], "outputs": first["outputs"]}
    with pytest.raises(BadRequest) as caught:
        await node.registry.complete(action.action_id, await node.signed(spoilt))
    assert caught.value.code == ErrorCode.SIGNED_OTHERWISE
    assert (await node.registry.action(action.action_id)).state is State.PENDING
