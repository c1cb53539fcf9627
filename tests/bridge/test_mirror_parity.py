"""Parity: exact at every step of every crossing, robust to the moment, and broken when something is stolen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from spl.token.constants import TOKEN_PROGRAM_ID
from spl.token.instructions import transfer_checked
from spl.token.models import TransferCheckedParams

from api.solana.server import SolanaServer
from bridge.cluster.cluster import Cluster
from bridge.mirror.alarms import Alarm, standing
from bridge.mirror.books.accounting import ledger_key, read_ledger
from bridge.mirror.message import Message
from bridge.mirror.parity.figures import ParityFigures
from bridge.mirror.parity.parity import Parity
from bridge.mirror.records import COMMANDS, MESSAGES, MIRROR
from bridge.mirror.states import Direction, Hold, State
from bridge.programs.tokens import associated_account, create_associated_account
from bridge.records import CURSORS
from config.errors import BadRequest, ErrorCode, Unavailable
from store.pages import every
from store.port import Conflict, Find, Patch
from store.sqlite import SqliteStore
from tests.bridge.minting_kit import FINAL_SLOTS
from tests.bridge.mirror_kit import UNITS_A_WH, MirrorNode, memo_to
from tests.overlay.kit import Chain, Clock


@pytest.fixture
def slot_ms() -> int:
    return 0


@pytest.fixture
def options() -> Mapping[str, Any]:
    return {}


@pytest.fixture
async def node(
    tmp_path: Path, cluster: Cluster, solana: SolanaServer, options: Mapping[str, Any]
) -> AsyncIterator[MirrorNode]:
    clock = Clock()
    chain = Chain(tmp_path, clock)
    await chain.open()
    store = SqliteStore(tmp_path / "node.db", cache_mib=4)
    made = MirrorNode(chain, cluster, solana.rpc_url, store, clock)
    await made.open(**options)
    yield made
    await made.close()
    await chain.close()


async def exact(node: MirrorNode) -> ParityFigures:
    """Computed by what was read before, and by what reads everything anew."""
    known = await node.parts.parity.compute()
    fresh = await Parity(node.parts.ground).compute()
    assert known.is_exact, (known, await node.messages())
    assert fresh.is_exact, (fresh, await node.messages())
    assert (known.coins_wh, known.tokens) == (fresh.coins_wh, fresh.tokens)
    return known


async def each_step(node: MirrorNode, *states: State, rounds: int = 40) -> None:
    """Parity after every part of every round, until all messages are in one of the states."""
    parts = node.parts
    for _ in range(rounds):
        await exact(node)
        await node.watching.catch_up()
        await exact(node)
        for lane in parts.lanes:
            await lane.round()
            await exact(node)
        await parts.solana.follow()
        await node.registry.node.engine.tend()
        await parts.bsv.follow()
        await exact(node)
        await node.cluster.advance(FINAL_SLOTS)
        await exact(node)
        await node.mine()
        node.clock.now_ms += 5_000
        messages = await node.messages()
        if messages and all(each.state in states for each in messages):
            await exact(node)
            return
    raise AssertionError([(each.kind, each.state, each.reason) for each in await node.messages()])


async def ordered(node: MirrorNode, kind: str, **arguments: Any) -> dict[str, Any]:
    """An order, carried out."""
    desk = node.mirror.desk
    asked = await desk.ask(kind, {"reason": "because", **arguments}, "admin", 0)
    await node.parts.operating.round()
    return await desk.outcome(asked["command"])


async def only(node: MirrorNode) -> Message:
    (message,) = await node.messages()
    return message


# Exact


async def test_parity_is_exact_at_every_step_there_and_back(node: MirrorNode) -> None:
    holder, wallet = Keypair(), Keypair().pubkey()
    await node.mint_readings(holder, [1_000, 2_000])
    await node.deposit(holder, 1_500 * UNITS_A_WH, memo_to())
    await each_step(node, State.RECEIPTED)
    assert (await exact(node)).coins_wh == 1_500
    await node.lock(600, str(wallet))
    await each_step(node, State.RECEIPTED)
    figures = await exact(node)
    assert (figures.coins_wh, figures.live, figures.custody) == (900, 900 * UNITS_A_WH, 900 * UNITS_A_WH)
    assert figures.verdict == "Exact: 900 Wh are on both sides."


@pytest.mark.parametrize("options", [{"mode": "burn"}])
async def test_parity_is_exact_where_tokens_are_burned_and_minted_again(node: MirrorNode) -> None:
    holder, wallet = Keypair(), Keypair().pubkey()
    await node.mint_readings(holder, [2_000])
    await node.burn(holder, 1_500 * UNITS_A_WH, memo_to())
    await each_step(node, State.RECEIPTED)
    await node.lock(600, str(wallet))
    await each_step(node, State.RECEIPTED)
    figures = await exact(node)
    assert (figures.burned, figures.minted, figures.custody) == (1_500 * UNITS_A_WH, 600 * UNITS_A_WH, 0)
    assert (figures.supply, figures.coins_wh) == (1_100 * UNITS_A_WH, 900)


async def test_what_is_held_and_given_back_is_accounted_for(node: MirrorNode) -> None:
    holder = Keypair()
    await node.mint_readings(holder, [1_000])
    await node.deposit(holder, 400 * UNITS_A_WH + 5, memo_to())
    await each_step(node, State.HELD)
    assert (await exact(node)).held == 400 * UNITS_A_WH + 5
    message = await only(node)
    assert await ordered(node, "refund", message=message.id.hex()) == {
        "command": (await node.store.find(COMMANDS, Find())).documents[0]["_id"],
        "state": "done",
        "message": message.id.hex(),
        "message_state": "REFUND_ACCOUNTED",
    }
    await each_step(node, State.REFUNDED)
    figures = await exact(node)
    assert (figures.tokens, figures.held) == (0, 0)
    assert await node.wallet_balance(holder.pubkey()) == 1_000 * UNITS_A_WH


async def test_an_exit_that_is_given_back_was_live_all_the_time(node: MirrorNode) -> None:
    holder = Keypair()
    await node.mint_readings(holder, [1_000])
    await node.deposit(holder, 1_000 * UNITS_A_WH, memo_to())
    await node.until(State.RECEIPTED)
    await node.lock(300, "no address")
    await each_step(node, State.RECEIPTED, State.HELD)
    exit_ = (await node.messages())[-1]
    assert exit_.reason is not None and exit_.reason.code is Hold.ADDRESS_MALFORMED
    await ordered(node, "refund", message=exit_.id.hex())
    await each_step(node, State.RECEIPTED, State.REFUNDED)
    assert (await exact(node)).live == 1_000 * UNITS_A_WH


# The moment


async def test_what_the_event_processor_has_not_read_is_no_difference(node: MirrorNode) -> None:
    holder = Keypair()
    await node.mint_readings(holder, [1_000])
    await node.deposit(holder, 300 * UNITS_A_WH, memo_to())
    assert (await exact(node)).tokens == 0
    await node.watching.catch_up()
    assert (await exact(node)).tokens == 300 * UNITS_A_WH


async def test_a_release_that_the_event_processor_has_not_read_is_known(node: MirrorNode) -> None:
    holder, wallet = Keypair(), Keypair().pubkey()
    await node.mint_readings(holder, [1_000])
    await node.deposit(holder, 1_000 * UNITS_A_WH, memo_to())
    await node.until(State.RECEIPTED)
    await node.lock(300, str(wallet))
    for _ in range(12):
        for lane in node.parts.lanes:
            await lane.round()
        await node.parts.solana.follow()
        await node.registry.node.engine.tend()
        await node.parts.bsv.follow()
        await node.cluster.advance(FINAL_SLOTS)
        await node.mine()
        node.clock.now_ms += 5_000
        await exact(node)
    assert (await node.messages())[-1].state is State.RECEIPTED
    assert await node.wallet_balance(wallet) == 300 * UNITS_A_WH


async def test_parity_is_unknown_before_the_event_processor_began(node: MirrorNode) -> None:
    with pytest.raises(Unavailable):
        await node.parts.parity.compute()


# Breached


async def steal(node: MirrorNode, thief: Pubkey, units: int) -> None:
    """By the bridge's own key, and by no release of its."""
    asset, key = node.parts.ground.asset, node.bridge_key
    account = associated_account(thief, asset.mint, TOKEN_PROGRAM_ID)
    transfer = TransferCheckedParams(
        program_id=TOKEN_PROGRAM_ID,
        source=asset.custody,
        mint=asset.mint,
        dest=account,
        owner=key.public,
        amount=units,
        decimals=9,
    )
    made = create_associated_account(key.public, thief, asset.mint, TOKEN_PROGRAM_ID)
    await node._send([key], [made, transfer_checked(transfer)])


async def mirrored(node: MirrorNode) -> None:
    """1,000 Wh, crossed."""
    holder = Keypair()
    await node.mint_readings(holder, [1_000])
    await node.deposit(holder, 1_000 * UNITS_A_WH, memo_to())
    await node.until(State.RECEIPTED)


async def test_a_theft_from_custody_pauses_both_ways_and_is_told(node: MirrorNode) -> None:
    await mirrored(node)
    assert await node.parts.parity.watch() == 0
    await steal(node, Keypair().pubkey(), 5)
    await node.watching.catch_up()
    assert await node.parts.parity.watch() == 2
    figures = await node.parts.parity.latest()
    assert figures is not None and (figures.difference, figures.is_exact) == (-5, False)
    assert figures.verdict.startswith("Breached: 5 base units fewer")
    alarms = {row["alarm"] for row in await standing(node.store)}
    assert alarms == {Alarm.PARITY_BREACHED, Alarm.FOREIGN_RELEASE}
    assert set(await node.mirror.pauses.all()) == set(Direction)
    assert await node.parts.parity.watch() == 0


async def test_a_breach_is_believed_before_the_event_processor_has_read_of_it(node: MirrorNode) -> None:
    """What takes from custody, and is not the bridge's, is no deposit that nobody knows yet."""
    await mirrored(node)
    await steal(node, Keypair().pubkey(), 7)
    figures = await node.parts.parity.compute()
    assert figures.difference == -7


async def test_nobody_resumes_while_parity_is_breached(node: MirrorNode) -> None:
    await mirrored(node)
    await steal(node, Keypair().pubkey(), UNITS_A_WH)
    await node.watching.catch_up()
    await node.parts.parity.watch()
    with pytest.raises(BadRequest) as refused:
        await ordered(node, "resume", direction="in")
    assert refused.value.code is ErrorCode.STATUS_FORBIDS
    assert (await ordered(node, "resume", direction="in", even_breached=True))["paused"] is False
    assert set(await node.mirror.pauses.all()) == {Direction.OUT}


async def test_what_is_given_back_ends_the_alarm_and_leaves_the_pauses(node: MirrorNode) -> None:
    await mirrored(node)
    asset = node.parts.ground.asset
    ledger = await read_ledger(node.store, asset.name)
    key = ledger_key(asset.name)
    await node.store.commit([Patch(MIRROR, key, {"custody": ledger.custody + 1})])
    assert await node.parts.parity.watch() == 1
    figures = await node.parts.parity.latest()
    assert figures is not None and figures.difference == 0
    assert figures.findings == (f"tokens {ledger.custody + 1} in the ledger, {ledger.custody} found",)
    await node.store.commit([Patch(MIRROR, key, {"custody": ledger.custody})])
    assert await node.parts.parity.watch() == 0
    assert await standing(node.store) == []
    assert len(await node.mirror.pauses.all()) == 2


async def test_a_gap_in_the_history_is_an_alarm(node: MirrorNode) -> None:
    await mirrored(node)
    address = str(node.parts.ground.asset.custody)
    await node.store.commit([Patch(CURSORS, address, {"gap": "pruned"})])
    with pytest.raises(Unavailable):
        await node.parts.parity.watch()
    assert [(row["alarm"], row["subject"]) for row in await standing(node.store)] == [("history_gap", address)]
    await node.store.commit([Patch(CURSORS, address, {"gap": None})])
    await node.parts.parity.watch()
    assert await standing(node.store) == []


# While everything moves


async def test_parity_is_exact_while_everything_moves(node: MirrorNode) -> None:
    """Lanes, the event processor, blocks and slots go on in tasks of their own; no reading sees a breach."""
    holder, over = Keypair(), asyncio.Event()
    await node.mint_readings(holder, [500] * 6)

    async def again(work: Callable[[], Awaitable[object]]) -> None:
        while not over.is_set():
            with suppress(Conflict):
                await work()
            await asyncio.sleep(0.001)

    async def chains() -> None:
        await node.cluster.advance(1)
        await node.registry.node.engine.tend()
        node.clock.now_ms += 500

    async def issued() -> None:
        """Until there is a certificate that can be locked."""
        while not any(row["facts"].get("issuances") for row in await every(node.store, MESSAGES, Find("seq"))):
            await asyncio.sleep(0.01)

    async def crossings() -> None:
        for number in range(6):
            await node.deposit(holder, (100 + number) * UNITS_A_WH, memo_to())
            await node.mine()
            if number > 2:
                await issued()
                await node.lock(10, str(Keypair().pubkey()))
        for _ in range(6):
            await node.mine()
            await asyncio.sleep(0.1)
        over.set()

    works = [*(lane.round for lane in node.parts.lanes), node.parts.solana.follow, node.parts.bsv.follow]
    moving = [again(work) for work in (*works, node.watching.catch_up, chains)]
    readings: list[ParityFigures] = []

    async def reading() -> None:
        readings.append(await node.parts.parity.compute())

    async with asyncio.TaskGroup() as group:
        for each in (crossings(), again(reading), *moving):
            group.create_task(each)
    assert all(each.is_exact for each in readings), [each for each in readings if not each.is_exact]
    assert len({each.entries for each in readings}) > 5
    await exact(node)


async def test_what_is_deep_is_added_up_for_good_and_outlives_a_restart(node: MirrorNode) -> None:
    await mirrored(node)
    key = f"coins:{node.parts.ground.asset.name}"
    await exact(node)
    assert await node.store.get(MIRROR, key) is None, "a reorganisation may still take it back"
    await node.chain.dev.mine(node.settings.chain.reorg_limit + 1)
    await node.mine()
    node.clock.now_ms += 60_000
    await mirrored(node)
    await exact(node)
    row = await node.store.get(MIRROR, key)
    assert row is not None
    assert row["issued_wh"] == 1_000
    again = Parity(node.parts.ground)
    figures = await again.compute()
    assert (figures.coins_wh, figures.is_exact) == (2_000, True)
