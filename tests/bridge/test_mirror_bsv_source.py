"""BSV as a source: how deep a lock must be, what reorganisations and double spends do, and what is no exit."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from solders.keypair import Keypair
from spl.token.constants import TOKEN_PROGRAM_ID

from api.solana.server import SolanaServer
from bridge.mirror.message import Message, message_id
from bridge.mirror.pauses import BY, Pauses
from bridge.mirror.records import INBOX, MESSAGES
from bridge.mirror.states import Direction, Hold, State
from bridge.programs.keys import FileSigner
from bridge.programs.setup import create_mint
from certificates import successor
from certificates.ranges import Range
from overlay.keys import PrivateKey
from overlay.records import TRANSACTIONS
from store.port import Find, Patch
from store.sqlite import SqliteStore
from tests.bridge.exits_kit import BSV_GENESIS, HOLDER, WALLET, Exits, coin_of, off_curve, token_of
from tests.bridge.minting_kit import FINAL_SLOTS, SOL, slots_passing
from tests.overlay.kit import Chain, Clock

SECOND_ISSUER = PrivateKey.from_int(555)
CONFIRMATIONS = 3
LARGE_CONFIRMATIONS = 5


@pytest.fixture
def slot_ms() -> int:
    return 0


@pytest.fixture
async def exits(tmp_path: Path, solana: SolanaServer) -> AsyncIterator[Exits]:
    clock = Clock()
    chain = Chain(tmp_path, clock)
    await chain.open()
    topics = {"issuers": [{"identity_key": SECOND_ISSUER.public.hex(), "name": "Another issuing body"}]}
    made = Exits(chain, SqliteStore(tmp_path / "node.db", cache_mib=4), clock, solana.rpc_url, topics)
    await made.open()
    yield made
    await made.close()
    await chain.close()


async def state(exits: Exits) -> State:
    await exits.round()
    return (await exits.message()).state


async def held(exits: Exits) -> Hold | None:
    """Why the only message is held, once its source is final."""
    await exits.mine(LARGE_CONFIRMATIONS)
    assert await state(exits) is State.HELD
    reason = (await exits.message()).reason
    return None if reason is None else reason.code


# Ids


async def test_the_id_is_made_of_all_that_the_crossing_is(exits: Exits) -> None:
    locked = await exits.lock(500)
    await exits.round()
    message = await exits.message()
    assert message.id == message_id(
        src_genesis=BSV_GENESIS,
        src_asset=token_of(locked).issuance_id.encode(),
        src_event=locked.txid + bytes(4),
        dst_genesis=bytes(exits.asset.genesis),
        dst_recipient=WALLET.encode(),
        units=500 * 10**6,
    )


# Finality


@pytest.mark.parametrize(("wh", "depth"), [(899, CONFIRMATIONS), (900, LARGE_CONFIRMATIONS)])
async def test_a_lock_is_final_at_its_depth(exits: Exits, wh: int, depth: int) -> None:
    await exits.lock(wh)
    assert await state(exits) is State.OBSERVED
    for _ in range(depth - 1):
        await exits.mine()
        assert await state(exits) is State.OBSERVED
    await exits.mine()
    assert await state(exits) is State.VALIDATED
    assert (await exits.message()).final_ms == exits.clock.now_ms


async def test_who_sleeps_is_not_looked_at_until_its_block_has_come(exits: Exits) -> None:
    await exits.lock()
    await exits.round()
    await exits.mine()
    await exits.round()
    asleep = await exits.message()
    for _ in range(3):
        await exits.round()
    await exits.mine()
    assert await exits.source.wake() == 0
    assert (await exits.message()).version == asleep.version
    await exits.mine()
    assert await exits.source.wake() == 1


async def test_a_clock_that_is_set_back_delays_nobody(exits: Exits) -> None:
    await exits.lock()
    await exits.round()
    exits.clock.now_ms -= 86_400_000
    for _ in range(CONFIRMATIONS):
        await exits.mine()
        await exits.round()
    assert (await exits.message()).state is State.VALIDATED


async def test_a_sleeper_of_an_earlier_process_is_woken_at_the_start(exits: Exits) -> None:
    await exits.lock()
    await exits.mine()
    await exits.round()
    exits.restart()
    await exits.mine(CONFIRMATIONS - 1)
    assert await state(exits) is State.VALIDATED


async def test_a_proof_that_trails_its_block_is_found_soon(exits: Exits) -> None:
    locked = await exits.lock()
    await exits.mine(CONFIRMATIONS)
    row = await exits.store.get(TRANSACTIONS, locked.txid)
    assert row is not None
    unproven = {"height": None, "bump": None, "block_hash": None, "pending_ms": 1}
    await exits.store.commit([Patch(TRANSACTIONS, locked.txid, unproven)])
    assert await state(exits) is State.OBSERVED
    await exits.store.commit([Patch(TRANSACTIONS, locked.txid, {name: row.get(name) for name in unproven})])
    exits.clock.now_ms += 250
    assert await state(exits) is State.VALIDATED


async def test_looks_become_seldom_while_nothing_is_mined(exits: Exits) -> None:
    await exits.lock()
    looks, version = 0, 0
    for _ in range(600):
        await exits.round()
        exits.clock.now_ms += 1_000
        looks += (now := (await exits.message()).version) != version
        version = now
    assert looks < 30


@pytest.mark.parametrize("depth", range(1, CONFIRMATIONS + 1))
@pytest.mark.parametrize("drop", [False, True])
async def test_a_reorganisation_of_every_depth_while_it_waits(exits: Exits, depth: int, drop: bool) -> None:
    """One block before the lock is final, the last blocks are replaced: its own among them, or not."""
    await exits.chain.fund()
    await exits.mine(CONFIRMATIONS)
    locked = await exits.lock()
    await exits.mine(CONFIRMATIONS - 1)
    assert await state(exits) is State.OBSERVED
    before = await exits.store.get(TRANSACTIONS, locked.txid)
    await exits.reorg(depth, drop=drop)
    after = await exits.store.get(TRANSACTIONS, locked.txid)
    assert before is not None
    assert after is not None
    stands = after.get("height") == before["height"]
    assert stands == (depth < CONFIRMATIONS - 1)
    exits.clock.now_ms += 60_000
    assert await state(exits) is (State.VALIDATED if stands else State.OBSERVED)
    await exits.mine(CONFIRMATIONS - 1)
    assert await state(exits) is (State.VALIDATED if stands else State.OBSERVED)
    await exits.mine()
    assert await state(exits) is State.VALIDATED


async def test_a_double_spend_that_is_mined_puts_the_exit_out(exits: Exits) -> None:
    issued, token = await exits.issue(500, exits.origin())
    await exits.mine()
    lock = await exits.chain.succeed([coin_of(issued)], [exits.locked(token)])
    rival = await exits.chain.succeed([coin_of(issued)], [successor.transfer(token, HOLDER.public)])
    await exits.registry.node.submit(lock, "tm_metawatt_gc")
    assert await state(exits) is State.OBSERVED
    await exits.chain.mine(issued)
    await exits.chain.mine(rival)
    await exits.submit(rival)
    await exits.mine()
    assert await state(exits) is State.SRC_ORPHANED
    assert await exits.store.count(INBOX) == 0
    assert (await exits.message()).due_ms is None


async def test_an_exit_that_comes_back_is_woken_once(exits: Exits) -> None:
    locked = await exits.lock()
    await exits.round()
    await exits.evict(locked)
    exits.clock.now_ms += 60_000
    assert await state(exits) is State.SRC_ORPHANED
    for _ in range(2):
        await exits.submit(locked)
        assert await state(exits) is State.OBSERVED
    await exits.chain.mine(locked)
    await exits.mine(CONFIRMATIONS)
    assert await state(exits) is State.VALIDATED
    assert len(await exits.messages()) == 1


async def test_an_exit_that_went_and_came_unnoticed_crosses_once(exits: Exits) -> None:
    locked = await exits.lock()
    await exits.round()
    await exits.evict(locked)
    await exits.submit(locked)
    await exits.chain.mine(locked)
    await exits.mine(CONFIRMATIONS)
    assert await state(exits) is State.VALIDATED
    assert await exits.store.count(MESSAGES) == 1


async def test_a_stored_path_that_does_not_lead_to_the_chain_is_a_dispute(exits: Exits) -> None:
    locked, other = await exits.lock(), await exits.lock(700)
    await exits.mine()
    theirs = await exits.store.get(TRANSACTIONS, other.txid)
    assert theirs is not None
    await exits.store.commit([Patch(TRANSACTIONS, locked.txid, {"bump": theirs["bump"]})])
    await exits.mine(CONFIRMATIONS)
    await exits.round()
    states = {each.source_tx: (each.state, each.reason and each.reason.code) for each in await exits.messages()}
    assert states[locked.txid] == (State.HELD, Hold.SOURCE_DISPUTED)
    assert states[other.txid] == (State.VALIDATED, None)


async def test_without_a_sound_path_nothing_is_final(exits: Exits) -> None:
    for path in (None, b"", b"\x00" * 40):
        locked = await exits.lock()
        await exits.mine(CONFIRMATIONS)
        await exits.store.commit([Patch(TRANSACTIONS, locked.txid, {"bump": path})])
    await exits.round()
    assert [each.reason and each.reason.code for each in await exits.messages()] == [Hold.SOURCE_DISPUTED] * 3


async def test_a_chain_that_cannot_be_followed_makes_nothing_final(exits: Exits) -> None:
    await exits.lock()
    await exits.mine(CONFIRMATIONS)
    exits.registry.node.headers.halted = "told so"
    assert await state(exits) is State.OBSERVED
    exits.registry.node.headers.halted = None
    exits.clock.now_ms += 60_000
    assert await state(exits) is State.VALIDATED


# Validity


async def test_what_is_learnt_of_a_lock(exits: Exits) -> None:
    owner = PrivateKey.from_int(9).public.hex()
    locked = await exits.lock(500, {"owner": owner})
    await exits.mine(CONFIRMATIONS)
    assert await state(exits) is State.VALIDATED
    facts = dict((await exits.message()).facts)
    assert facts == {
        "origin": "11" * 32,
        "issuance_id": token_of(locked).issuance_id,
        "range": [1, 500],
        "owner": owner,
        "previous": HOLDER.public.hex(),
    }


async def test_of_merged_coins_the_first_says_whose_it_was(exits: Exits) -> None:
    issued, token = await exits.issue(100, exits.origin())
    halves = successor.split(token, [40, 60], [HOLDER.public, HOLDER.public])
    parts = await exits.chain.succeed([coin_of(issued)], halves)
    await exits.submit(parts)
    coins = [coin_of(parts, 1), coin_of(parts, 0)]
    await exits.submit(await exits.chain.succeed(coins, [exits.locked(token, part=Range(1, 100))]))
    await exits.mine(CONFIRMATIONS)
    await exits.round()
    message = await exits.message()
    assert (message.facts["range"], message.facts["previous"]) == ([1, 100], HOLDER.public.hex())


LEAVING: dict[str, tuple[dict[str, Any], Hold]] = {
    "another chain": ({"chain": "ethereum"}, Hold.CHAIN_MALFORMED),
    "another cluster": ({"chain": "solana:11111111111111111111111111111111"}, Hold.CHAIN_MALFORMED),
    "the chain in capitals": ({"chain": "Solana"}, Hold.CHAIN_MALFORMED),
    "no base58": ({"address": "0OIl" * 11}, Hold.ADDRESS_MALFORMED),
    "too short": ({"address": WALLET[:-3]}, Hold.ADDRESS_MALFORMED),
    "a blank before it": ({"address": " " + WALLET}, Hold.ADDRESS_MALFORMED),
    "off the curve": ({"address": off_curve()}, Hold.ADDRESS_MALFORMED),
    "the system program": ({"address": "1" * 32}, Hold.ADDRESS_MALFORMED),
    "the token program": ({"address": "TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA"}, Hold.ADDRESS_MALFORMED),
    "a memo program": ({"address": "MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr"}, Hold.ADDRESS_MALFORMED),
    "an address on BSV": ({"address": "1BoatSLRHtKNngkdXEeobR76b53LETtpyT"}, Hold.ADDRESS_MALFORMED),
}


async def test_an_exit_to_nowhere_is_held(exits: Exits) -> None:
    own = {name: str(getattr(exits.asset, name)) for name in ("owner", "custody", "mint", "token_program")}
    table = LEAVING | {name: ({"address": address}, Hold.ADDRESS_MALFORMED) for name, address in own.items()}
    locks = {(await exits.lock(500, fields)).txid: code for fields, code in table.values()}
    await exits.mine(CONFIRMATIONS)
    await exits.round()
    messages = {each.source_tx: each for each in await exits.messages()}
    assert {txid: each.reason and each.reason.code for txid, each in messages.items()} == locks
    assert {each.facts["previous"] for each in messages.values()} == {HOLDER.public.hex()}


async def test_an_account_of_a_program_is_no_wallet(exits: Exits, cluster: Any) -> None:
    """A mint at an address of the curve: whoever sent tokens there would lose them."""

    payer = FileSigner(Keypair())
    await exits.rpc.airdrop(payer.public, 10 * SOL)
    await cluster.advance(2)
    async with slots_passing(cluster):
        mint = await create_mint(exits.rpc, payer, token_program=TOKEN_PROGRAM_ID, decimals=9)
    await cluster.advance(FINAL_SLOTS)
    await exits.lock(500, {"address": str(mint)})
    await exits.lock(400, {"address": str(payer.public)})
    await exits.mine(CONFIRMATIONS)
    await exits.round()
    states = {each.recipient: each.state for each in await exits.messages()}
    assert states == {str(mint): State.HELD, str(payer.public): State.VALIDATED}


async def test_the_cluster_may_be_named_by_its_genesis(exits: Exits) -> None:
    await exits.lock(500, {"chain": f"solana:{exits.asset.genesis}"})
    await exits.mine(CONFIRMATIONS)
    assert await state(exits) is State.VALIDATED


ORIGINS: dict[str, Any] = {
    "none": False,
    "a text": "gwx1",
    "of another bridge": {"bridge": "gwx2"},
    "with a field more": {"more": 1},
    "of no message": {"message": "11" * 31},
    "in capitals": {"message": "AB" * 32},
    "of another cluster": {"chain": "solana:11111111111111111111111111111111"},
    "of another asset": {"asset": WALLET},
    "of a number": {"event": 7},
}


async def test_what_does_not_mirror_a_token_is_held(exits: Exits) -> None:
    for stated in ORIGINS.values():
        await exits.lock(500, origin=exits.origin(**stated) if isinstance(stated, dict) else stated)
    await exits.mine(CONFIRMATIONS)
    await exits.round()
    messages = await exits.messages()
    assert [each.reason and each.reason.code for each in messages] == [Hold.NOT_MIRRORED] * len(ORIGINS)
    assert all(each.facts["previous"] == HOLDER.public.hex() for each in messages)
    assert not any("origin" in each.facts for each in messages)


async def test_a_copied_origin_is_for_the_books_to_judge(exits: Exits) -> None:
    """A second trusted issuer states the origin of another's message: the form is right."""
    await exits.lock(500, issuer=SECOND_ISSUER)
    await exits.mine(CONFIRMATIONS)
    assert await state(exits) is State.VALIDATED
    assert (await exits.message()).facts["origin"] == "11" * 32


async def test_more_energy_than_a_message_can_be_of_is_held(exits: Exits) -> None:
    """A trusted issuer that lies about a device: no number overflows."""
    await exits.lock(10**13, device_capacity=2**53 - 1)
    await exits.round()
    assert (await exits.message()).units == 2**63 - 1
    assert await held(exits) is Hold.NOT_MIRRORED


async def test_what_its_issuer_withdrew_is_held(exits: Exits) -> None:
    locked = await exits.lock(500)
    await exits.notice(token_of(locked), Range(500, 500), "the meter was wrong")
    assert await held(exits) is Hold.WITHDRAWN
    reason = (await exits.message()).reason
    assert reason is not None
    assert reason.text.endswith("the meter was wrong")


async def test_a_notice_on_other_parts_changes_nothing(exits: Exits) -> None:
    issued, token = await exits.issue(500, exits.origin())
    parts = [exits.locked(token, part=Range(1, 300)), successor.succeed(token, HOLDER.public, part=Range(301, 500))]
    await exits.submit(await exits.chain.succeed([coin_of(issued)], parts))
    await exits.notice(token, Range(301, 400), "the meter was wrong")
    await exits.mine(CONFIRMATIONS)
    assert await state(exits) is State.VALIDATED


# After finality


async def still_final(exits: Exits) -> list[Message]:
    """What the lane asks before anything is signed."""
    async with exits.book.page() as page:
        return await exits.source.check_still_final(await exits.messages(), page)


async def accounted(exits: Exits) -> None:
    await exits.mine(CONFIRMATIONS)
    assert await state(exits) is State.VALIDATED
    async with exits.book.page() as page:
        page.move(await exits.message(), State.ACCOUNTED)


async def test_what_stands_may_be_signed(exits: Exits) -> None:
    await exits.lock()
    await accounted(exits)
    before = await exits.messages()
    assert await still_final(exits) == before
    assert await exits.messages() == before


async def test_a_source_that_goes_after_it_was_final_stops_everything(exits: Exits) -> None:
    locked = await exits.lock()
    await accounted(exits)
    await exits.registry.node.engine.remove_output(locked.txid, 0)
    assert await still_final(exits) == []
    message = await exits.message()
    assert message.state is State.HELD
    assert message.reason is not None
    assert message.reason.code is Hold.SOURCE_LOST
    paused = await Pauses(exits.store).all()
    assert {each: row["by"] for each, row in paused.items()} == {Direction.IN: BY, Direction.OUT: BY}
    assert message.id.hex() in paused[Direction.IN]["reason"]


async def test_a_source_that_lost_depth_waits_for_it_again(exits: Exits) -> None:
    await exits.lock()
    await accounted(exits)
    await exits.reorg(CONFIRMATIONS)
    assert await still_final(exits) == []
    assert (await exits.message()).state is State.ACCOUNTED
    assert await Pauses(exits.store).all() == {}
    await exits.mine()
    await exits.mine(CONFIRMATIONS - 1)
    await exits.source.wake()
    (message,) = await still_final(exits)
    assert message.due_ms == exits.clock.now_ms


async def test_what_is_withdrawn_at_the_last_moment_is_not_released(exits: Exits) -> None:
    locked = await exits.lock()
    await accounted(exits)
    await exits.notice(token_of(locked), Range(1, 1), "the meter was wrong")
    assert await still_final(exits) == []
    message = await exits.message()
    assert message.reason is not None
    assert message.reason.code is Hold.WITHDRAWN


async def test_a_lock_that_is_spent_before_it_is_final_is_given_up(exits: Exits) -> None:
    locked = await exits.lock()
    await exits.round()
    await exits.end(locked, successor.refund(token_of(locked), HOLDER.public))
    exits.clock.now_ms += 60_000
    assert await state(exits) is State.SRC_ORPHANED


async def test_nothing_is_asked_when_nothing_is_given(exits: Exits) -> None:
    async with exits.book.page() as page:
        assert await exits.source.check_still_final([], page) == []
        await exits.source.settle([], page)
        await exits.source.validate([], page)
        assert page.is_empty
    assert await exits.store.count(MESSAGES, Find("seq")) == 0
