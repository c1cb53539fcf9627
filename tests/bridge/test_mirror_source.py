"""Deposits from the chain to VALIDATED or HELD: event processor, inbox, lane, witnesses and registry, all real."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.signature import Signature

from api.solana.server import SolanaServer
from bridge.cluster.cluster import Cluster
from bridge.mirror.book import Book
from bridge.mirror.from_solana.arrivals import Arrivals
from bridge.mirror.from_solana.source import SolanaSource
from bridge.mirror.from_solana.witnesses import ENOUGH_MS
from bridge.mirror.ground import Asset, MirrorGround
from bridge.mirror.lane import Lane
from bridge.mirror.message import Message, Reason, message_id
from bridge.mirror.pauses import Pauses
from bridge.mirror.records import INBOX, MESSAGES, MIRROR_COLLECTIONS
from bridge.mirror.states import Direction, Hold, Kind, State
from bridge.programs.keys import FileSigner
from bridge.records import BRIDGE_COLLECTIONS
from bridge.solana.client import ClusterClient
from bridge.watching.cursor import LAG_SLOTS
from bridge.watching.processor import EventProcessor
from energytag.records import ACCOUNTS
from overlay.keys import PrivateKey
from store.pages import every
from store.port import Find, Patch, Put
from store.sqlite import SqliteStore
from tests.bridge.cluster_kit import DECIMALS, Bench, TokenBench, keypair, memo, opened
from tests.bridge.exits_kit import Parked
from tests.bridge.lying_rpc import LyingRpc, lying
from tests.bridge.minting_kit import NoLease
from tests.bridge.watching_kit import watched_custody, watched_mint
from tests.energytag.kit import ACCOUNT, OTHER_ACCOUNT, RegistryNode, account_row
from tests.overlay.kit import Chain, Clock

BSV_GENESIS = bytes(range(32))
FINAL_SLOTS = 33
WH = 10**6
ALICE = keypair("alice")
IDENTITY = PrivateKey.from_int(77).public
STRANGER = PrivateKey.from_int(78).public


class Bridge:
    """A bridge's way in, as far as the books."""

    def __init__(self, cluster: Cluster, rpc: ClusterClient, liar: LyingRpc, registry: RegistryNode) -> None:
        self.cluster, self.rpc, self.liar, self.registry = cluster, rpc, liar, registry
        self.store, self.clock = registry.store, registry.clock
        self.bench = Bench(cluster)
        self.token: TokenBench
        self.asset: Asset
        self.book: Book
        self.lane: Lane
        self.source: SolanaSource
        self.processor: EventProcessor

    async def open(self) -> None:
        await self.registry.open(*BRIDGE_COLLECTIONS, *MIRROR_COLLECTIONS)
        await self.registry.populate()
        await self.store.commit([Put(ACCOUNTS, account_row(OTHER_ACCOUNT, identity_key=IDENTITY))])
        await self.bench.fund()
        self.token = await TokenBench.made(self.bench)
        owner = keypair("bridge").pubkey()
        makings = [self.token.create(each) for each in (owner, ALICE.pubkey())]
        await self.bench.must([*makings, self.token.mint_to(ALICE.pubkey(), 10**12)])
        await self.cluster.advance()
        self.asset = Asset(
            genesis=self.cluster.genesis_hash,
            mint=self.token.mint.pubkey(),
            token_program=self.token.program,
            decimals=DECIMALS,
            owner=owner,
            custody=self.token.address(owner),
            mode="lock",
            mint_authority=self.bench.payer.pubkey(),
        )
        self.restart()

    def restart(self, *witnesses: ClusterClient) -> None:
        """As after a start: nothing in memory."""
        self.book = Book(self.store, NoLease(), self.clock)
        ground = MirrorGround(
            self.store,
            self.book,
            self.registry.settings,
            self.clock,
            self.registry.node.engine,
            self.registry.registry,
            self.rpc,
            witnesses,
            self.asset,
            (FileSigner(Keypair()),),
            BSV_GENESIS,
        )
        self.source = SolanaSource(ground)
        parked, pauses = Parked(), Pauses(self.store)
        self.lane = Lane(Direction.IN, self.store, self.book, pauses, self.source, parked, parked, parked, parked)
        self.processor = EventProcessor(
            self.store,
            self.rpc,
            None,
            [watched_mint(self.token), watched_custody(self.asset.custody)],
            self.clock,
            lambda: None,
            Arrivals(self.asset, self.store, self.clock).on_final,
        )

    async def deposit(self, units: int, text: str | None, *more: Instruction) -> Signature:
        """A transfer into custody."""
        moved = self.token.transfer(ALICE.pubkey(), self.asset.owner, units)
        notes = [] if text is None else [memo(text)]
        executed = await self.bench.must([moved, *notes, *more], ALICE)
        await self.cluster.advance()
        return executed.signature

    async def round(self) -> None:
        """Everything final is read, and goes as far as it can."""
        await self.cluster.advance(FINAL_SLOTS)
        await self.look()

    async def look(self) -> None:
        await self.processor.catch_up()
        await self.lane.round()

    async def messages(self) -> list[Message]:
        return [Message.read(row) for row in await every(self.store, MESSAGES, Find("seq"))]

    async def message(self) -> Message:
        (message,) = await self.messages()
        return message

    async def again(self, message: Message) -> None:
        """A person says that it is to be looked at again."""
        async with self.book.page() as page:
            page.move(message, State.OBSERVED)


@pytest.fixture
async def bridge(tmp_path: Path) -> AsyncIterator[Bridge]:
    async with AsyncExitStack() as stack:
        cluster = await stack.enter_async_context(opened(tmp_path / "cluster"))
        servers = [SolanaServer(cluster, "127.0.0.1", 0) for _ in range(2)]
        for server in servers:
            await server.start()
            stack.push_async_callback(server.stop)
        liar = await stack.enter_async_context(lying(servers[1].rpc_url))
        clock = Clock()
        chain = Chain(tmp_path, clock)
        await chain.open()
        stack.push_async_callback(chain.close)
        rpc = ClusterClient(servers[0].rpc_url)
        stack.push_async_callback(rpc.close)
        registry = RegistryNode(chain, SqliteStore(tmp_path / "node.db", cache_mib=4), clock)
        made = Bridge(cluster, rpc, liar, registry)
        await made.open()
        stack.push_async_callback(registry.close)
        yield made


@pytest.fixture
async def watched(bridge: Bridge) -> AsyncIterator[Bridge]:
    """With a witness that may lie."""
    witness = ClusterClient(bridge.liar.url, remembered=0)
    bridge.restart(witness)
    yield bridge
    await witness.close()


# Whose it is, or why it is held


@pytest.mark.parametrize(
    ("recipient", "facts"),
    [
        (ACCOUNT, {"account_id": ACCOUNT}),
        (IDENTITY.hex(), {"account_id": OTHER_ACCOUNT}),
        (STRANGER.hex(), {"identity": STRANGER.hex()}),
    ],
)
async def test_a_deposit_is_validated(bridge: Bridge, recipient: str, facts: dict[str, str]) -> None:
    signature = await bridge.deposit(5 * WH, f"gwx1:{recipient}")
    await bridge.round()
    message = await bridge.message()
    assert (message.state, message.kind, message.wh) == (State.VALIDATED, Kind.DEPOSIT, 5)
    assert message.recipient == recipient
    assert message.source_tx == bytes(signature)
    assert facts.items() <= message.facts.items()
    assert message.facts["source"] == str(bridge.token.address(ALICE.pubkey()))
    assert message.final_ms == message.created_ms
    assert message.id == message_id(
        src_genesis=bytes(bridge.asset.genesis),
        src_asset=bytes(bridge.asset.mint),
        src_event=bytes(signature) + bytes(6),
        dst_genesis=BSV_GENESIS,
        dst_recipient=recipient.encode(),
        units=5 * WH,
    )


GONE = "0b7cdd5c-2b0c-4d0e-9d1b-6f6f8a3d9dff"


@pytest.mark.parametrize(
    ("units", "texts", "held"),
    [
        (WH, [], Hold.MEMO_MISSING),
        (WH, ["thanks"], Hold.MEMO_MISSING),
        (WH, [f"gwx1:{ACCOUNT}", f"gwx1:{ACCOUNT}"], Hold.MEMO_MALFORMED),
        (WH, [f"gwx1:{ACCOUNT}", f"gwx1:{OTHER_ACCOUNT}"], Hold.MEMO_MALFORMED),
        (WH, ["gwx1:"], Hold.MEMO_MALFORMED),
        (WH, ["gwx1:alice"], Hold.RECIPIENT_MALFORMED),
        (WH, ["gwx1:" + "02" + "00" * 32], Hold.RECIPIENT_MALFORMED),
        (WH, [f"gwx1:{ACCOUNT} "], Hold.RECIPIENT_MALFORMED),
        (WH, ["gwx1:" + "a" * 400], Hold.RECIPIENT_MALFORMED),
        (WH, [f"gwx1:{GONE}"], Hold.RECIPIENT_UNKNOWN),
        (WH - 1, [f"gwx1:{ACCOUNT}"], Hold.DUST),
        (5 * WH + 1, [f"gwx1:{ACCOUNT}"], Hold.DUST),
        (1, [f"gwx1:{ACCOUNT}"], Hold.DUST),
        (1, [], Hold.MEMO_MISSING),
    ],
)
async def test_what_is_wrong_with_it_is_told(bridge: Bridge, units: int, texts: list[str], held: Hold) -> None:
    await bridge.deposit(units, None, *map(memo, texts))
    await bridge.round()
    message = await bridge.message()
    assert message.state is State.HELD
    assert message.reason is not None
    assert message.reason.code is held
    assert message.units == units
    assert message.facts["source"], "it can be given back"


async def test_other_text_beside_the_memo_does_no_harm(bridge: Bridge) -> None:
    await bridge.deposit(WH, "for the flat on the left", memo(f"gwx1:{ACCOUNT}"))
    await bridge.round()
    assert (await bridge.message()).state is State.VALIDATED


async def test_a_held_message_is_judged_again(bridge: Bridge) -> None:
    """An account is registered after all."""
    await bridge.deposit(WH, f"gwx1:{GONE}")
    await bridge.round()
    held = await bridge.message()
    await bridge.store.commit([Put(ACCOUNTS, account_row(GONE))])
    await bridge.again(held)
    await bridge.look()
    message = await bridge.message()
    assert (message.state, message.id, message.reason) == (State.VALIDATED, held.id, None)


# Once, whatever is told again


async def test_each_transfer_is_a_message_once(bridge: Bridge) -> None:
    moved = bridge.token.transfer(ALICE.pubkey(), bridge.asset.owner, 2 * WH)
    await bridge.deposit(WH, f"gwx1:{ACCOUNT}", moved, moved)
    await bridge.round()
    before = await bridge.messages()
    assert sorted(each.wh for each in before) == [1, 2, 2]
    assert len({each.id for each in before}) == 3
    await bridge.processor.replay(0)
    bridge.restart()
    await bridge.look()
    assert await bridge.messages() == before
    assert not (await bridge.store.find(INBOX, Find("lane", {"lane": "in"}))).documents


async def test_a_crash_before_the_lane_loses_nothing(bridge: Bridge) -> None:
    await bridge.deposit(WH, f"gwx1:{ACCOUNT}")
    await bridge.cluster.advance(FINAL_SLOTS)
    await bridge.processor.catch_up()
    bridge.restart()
    await bridge.lane.round()
    assert (await bridge.message()).state is State.VALIDATED


async def test_what_is_not_final_is_no_message(bridge: Bridge) -> None:
    await bridge.deposit(WH, f"gwx1:{ACCOUNT}")
    await bridge.look()
    assert await bridge.messages() == []
    await bridge.round()
    assert len(await bridge.messages()) == 1


async def test_a_look_alike_mint_is_no_message(bridge: Bridge) -> None:
    alike = await TokenBench.made(bridge.bench, name="alike")
    makings = [alike.create(each) for each in (bridge.asset.owner, ALICE.pubkey())]
    await bridge.bench.must([*makings, alike.mint_to(ALICE.pubkey(), 5 * WH)])
    await bridge.cluster.advance()
    moved = alike.transfer(ALICE.pubkey(), bridge.asset.owner, 5 * WH)
    naming_custody = bridge.token.transfer(ALICE.pubkey(), ALICE.pubkey(), 0)
    await bridge.bench.must([moved, naming_custody, memo(f"gwx1:{ACCOUNT}")], ALICE)
    await bridge.round()
    assert await bridge.messages() == []


async def test_what_a_forger_writes_into_logs_is_no_message(bridge: Bridge) -> None:
    forged = f"Program data: {'A' * 80}\nProgram log: transfer {bridge.asset.custody} {5 * WH}"
    nothing = bridge.token.transfer(ALICE.pubkey(), bridge.asset.owner, 0)
    await bridge.bench.must([memo(forged), memo(f"gwx1:{ACCOUNT}"), nothing], ALICE)
    await bridge.round()
    assert await bridge.messages() == []


# Witnesses


async def test_a_witness_that_agrees(watched: Bridge) -> None:
    await watched.deposit(WH, f"gwx1:{ACCOUNT}")
    await watched.round()
    message = await watched.message()
    assert message.state is State.VALIDATED
    assert watched.liar.asked.count("getTransaction") == 1


def more(told: Any) -> Any:
    for balance in told["meta"]["postTokenBalances"]:
        amount = balance["uiTokenAmount"]
        amount["amount"] = str(int(amount["amount"]) + WH)
    return told


def failed(told: Any) -> Any:
    told["meta"]["err"] = {"InstructionError": [0, {"Custom": 1}]}
    return told


@pytest.mark.parametrize("lie", [more, failed, lambda told: told | {"slot": told["slot"] + 1}])
async def test_a_witness_that_tells_otherwise_holds_it(watched: Bridge, lie: Callable[[Any], Any]) -> None:
    watched.liar.lies["getTransaction"] = lambda told: lie(deepcopy(told))
    await watched.deposit(WH, f"gwx1:{ACCOUNT}")
    await watched.round()
    held = await watched.message()
    assert held.state is State.HELD
    assert held.reason is not None
    assert held.reason.code is Hold.SOURCE_DISPUTED
    assert held.reason.text.startswith("witness 1 tells otherwise")
    watched.liar.lies.clear()
    await watched.again(held)
    await watched.look()
    assert (await watched.message()).state is State.VALIDATED


async def test_a_witness_that_lags_is_waited_for(watched: Bridge) -> None:
    watched.liar.lies["getTransaction"] = lambda _: None
    await watched.deposit(WH, f"gwx1:{ACCOUNT}")
    await watched.round()
    asked = []
    for _ in range(8):
        message = await watched.message()
        assert message.state is State.OBSERVED
        assert message.due_ms is not None
        asked.append(message.due_ms - watched.clock.now_ms)
        watched.clock.now_ms = message.due_ms
        await watched.look()
    assert asked == sorted(asked)
    assert asked[0] == 250
    watched.liar.lies.clear()
    watched.clock.now_ms += 60_000
    await watched.look()
    message = await watched.message()
    assert message.state is State.VALIDATED
    assert message.final_ms == watched.clock.now_ms


async def test_a_witness_that_goes_on_denying_holds_it(watched: Bridge) -> None:
    watched.liar.lies["getTransaction"] = lambda _: None
    await watched.deposit(WH, f"gwx1:{ACCOUNT}")
    await watched.cluster.advance(LAG_SLOTS)
    await watched.round()
    assert (await watched.message()).state is State.OBSERVED
    watched.clock.now_ms += ENOUGH_MS
    await watched.look()
    message = await watched.message()
    assert message.reason == Reason(Hold.SOURCE_DISPUTED, "witness 1 does not know the transaction")


async def test_a_witness_that_is_down_stops_nothing_else(watched: Bridge) -> None:
    watched.liar.is_down = True
    await watched.deposit(WH, f"gwx1:{ACCOUNT}")
    await watched.round()
    assert (await watched.message()).state is State.OBSERVED
    await watched.deposit(2 * WH, f"gwx1:{ACCOUNT}")
    await watched.round()
    assert [each.state for each in await watched.messages()] == [State.OBSERVED] * 2
    watched.liar.is_down = False
    watched.clock.now_ms += 120_000
    await watched.look()
    assert [each.state for each in await watched.messages()] == [State.VALIDATED] * 2


@pytest.mark.parametrize(
    "told",
    [
        {"units": 1000 * WH},
        {"memos": [f"gwx1:{OTHER_ACCOUNT}"], "recipient": OTHER_ACCOUNT},
        {"source": str(ALICE.pubkey())},
    ],
)
async def test_a_first_endpoint_that_told_otherwise_before_is_found_out(
    watched: Bridge, told: dict[str, Any]
) -> None:
    """What it told when the chain was read does not follow from what it, and the witness, tell now."""
    await watched.deposit(WH, f"gwx1:{ACCOUNT}")
    await watched.cluster.advance(FINAL_SLOTS)
    await watched.processor.catch_up()
    (row,) = await every(watched.store, INBOX, Find())
    await watched.store.commit([Patch(INBOX, row["_id"], told)])
    await watched.lane.round()
    message = await watched.message()
    assert message.reason is not None
    assert message.reason.code is Hold.SOURCE_DISPUTED


async def test_many_at_once_with_a_witness(watched: Bridge) -> None:
    for number in range(40):
        await watched.deposit((number + 1) * WH, f"gwx1:{ACCOUNT}")
    await watched.round()
    assert {each.state for each in await watched.messages()} == {State.VALIDATED}
    assert watched.liar.asked.count("getTransaction") == 40


# Burns


async def test_burns_of_a_bridge_that_burns(bridge: Bridge) -> None:
    bridge.asset = replace(bridge.asset, mode="burn")
    bridge.restart()
    burn = bridge.token.burn(ALICE.pubkey(), 3 * WH)
    for notes in ([memo(f"gwx1:{ACCOUNT}")], [], [memo("gwx1:nobody")]):
        await bridge.bench.must([burn, *notes], ALICE)
        await bridge.cluster.advance()
    await bridge.deposit(WH, f"gwx1:{ACCOUNT}")
    await bridge.round()
    found = [(each.kind, each.state, each.reason and each.reason.code) for each in await bridge.messages()]
    assert sorted(found, key=str) == sorted(
        [(Kind.BURN, State.VALIDATED, None), (Kind.BURN, State.HELD, Hold.RECIPIENT_MALFORMED)], key=str
    )


async def test_a_batch_of_256_deposits_does_not_take_long(bridge: Bridge) -> None:
    moved = bridge.token.transfer(ALICE.pubkey(), bridge.asset.owner, WH)
    for number in range(32):
        note = memo(f"gwx1:{ACCOUNT}")
        await bridge.bench.must([*([moved] * 8), note, memo(f"{number}")], ALICE)
        await bridge.cluster.advance()
    await bridge.cluster.advance(FINAL_SLOTS)
    await bridge.processor.catch_up()
    began = asyncio.get_running_loop().time()
    await bridge.lane.round()
    assert asyncio.get_running_loop().time() - began < 5
    assert len(await bridge.messages()) == 256
    assert {each.state for each in await bridge.messages()} == {State.VALIDATED}
