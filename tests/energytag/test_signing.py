"""Users' own wallets sign for their certificates."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from config.errors import BadRequest, ErrorCode, MetawattError
from energytag.actions import Kind, State
from energytag.delivery import BASKET_NAME, DELIVERIES, pull
from energytag.holdings import find
from energytag.plan import Move
from energytag.records import BASKET
from energytag.signing import Prepared, check_signed, prepare
from lookup.filters import Filters
from overlay.builder import make_transaction
from overlay.envelope import parse_envelope
from overlay.transaction import Output
from overlay.wire import write_beef
from store.port import Delete
from store.sqlite import SqliteStore
from tests.energytag.kit import ACCOUNT
from tests.energytag.wallet_kit import BOUND, WalletRegistry, transfer
from tests.overlay.kit import Chain, Clock


@pytest.fixture
async def node(tmp_path: Path, chain: Chain, clock: Clock) -> AsyncIterator[WalletRegistry]:
    made = WalletRegistry(chain, SqliteStore(tmp_path / "node.db", cache_mib=4), clock)
    await made.begin()
    yield made
    await made.end()


async def held(node: WalletRegistry, account_id: str) -> list[tuple[int, int]]:
    found = await find(node.store, Filters({"account_id": (account_id,)}), node.clock.now_ms // 1000, 100)
    return sorted(tuple(each.token.bundle.range) for each in found)


async def take_in(node: WalletRegistry) -> None:
    """The user's wallet pulls what waits for it."""
    for parcel in (await pull(node.store, BOUND, 100))[0]:
        await node.remote.internalize_action(parcel.as_json())


async def test_a_wallet_signs_a_transfer_and_keeps_the_rest(node: WalletRegistry) -> None:
    await node.give(2)
    await take_in(node)
    action = (await node.act(Kind.TRANSFER, transfer(BOUND, ACCOUNT, certificate_quantity=1500))).action
    assert action.state is State.PENDING
    assert action.memo is not None
    assert await held(node, ACCOUNT) == []
    beef = await node.signed(action.memo["prepared"])
    done = (await node.registry.complete(action.action_id, beef)).action
    assert done.state is State.RESOLVED
    assert done.txids == (parse_envelope(beef).subject.txid_hex,)
    assert await held(node, ACCOUNT) == [(1, 1000), (1001, 1500)]
    assert await held(node, BOUND) == [(1501, 2000)]
    outputs = await node.remote.list_outputs(BASKET_NAME)
    assert [each["outpoint"][:64] for each in outputs][-1] == done.txids[0], "the rest went back into the basket"
    assert (await node.registry.complete(action.action_id, beef)).action == done


async def test_what_came_back_can_be_moved_again(node: WalletRegistry) -> None:
    await node.give()
    for quantity in (300, 200):
        request = transfer(BOUND, ACCOUNT, certificate_quantity=quantity)
        action = (await node.act(Kind.TRANSFER, request)).action
        assert action.memo is not None
        await node.registry.complete(action.action_id, await node.signed(action.memo["prepared"]))
    assert await held(node, ACCOUNT) == [(1, 300), (301, 500)]
    assert await held(node, BOUND) == [(501, 1000)]


async def test_what_a_wallet_is_asked_to_make(node: WalletRegistry) -> None:
    await node.give()
    action = (await node.act(Kind.TRANSFER, transfer(BOUND, ACCOUNT, certificate_quantity=400))).action
    assert action.memo is not None
    prepared = Prepared.from_json(action.memo["prepared"])
    assert prepared.as_json() == action.memo["prepared"]
    asked = await node.to_sign(action.memo["prepared"])
    arguments = asked["createAction"]
    assert 5 <= len(arguments["description"]) <= 50
    assert arguments["options"] == {"randomizeOutputs": False, "noSend": True}
    (spent,) = arguments["inputs"]
    assert spent["unlockingScriptLength"] == 73
    assert [each["satoshis"] for each in arguments["outputs"]] == [1, 1]
    assert sorted("basket" in each for each in arguments["outputs"]) == [False, True]
    (unlock,) = asked["unlock"]
    assert unlock["protocolID"] == [1, "metawatt gc"]
    assert unlock["counterparty"] == node.keyring.identity.hex()
    members = parse_envelope(bytes(arguments["inputBEEF"])).members
    assert prepared.spends[0].outpoint[:32] in members


async def test_a_transaction_that_does_something_else_is_refused(node: WalletRegistry) -> None:
    await node.give(2)
    action = (await node.act(Kind.TRANSFER, transfer(BOUND, ACCOUNT))).action
    assert action.memo is not None
    beef = await node.signed(action.memo["prepared"])
    prepared = Prepared.from_json(action.memo["prepared"])
    assert check_signed(prepared, beef).subject.txid == parse_envelope(beef).subject.txid
    transaction = parse_envelope(beef).subject
    inputs, outputs = list(transaction.inputs), list(transaction.outputs)
    others = {
        "inputs in another order": make_transaction([inputs[1], inputs[0], *inputs[2:]], outputs),
        "an input too few": make_transaction(inputs[:1], outputs),
        "outputs in another order": make_transaction(inputs, [outputs[1], outputs[0], *outputs[2:]]),
        "an output too few": make_transaction(inputs, outputs[:1]),
        "more satoshis": make_transaction(inputs, [Output(2, outputs[0].script), *outputs[1:]]),
        "another script": make_transaction(inputs, [Output(1, outputs[0].script + b"\x61"), *outputs[1:]]),
        "funding first": make_transaction([inputs[-1], *inputs[:-1]], outputs),
    }
    for reason, other in others.items():
        with pytest.raises(BadRequest) as caught:
            check_signed(prepared, write_beef([(other, None)]))
        assert caught.value.code == ErrorCode.SIGNED_OTHERWISE, reason
    with pytest.raises(BadRequest):
        check_signed(prepared, b"nonsense")


async def test_of_two_actions_on_one_certificate_the_first_to_be_signed_wins(node: WalletRegistry) -> None:
    await node.give()
    actions = [(await node.act(Kind.TRANSFER, transfer(BOUND, ACCOUNT))).action for _ in range(2)]
    beefs = [await node.signed(each.memo["prepared"]) for each in actions if each.memo is not None]
    await node.registry.complete(actions[1].action_id, beefs[1])
    with pytest.raises(BadRequest, match="moved by another transaction") as caught:
        await node.registry.complete(actions[0].action_id, beefs[0])
    assert caught.value.code == ErrorCode.STATUS_FORBIDS
    assert (await node.registry.action(actions[0].action_id)).state is State.REJECTED


async def test_a_wrong_signature_changes_nothing(node: WalletRegistry) -> None:
    await node.give()
    action = (await node.act(Kind.TRANSFER, transfer(BOUND, ACCOUNT))).action
    assert action.memo is not None
    beef = await node.signed(action.memo["prepared"])
    envelope = parse_envelope(beef)
    inputs = list(envelope.subject.inputs)
    inputs[0] = inputs[0]._replace(unlocking_script=inputs[0].unlocking_script[:-3] + b"\x00\x00\x41")
    forged = make_transaction(inputs, envelope.subject.outputs)
    members = [
        (each.transaction, each.bump.raw if each.bump else None)
        for each in envelope.ancestry()
        if each.transaction.txid != envelope.subject.txid
    ]
    with pytest.raises(BadRequest) as caught:
        await node.registry.complete(action.action_id, write_beef([*members, (forged, None)]))
    assert caught.value.code == ErrorCode.SCRIPT_INVALID
    assert (await node.registry.action(action.action_id)).state is State.PENDING
    assert (await node.registry.complete(action.action_id, beef)).action.state is State.RESOLVED


async def test_certificates_in_two_hands_are_not_moved_together(node: WalletRegistry) -> None:
    """An account that was custodial still has certificates in the registry's keeping when it is bound."""
    await node.issue(0, 1)
    await node.resolved(Kind.TRANSFER, transfer(ACCOUNT, BOUND, certificate_quantity=10))

    holdings = await find(node.store, Filters({"account_id": (BOUND,)}), node.clock.now_ms // 1000, 100)
    (holding,) = [each for each in holdings if each.key_id is None]

    kept = replace(holding, key_id="k", sender=node.keyring.identity)
    with pytest.raises(MetawattError) as caught:
        await prepare(node.registry.ground, [Move(holding, ()), Move(kept, ())])
    assert caught.value.code == ErrorCode.SIGNATURE_AWAITED
    with pytest.raises(MetawattError):
        await prepare(node.registry.ground, [])
    assert await node.store.get(BASKET, holding.outpoint) is None


async def test_the_wallet_alone_knows_how_to_unlock_what_it_made_itself(node: WalletRegistry) -> None:
    await node.give()

    (holding,) = await find(node.store, Filters({"account_id": (BOUND,)}), node.clock.now_ms // 1000, 100)
    await node.store.commit([Delete(DELIVERIES, holding.outpoint)])
    prepared = await prepare(node.registry.ground, [Move(holding, ())])
    assert prepared.spends[0].key_id is None
    assert (await node.to_sign(prepared.as_json()))["unlock"] == [None]
