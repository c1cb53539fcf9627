"""The index of exits: what is one, what is told of it, and what it leaves in the inbox."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from api.solana.server import SolanaServer
from bridge.mirror.from_bsv.exits import EXITS, ExitState
from bridge.mirror.from_bsv.query import parse_query
from bridge.mirror.records import INBOX
from bridge.mirror.states import State
from certificates import successor
from certificates.ranges import Range
from config.errors import BadRequest, ErrorCode
from energytag.actions import Kind
from overlay.keys import PrivateKey
from overlay.records import STATE
from store.pages import every
from store.port import Find
from store.sqlite import SqliteStore
from tests.bridge.exits_kit import HOLDER, WALLET, Exits, coin_of, token_of
from tests.energytag.kit import ACCOUNT
from tests.overlay.kit import Chain, Clock


@pytest.fixture
def slot_ms() -> int:
    return 0


@pytest.fixture
async def exits(tmp_path: Path, solana: SolanaServer) -> AsyncIterator[Exits]:
    clock = Clock()
    chain = Chain(tmp_path, clock)
    await chain.open()
    made = Exits(chain, SqliteStore(tmp_path / "node.db", cache_mib=4), clock, solana.rpc_url)
    await made.open()
    yield made
    await made.close()
    await chain.close()


def told(state: str, spender: bytes | None = None) -> bytes:
    return orjson.dumps({"state": state} | ({} if spender is None else {"spent_by": spender[::-1].hex()}))


async def test_a_strangers_lock_is_found_and_becomes_a_message(exits: Exits) -> None:
    locked = await exits.lock(500)
    assert await exits.found() == [(locked.txid_hex, 0, told("locked"))]
    assert await exits.inbox() == 1
    await exits.round()
    message = await exits.message()
    assert (message.state, message.units, message.recipient) == (State.OBSERVED, 500 * 10**6, WALLET)
    assert message.source_event == locked.txid + bytes(4)
    assert await exits.inbox() == 0
    await exits.round()
    assert len(await exits.messages()) == 1


async def test_a_lock_by_the_registry_is_an_exit(exits: Exits) -> None:
    await exits.registry.issue()
    request = {
        "source_account_id": ACCOUNT,
        "certificate_quantity": 250,
        "exit": {"chain": "solana", "address": WALLET},
    }
    action = (await exits.registry.resolved(Kind.LOCK, request)).action
    assert await exits.found({"address": WALLET}) == [(action.txids[0], 0, told("locked"))]
    await exits.round()
    assert (await exits.message()).wh == 250


async def test_a_lock_to_the_identity_key_itself_is_an_exit(exits: Exits) -> None:
    issued, token = await exits.issue()
    identity = exits.chain.issuer.public
    bare = successor.lock(token, identity, {"chain": "solana", "address": WALLET})
    await exits.submit(await exits.chain.succeed([coin_of(issued)], [bare]))
    assert await exits.inbox() == 1


async def test_every_part_that_is_locked_is_an_exit_of_its_own(exits: Exits) -> None:
    issued, token = await exits.issue(100)
    parts = [
        exits.locked(token, part=Range(1, 10)),
        successor.succeed(token, HOLDER.public, part=Range(11, 90)),
        exits.locked(token, part=Range(91, 100)),
    ]
    await exits.submit(await exits.chain.succeed([coin_of(issued)], parts))
    assert [index for _, index, _ in await exits.found()] == [2, 0]
    await exits.round()
    assert [each.wh for each in await exits.messages()] == [10, 10]


async def test_what_is_not_locked_to_this_bridge_is_no_exit(tmp_path: Path, solana: SolanaServer) -> None:
    """The topic honours the locks of two bridges; each has an index of its own."""
    clock, other = Clock(), PrivateKey.from_int(77)
    chain = Chain(tmp_path, clock)
    await chain.open()
    store = SqliteStore(tmp_path / "two.db", cache_mib=4)
    exits = Exits(chain, store, clock, solana.rpc_url, topics={"bridge_keys": [other.public.hex()]})
    await exits.open()
    issued, token = await exits.issue()
    elsewhere = successor.lock(token, other.public, {"chain": "solana", "address": WALLET})
    steak = await exits.submit(await exits.chain.succeed([coin_of(issued)], [elsewhere]))
    assert steak["tm_metawatt_gc"].outputs_to_admit == (0,)
    assert await exits.found() == []
    assert await exits.inbox() == 0
    await exits.close()
    await chain.close()


async def test_what_becomes_of_a_lock_is_told(exits: Exits) -> None:
    back, done = await exits.lock(), await exits.lock(600)
    bridge = exits.chain.issuer
    refund = await exits.end(back, successor.refund(token_of(back), HOLDER.public))
    end = await exits.end(done, successor.complete(token_of(done), "a signature", bridge.public))
    assert await exits.found({"state": "refunded"}) == [(back.txid_hex, 0, told("refunded", refund.txid))]
    assert await exits.found({"state": "released"}) == [(done.txid_hex, 0, told("released", end.txid))]
    assert await exits.found({"state": "locked"}) == []


async def test_an_eviction_takes_the_exit_away(exits: Exits) -> None:
    locked = await exits.lock()
    await exits.evict(locked)
    assert await exits.found() == []
    assert await exits.store.count(INBOX) == 0
    await exits.round()
    assert await exits.messages() == []


async def test_when_the_end_of_a_lock_is_evicted_it_stands_again(exits: Exits) -> None:
    locked = await exits.lock()
    end = await exits.end(locked, successor.refund(token_of(locked), HOLDER.public))
    await exits.round()
    assert (await exits.message()).state is State.SRC_ORPHANED
    await exits.evict(end)
    assert await exits.found() == [(locked.txid_hex, 0, told("locked"))]
    await exits.round()
    assert (await exits.message()).state is State.OBSERVED


async def test_a_reindex_makes_the_index_anew_and_wakes_nobody(exits: Exits) -> None:
    await exits.lock(500)
    await exits.round()
    await exits.lock(400)
    rows, inbox = await every(exits.store, EXITS, Find()), await every(exits.store, INBOX, Find())
    await exits.registry.node.engine.reindex(exits.index.name)
    assert await every(exits.store, EXITS, Find()) == rows
    assert await every(exits.store, INBOX, Find()) == inbox
    assert await exits.store.count(STATE) == 0
    assert await exits.inbox() == 1


async def test_exits_are_listed_a_page_at_a_time(exits: Exits) -> None:
    made = [await exits.lock(wh) for wh in (100, 200, 300)]
    engine, name = exits.registry.node.engine, exits.index.name
    for query in ({}, {"state": "locked"}, {"address": WALLET}, {"address": WALLET, "state": "locked"}):
        seen, cursor = [], None
        for _ in range(3):
            answer = await engine.lookup(name, query | {"limit": 1, "cursor": cursor})
            seen += [each.txid for each in answer.outputs]
            cursor = answer.cursor
        assert seen == [each.txid for each in reversed(made)]
        assert not (await engine.lookup(name, query | {"limit": 1, "cursor": cursor})).outputs if cursor else True
    single = {"outpoint": f"{made[1].txid_hex}.0"}
    assert [each[0] for each in await exits.found(single)] == [made[1].txid_hex]
    assert await exits.found({"outpoint": f"{made[1].txid_hex}.1"}) == []
    assert await exits.found({"address": "nobody's"}) == []


@pytest.mark.parametrize(
    "query",
    [
        "everything",
        7,
        {"state": "gone"},
        {"outpoint": "ab.0"},
        {"outpoint": "00" * 32 + ".-1"},
        {"outpoint": "00" * 32 + ".0", "limit": 1},
        {"address": ""},
        {"address": 3},
        {"limit": 0},
        {"limit": 1001},
        {"owner": "x"},
        {"cursor": 1},
    ],
)
def test_a_question_that_cannot_be_understood(query: Any) -> None:
    with pytest.raises(BadRequest) as refusal:
        parse_query(query, list(ExitState))
    assert refusal.value.code is ErrorCode.BAD_QUERY


async def test_a_cursor_belongs_to_its_question(exits: Exits) -> None:
    await exits.lock(100)
    await exits.lock(200)
    answer = await exits.registry.node.engine.lookup(exits.index.name, {"limit": 1})
    with pytest.raises(BadRequest) as refusal:
        await exits.found({"state": "locked", "cursor": answer.cursor})
    assert refusal.value.code is ErrorCode.BAD_CURSOR


async def test_the_service_describes_itself(exits: Exits) -> None:
    assert exits.chain.issuer.public.hex() in exits.index.documentation
    assert "{" + "key}" not in exits.index.documentation
    assert exits.index.metadata.name == "ls_metawatt_bridge"


async def test_what_a_stranger_writes_is_kept_within_bounds(exits: Exits) -> None:
    await exits.lock(leaving={"address": "\u0000" + "x" * 9000})
    (row,) = await every(exits.store, INBOX, Find())
    assert row["address"] == "\u0000" + "x" * 127
    await exits.round()
    await exits.mine(3)
    await exits.round()
    assert (await exits.message()).state is State.HELD
