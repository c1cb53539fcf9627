"""Exits that end on BSV: withdrawn when their tokens are released, Active again when they are refunded."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from solders.signature import Signature

from bridge.mirror.message import Message
from bridge.mirror.records import AUDIT, ISSUES, LOTS, RECEIPTS
from bridge.mirror.states import Hold, State
from certificates.lifecycle import Status
from certificates.token import Token
from energytag.records import ACCOUNTS, BASKET
from overlay.keys import PrivateKey
from store.port import Delete
from tests.bridge.bsv_kit import CONFIRMATIONS, SIGNATURE, BsvMirror, store_at
from tests.energytag.kit import ACCOUNT
from tests.overlay.kit import Chain, Clock


@pytest.fixture
async def chain(tmp_path: Path) -> AsyncIterator[Chain]:
    made = Chain(tmp_path, Clock())
    await made.open()
    yield made
    await made.close()


@pytest.fixture
async def mirror(tmp_path: Path, chain: Chain) -> AsyncIterator[BsvMirror]:
    made = BsvMirror(chain, store_at(tmp_path), chain.clock)
    await made.open()
    await made.registry.populate()
    yield made
    await made.close()


async def by_status(mirror: BsvMirror) -> dict[Status, list[Token]]:
    found: dict[Status, list[Token]] = {}
    for _, token in await mirror.tokens():
        found.setdefault(token.bundle.status, []).append(token)
    return found


# Completed


async def test_exits_are_withdrawn_and_end_in_one_commit(mirror: BsvMirror) -> None:
    messages = await mirror.locked(5)
    entries = len(await mirror.rows(AUDIT))
    await mirror.destination.complete(messages)
    ended = await mirror.now(*messages)
    assert {each.state for each in ended} == {State.RECEIPTED}
    found = await by_status(mirror)
    assert set(found) == {Status.WITHDRAWN}
    assert {token.exit["transaction"] for token in found[Status.WITHDRAWN]} == {
        str(Signature.from_bytes(SIGNATURE))
    }
    (row,) = await mirror.rows(ISSUES)
    assert {each.facts["completion"] for each in ended} == {row["_id"].hex()}
    assert len(await mirror.rows(RECEIPTS)) == len(await mirror.rows(LOTS)) == 5
    assert len(await mirror.rows(AUDIT)) == entries + 1
    await mirror.mined(CONFIRMATIONS)
    await mirror.destination.follow()
    assert [row["open_ms"] for row in await mirror.rows(ISSUES)] == [None]


async def test_an_exit_whose_receipt_waits_keeps_its_certificate_locked(mirror: BsvMirror) -> None:
    messages = await mirror.locked(2)
    mirror.books.silent.add(messages[0].id)
    await mirror.destination.complete(messages)
    assert await mirror.states(*messages) == [State.DST_FINAL, State.RECEIPTED]
    assert {status: len(tokens) for status, tokens in (await by_status(mirror)).items()} == {
        Status.LOCKED: 1,
        Status.WITHDRAWN: 1,
    }


async def test_a_completion_that_is_evicted_is_made_again(mirror: BsvMirror) -> None:
    messages = await mirror.locked(3)
    await mirror.destination.complete(messages)
    (row,) = await mirror.rows(ISSUES)
    await mirror.evict(row["_id"])
    await mirror.destination.follow()
    assert set(await by_status(mirror)) == {Status.LOCKED}
    mirror.clock.now_ms += 60_000
    await mirror.destination.follow()
    assert set(await by_status(mirror)) == {Status.WITHDRAWN}
    await mirror.destination.follow()
    ended = await mirror.now(*messages)
    assert {each.state for each in ended} == {State.RECEIPTED}
    rows = {each["_id"]: each for each in await mirror.rows(ISSUES)}
    assert rows.pop(row["_id"])["open_ms"] is None
    assert {each.facts["completion"] for each in ended} == {txid.hex() for txid in rows}
    await mirror.mined(CONFIRMATIONS)
    await mirror.destination.follow()
    assert len(await mirror.rows(RECEIPTS)) == len(await mirror.rows(LOTS)) == 3
    assert all(each["open_ms"] is None for each in await mirror.rows(ISSUES))


async def test_an_exit_whose_coin_is_gone_is_put_off(mirror: BsvMirror) -> None:
    messages = await mirror.locked(2)
    (gone,) = await mirror.put(mirror.exit(bytes(36), 10))
    await mirror.destination.complete([*messages, gone])
    assert await mirror.states(*messages, gone) == [State.RECEIPTED, State.RECEIPTED, State.DST_FINAL]
    (now,) = await mirror.now(gone)
    assert now.due_ms is not None
    assert now.due_ms > mirror.clock()


# Refunded


async def refunding(mirror: BsvMirror, previous: str | None = None, **leaving: str) -> Message:
    (final,) = await mirror.locked(1, **leaving)
    facts = {} if previous is None else {"previous": previous}
    (message,) = await mirror.put(mirror.exit(final.source_event, 10, State.REFUND_ACCOUNTED, **facts))
    await mirror.destination.deliver([message])
    return message


async def the_token(mirror: BsvMirror) -> Token:
    ((_, token),) = await mirror.tokens()
    return token


async def test_a_refund_is_active_in_its_account_again(mirror: BsvMirror) -> None:
    message = await refunding(mirror)
    token = await the_token(mirror)
    assert (token.bundle.status, token.bundle.attributes["account_id"]) == (Status.ACTIVE, ACCOUNT)
    assert token.exit is None
    (row,) = await mirror.rows(BASKET)
    assert row["account_id"] == ACCOUNT
    assert mirror.registry.keyring.unlocking_key(ACCOUNT, row["key_id"], row["sender"]).public == token.locking_key
    (signed,) = await mirror.now(message)
    assert (signed.state, signed.is_refund, signed.attempt) == (State.DST_SIGNED, True, 1)
    await mirror.mined(CONFIRMATIONS)
    await mirror.destination.follow()
    await mirror.destination.complete(await mirror.now(message))
    assert await mirror.states(message) == [State.REFUNDED]


async def test_a_refund_goes_to_the_key_that_its_owner_named(mirror: BsvMirror) -> None:
    owner = PrivateKey.from_int(91).public
    await refunding(mirror, owner=owner.hex())
    token = await the_token(mirror)
    assert (token.bundle.status, token.locking_key) == (Status.ACTIVE, owner)
    assert await mirror.rows(BASKET) == []


@pytest.mark.parametrize("is_known", [True, False])
async def test_without_an_account_a_refund_goes_to_the_key_of_before(mirror: BsvMirror, is_known: bool) -> None:
    (final,) = await mirror.locked(1)
    await mirror.store.commit([Delete(ACCOUNTS, ACCOUNT)])
    previous = PrivateKey.from_int(92).public
    facts = {"previous": previous.hex()} if is_known else {}
    (message,) = await mirror.put(mirror.exit(final.source_event, 10, State.REFUND_ACCOUNTED, **facts))
    await mirror.destination.deliver([message])
    token = await the_token(mirror)
    if is_known:
        assert (token.bundle.status, token.locking_key) == (Status.ACTIVE, previous)
        return
    (held,) = await mirror.now(message)
    assert held.reason is not None
    assert held.reason.code is Hold.DESTINATION_UNUSABLE
    assert token.bundle.status is Status.LOCKED


async def test_a_refund_that_is_evicted_is_made_again_when_it_is_released(mirror: BsvMirror) -> None:
    message = await refunding(mirror)
    (signed,) = await mirror.now(message)
    assert signed.destination_tx is not None
    await mirror.evict(signed.destination_tx)
    await mirror.destination.follow()
    assert await mirror.states(message) == [State.HELD]
    await mirror.destination.deliver(await mirror.released(message))
    (again,) = await mirror.now(message)
    assert (again.state, again.attempt) == (State.DST_SIGNED, 2)
    assert (await the_token(mirror)).bundle.status is Status.ACTIVE


async def test_what_was_spent_otherwise_is_held(mirror: BsvMirror) -> None:
    (final,) = await mirror.locked(1)
    await mirror.destination.complete([final])
    (message,) = await mirror.put(mirror.exit(final.source_event, 10, State.REFUND_ACCOUNTED))
    await mirror.destination.deliver([message])
    (held,) = await mirror.now(message)
    assert held.reason is not None
    assert held.reason.code is Hold.DESTINATION_CONFLICT
