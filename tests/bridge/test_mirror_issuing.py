"""Certificates for messages from Solana: what they say, how they are packed, and what is held."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bridge.mirror.origin import chain_name
from bridge.mirror.records import ISSUES
from bridge.mirror.states import Hold, State
from bridge.mirror.to_bsv.issuing import account_of_key
from bridge.mirror.to_bsv.posting import Leg, packed
from certificates.token import OWNER_PROTOCOL
from energytag.records import ACCOUNTS, BASKET, DEVICES, INTERVALS
from overlay.keys import PrivateKey
from store.port import Patch, Put
from tests.bridge.bsv_kit import BsvMirror, is_whole, store_at
from tests.bridge.test_mirror_book import a_message
from tests.energytag.kit import ACCOUNT, DEVICE, OTHER_ACCOUNT, device_row, moment
from tests.overlay.kit import Chain, Clock

STORAGE = "5d1f3f5e-93a2-4a6b-8f5d-0e6a9a1c7b43"
ABROAD = "5d1f3f5e-93a2-4a6b-8f5d-0e6a9a1c7b44"
UNKNOWN = "5d1f3f5e-93a2-4a6b-8f5d-0e6a9a1c7b45"


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


async def test_a_certificate_says_what_reading_device_and_message_say(mirror: BsvMirror) -> None:
    (message,) = await mirror.put(mirror.deposit([(5, 250)]))
    await mirror.destination.deliver([message])
    (signed,) = await mirror.now(message)
    ((outpoint, token),) = await mirror.tokens()
    tag = token.bundle.attributes
    assert (tag["device_id"], tag["face_value"], tag["bundle_quantity"]) == (DEVICE, 1, 250)
    assert (tag["production_starting_interval"], tag["production_ending_interval"]) == (moment(5), moment(6))
    assert (tag["account_id"], tag["energy_source"], tag["country_of_issuance"]) == (ACCOUNT, "solar_pv", "NL")
    assert token.origin == {
        "bridge": "gwx1",
        "message": message.id.hex(),
        "chain": chain_name(mirror.genesis),
        "asset": message.asset,
        "transaction": token.origin["transaction"],
        "event": "0.0.0",
    }
    assert (signed.state, signed.attempt, signed.due_ms) == (State.DST_SIGNED, 1, None)
    assert signed.destination_tx == outpoint[:32]
    assert signed.facts["issuances"] == [[token.issuance_id, 0, 250]]
    (basket,) = await mirror.rows(BASKET)
    assert (basket["_id"], basket["account_id"]) == (outpoint, ACCOUNT)
    (row,) = await mirror.rows(ISSUES)
    assert (row["_id"], row["messages"], row["purpose"]) == (outpoint[:32], [message.id], "issue")


async def test_a_stranger_finds_and_unlocks_its_certificate(mirror: BsvMirror) -> None:
    stranger = PrivateKey.from_int(77)
    await mirror.destination.deliver(
        await mirror.put(mirror.deposit([(0, 10), (1, 20)], identity=stranger.public.hex()))
    )
    tokens = [token for _, token in await mirror.tokens()]
    assert {token.bundle.attributes["account_id"] for token in tokens} == {account_of_key(stranger.public)}
    keys = {stranger.derive(OWNER_PROTOCOL, token.note["key_id"], "anyone").public for token in tokens}
    assert keys == {token.locking_key for token in tokens}
    assert len(keys) == 2
    assert await mirror.rows(BASKET) == []
    found = await mirror.registry.node.live(account_id=account_of_key(stranger.public))
    assert len(found) == 2


async def test_a_users_own_wallet_gets_what_its_account_is_sent(mirror: BsvMirror) -> None:
    wallet = PrivateKey.from_int(78)
    await mirror.store.commit([Patch(ACCOUNTS, OTHER_ACCOUNT, {"identity_key": wallet.public})])
    await mirror.destination.deliver(await mirror.put(mirror.deposit([(0, 10)], account_id=OTHER_ACCOUNT)))
    ((_, token),) = await mirror.tokens()
    assert token.bundle.attributes["account_id"] == OTHER_ACCOUNT
    assert await mirror.rows(BASKET) == []


async def test_200_messages_go_in_few_transactions(mirror: BsvMirror) -> None:
    messages = await mirror.deposits(200)
    await mirror.destination.deliver(messages)
    assert set(await mirror.states(*messages)) == {State.DST_SIGNED}
    assert is_whole(await mirror.mirrored(), messages)
    assert [len(row["messages"]) for row in await mirror.rows(ISSUES)] == [100, 100]
    numbers = sorted(token.issued for _, token in await mirror.tokens())
    assert [each.start for each in numbers] == list(range(1, 2001, 10))


async def test_a_message_of_many_lots_is_in_one_transaction(tmp_path: Path, chain: Chain) -> None:
    mirror = BsvMirror(chain, store_at(tmp_path), chain.clock, issues_per_transaction=4)
    await mirror.open()
    await mirror.registry.populate()
    wide = mirror.deposit([(hour, 1) for hour in range(10)])
    messages = await mirror.put(
        mirror.deposit([(20, 1), (21, 1), (22, 1)]), wide, mirror.deposit([(30, 1), (31, 1)])
    )
    await mirror.destination.deliver(messages)
    assert is_whole(await mirror.mirrored(), messages)
    rows = await mirror.rows(ISSUES)
    assert sorted(len(row["messages"]) for row in rows) == [1, 1, 1]
    assert len({each.destination_tx for each in await mirror.now(*messages)}) == 3
    await mirror.close()


async def test_one_reading_is_issued_in_parts(mirror: BsvMirror) -> None:
    messages = await mirror.put(*(mirror.deposit([(0, wh)]) for wh in (10, 20, 30)))
    await mirror.destination.deliver(messages[:2])
    await mirror.destination.deliver(messages[2:])
    assert is_whole(await mirror.mirrored(), messages)
    (guard,) = await mirror.rows(INTERVALS)
    assert guard["bridge"] is True


@pytest.mark.parametrize(
    ("device", "wh", "code", "told"),
    [
        (UNKNOWN, 10, Hold.ISSUANCE_FORBIDDEN, "not registered"),
        (STORAGE, 10, Hold.ISSUANCE_FORBIDDEN, "storage"),
        (ABROAD, 10, Hold.ISSUANCE_FORBIDDEN, "without"),
        (DEVICE, 1_000_000, Hold.ISSUANCE_FORBIDDEN, "more than"),
    ],
)
async def test_what_the_registration_forbids_is_held_and_stops_nobody(
    mirror: BsvMirror, device: str, wh: int, code: Hold, told: str
) -> None:
    await mirror.store.commit(
        [
            Put(DEVICES, device_row(STORAGE, is_storage=True)),
            Put(DEVICES, device_row(ABROAD, country=None)),
        ]
    )
    faulty = mirror.deposit([(50, wh)], device)
    messages = await mirror.put(mirror.deposit([(1, 10)]), faulty, mirror.deposit([(2, 10)]))
    await mirror.destination.deliver(messages)
    first, held, last = await mirror.now(*messages)
    assert (first.state, held.state, last.state) == (State.DST_SIGNED, State.HELD, State.DST_SIGNED)
    assert held.reason is not None
    assert held.reason.code is code
    assert told in held.reason.text
    assert is_whole(await mirror.mirrored(), [first, last])


async def test_recipients_and_lots_that_are_not_there(mirror: BsvMirror) -> None:
    nobody = mirror.deposit([(1, 10)], account_id=UNKNOWN)
    short = mirror.deposit([(2, 10)], lots=[["none", 10_000_000]])
    uneven = mirror.deposit([(3, 10)], lots=[["some", 9_000_000]])
    messages = await mirror.put(nobody, short, uneven)
    await mirror.destination.deliver(messages)
    codes = [each.reason.code for each in await mirror.now(*messages) if each.reason is not None]
    assert codes == [Hold.RECIPIENT_UNKNOWN, Hold.PROVENANCE_LACKING, Hold.PROVENANCE_LACKING]
    assert await mirror.tokens() == []


async def test_an_interval_that_the_registry_issued_is_held(mirror: BsvMirror) -> None:
    await mirror.registry.issue(3, 1)
    messages = await mirror.put(mirror.deposit([(3, 10)]), mirror.deposit([(4, 10)]))
    await mirror.destination.deliver(messages)
    held, signed = await mirror.now(*messages)
    assert held.reason is not None
    assert held.reason.code is Hold.ISSUED_ELSEWHERE
    assert signed.state is State.DST_SIGNED


@pytest.mark.parametrize(
    ("sizes", "topics", "expected"),
    [
        ([], [], []),
        ([1, 1, 1], ["a", "a", "a"], [3]),
        ([3, 2, 1], ["a", "a", "a"], [1, 2]),
        ([9, 1], ["a", "a"], [1, 1]),
        ([1, 1, 1], ["a", "b", "c"], [2, 1]),
    ],
)
def test_packing(sizes: list[int], topics: list[str], expected: list[int]) -> None:
    legs = [Leg(a_message(), size, frozenset(topic)) for size, topic in zip(sizes, topics, strict=True)]
    assert [len(run) for run in packed(legs, 4, 2)] == expected
