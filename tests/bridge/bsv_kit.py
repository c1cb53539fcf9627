"""The mirror's half on BSV, over a real registry and dev chain: messages that stand where a lane would hand them
over, and books that write a row for what they are told."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from solders.hash import Hash
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from bridge.mirror.book import Book, Page
from bridge.mirror.ground import Asset, MirrorGround
from bridge.mirror.message import UNITS_PER_WH, Message
from bridge.mirror.origin import read_origin
from bridge.mirror.provenance.lots import Lot
from bridge.mirror.records import LOTS, MESSAGES, MIRROR, MIRROR_COLLECTIONS, RECEIPTS
from bridge.mirror.states import Direction, Kind, State
from bridge.mirror.to_bsv.destination import BsvDestination
from bridge.programs.keys import FileSigner
from bridge.records import BRIDGE_COLLECTIONS
from bridge.solana.rpc import SolanaRpc
from certificates.lifecycle import Status
from certificates.token import Token
from config.errors import Unavailable
from config.settings import BridgeSettings, Settings
from energytag.actions import Kind as ActionKind
from overlay.outputs import load_outputs
from overlay.records import OUTPUTS, SPENDS
from store.pages import every
from store.port import Document, Find, Insert, Put, Write
from store.sqlite import SqliteStore
from tests.bridge.minting_kit import NoLease
from tests.energytag.kit import ACCOUNT, DEVICE, RegistryNode, moment
from tests.overlay.kit import Chain, Clock
from topics.certificates import read_script

CONFIRMATIONS = 3
FIRST_HOUR_MS = 1_767_225_600_000
HOUR_MS = 3_600_000
SIGNATURE = bytes(range(64))


class Crash(BaseException):
    """The process ends here."""


class CrashingStore(SqliteStore):
    """Ends the process at a commit: `crash_in` commits from now, before it is done or after."""

    crash_in: int | None = None
    is_after = False

    async def commit(self, writes: Sequence[Write]) -> None:
        is_now = self.crash_in == 0
        if self.crash_in is not None:
            self.crash_in -= 1
        if is_now and not self.is_after:
            raise Crash
        await super().commit(writes)
        if is_now:
            raise Crash


class Books:
    """Provenance, accounting and receipts by one row each, which nobody can write twice."""

    def __init__(self) -> None:
        self.silent: set[bytes] = set()

    async def allocate(self, messages: Sequence[Message], page: Page) -> list[Message]:
        return list(messages)

    async def returned(self, message: Message) -> list[Write]:
        return [Insert(LOTS, lot(message.id.hex(), 0, 1).document())]

    async def account(self, messages: Sequence[Message], page: Page) -> None:
        """Not asked here."""

    async def refund(self, message: Message, page: Page) -> None:
        """Not asked here."""

    async def ended(self, messages: Sequence[Message], page: Page) -> None:
        page.write(*(Insert(MIRROR, {"_id": f"ended:{each.id.hex()}"}) for each in messages))

    async def write(self, message: Message) -> Write:
        if message.id in self.silent:
            raise Unavailable("the chain does not tell")
        return Insert(RECEIPTS, {"_id": message.id, "receipt": b"{}"})


def lot(key: str, hour: int, wh: int, device_id: str = DEVICE) -> Lot:
    """A lot of an hour of the device's, all of it taken."""
    return Lot(
        key=key,
        slot=1,
        reading=key.encode(),
        meter="m1",
        device_id=device_id,
        account_id=ACCOUNT,
        interval_start_ms=FIRST_HOUR_MS + hour * HOUR_MS,
        interval_secs=3600,
        units=wh * UNITS_PER_WH,
        left=0,
    )


class BsvMirror:
    """A registry, and the destination that issues through it."""

    def __init__(self, chain: Chain, store: SqliteStore, clock: Clock, **bridge: Any) -> None:
        bridge = {"confirmations": CONFIRMATIONS, **bridge}
        self.settings = Settings(bridge=BridgeSettings(**bridge))
        self.chain, self.store, self.clock = chain, store, clock
        self.registry = RegistryNode(chain, store, clock, self.settings)
        self.engine = self.registry.node.engine
        self.books = Books()
        self.genesis = Hash(bytes(range(32)))
        self.bridge_key = Keypair.from_seed(bytes(32))
        self._numbers = 0
        self._lots: dict[bytes, list[Lot]] = {}

    async def open(self) -> None:
        await self.registry.open(*BRIDGE_COLLECTIONS, *MIRROR_COLLECTIONS)
        self.book = Book(self.store, NoLease(), self.clock)
        self.ground = MirrorGround(
            store=self.store,
            book=self.book,
            settings=self.settings,
            now_ms=self.clock,
            engine=self.engine,
            registry=self.registry.registry,
            rpc=cast(SolanaRpc, None),
            witnesses=(),
            asset=self._asset(),
            signers=[FileSigner(self.bridge_key)],
            bsv_genesis=bytes(32),
        )
        self.destination = BsvDestination(self.ground, self.books, self.books, self.books)

    def _asset(self) -> Asset:
        key = self.bridge_key.pubkey()
        mint = Pubkey(bytes(range(32)))
        return Asset(self.genesis, mint, mint, 9, key, key, "lock", key)

    async def close(self) -> None:
        await self.registry.close()

    async def restarted(self, store: SqliteStore) -> BsvMirror:
        """A new process on the same database."""
        await self.registry.close()
        made = BsvMirror(self.chain, store, self.clock, **self.settings.bridge.model_dump(exclude_unset=True))
        made._numbers = self._numbers
        await made.open()
        return made

    # Messages

    def deposit(self, parts: Sequence[tuple[int, int]], device_id: str = DEVICE, **facts: Any) -> Message:
        """A message from Solana of parts of hours: (hour, Wh) each. `put` stores it, with its lots."""
        self._numbers += 1
        number = self._numbers.to_bytes(32, "big")
        lots = [lot(f"{self._numbers}/{row}", hour, wh, device_id) for row, (hour, wh) in enumerate(parts)]
        self._lots[number] = lots
        return Message(
            id=number,
            direction=Direction.IN,
            kind=Kind.DEPOSIT,
            asset=self._asset().name,
            units=sum(wh for _, wh in parts) * UNITS_PER_WH,
            source_tx=SIGNATURE,
            source_event=SIGNATURE + bytes(6),
            recipient=ACCOUNT,
            created_ms=self.clock(),
            state=State.ACCOUNTED,
            facts={
                "accounted": True,
                "lots": [[each.key, each.units] for each in lots],
                **({} if "identity" in facts else {"account_id": ACCOUNT}),
                **facts,
            },
        )

    async def put(self, *messages: Message) -> list[Message]:
        """Store messages, with their lots."""
        async with self.book.page() as page:
            for message in messages:
                page.write(*(Put(LOTS, each.document()) for each in self._lots.get(message.id, ())))
            return [page.open(each) for each in messages]

    async def deposits(self, count: int, wh: int = 10, first_hour: int = 0) -> list[Message]:
        """As many messages, each of an hour of its own."""
        return await self.put(*(self.deposit([(first_hour + n, wh)]) for n in range(count)))

    async def locked(self, count: int, wh: int = 10, first_hour: int = 0, **leaving: Any) -> list[Message]:
        """Exits: certificates that the registry issued and locked, as messages whose tokens are released."""
        await self.registry.issue(first_hour, count, wh)
        outpoints: list[bytes] = []
        for hour in range(first_hour, first_hour + count):
            done = await self.registry.resolved(
                ActionKind.LOCK,
                {
                    "source_account_id": ACCOUNT,
                    "exit": {"chain": "solana", "address": str(self.bridge_key.pubkey()), **leaving},
                    "certificate_period_start": moment(hour),
                    "certificate_period_end": moment(hour + 1),
                },
            )
            outpoints += [made.outpoint for made in done.made]
        return await self.put(*(self.exit(each, wh) for each in outpoints))

    def exit(self, outpoint: bytes, wh: int, state: State = State.DST_FINAL, **facts: Any) -> Message:
        self._numbers += 1
        return Message(
            id=self._numbers.to_bytes(32, "big"),
            direction=Direction.OUT,
            kind=Kind.EXIT,
            asset=self._asset().name,
            units=wh * UNITS_PER_WH,
            source_tx=outpoint[:32],
            source_event=outpoint,
            recipient=str(self.bridge_key.pubkey()),
            created_ms=self.clock(),
            state=state,
            destination_tx=SIGNATURE if state is State.DST_FINAL else None,
            facts=facts,
        )

    async def now(self, *messages: Message) -> list[Message]:
        """Messages as they are stored."""
        rows = await self.store.get_many(MESSAGES, [each.id for each in messages])
        return [Message.read(rows[each.id]) for each in messages]

    async def states(self, *messages: Message) -> list[State]:
        return [each.state for each in await self.now(*messages)]

    async def released(self, *messages: Message) -> list[Message]:
        """An operator lets held messages go on."""
        async with self.book.page() as page:
            return [
                page.move(each, State.REFUND_ACCOUNTED if each.is_refund else State.ACCOUNTED)
                for each in await self.now(*messages)
            ]

    # The chain

    async def broadcast(self) -> None:
        await self.engine.tend()

    async def mined(self, blocks: int = 1) -> None:
        """Broadcast what waits, mine, and learn of it."""
        await self.engine.tend()
        await self.chain.dev.mine(blocks)
        await self.learn()

    async def learn(self) -> None:
        await self.registry.node.headers.sync()
        await self.engine.refresh_proofs()
        await self.registry.treasury.tend()

    async def evict(self, txid: bytes) -> None:
        """The engine lets a transaction go, and the registry learns of it."""
        assert await self.engine.evictor.evict(txid, "told so")
        await self.registry.registry.undoing.work()
        await self.registry.treasury.tend()

    # What stands on BSV

    async def tokens(self) -> list[tuple[bytes, Token]]:
        """All live certificates, with their outpoints."""
        rows = await every(self.store, OUTPUTS, Find())
        spends = await self.store.get_many(SPENDS, [row["_id"] for row in rows])
        outputs = await load_outputs(self.store, [row["_id"] for row in rows if row["_id"] not in spends])
        read = ((outpoint, read_script(output.script)) for outpoint, output in outputs.items())
        return [(outpoint, token) for outpoint, token in read if isinstance(token, Token)]

    async def mirrored(self) -> dict[bytes, int]:
        """Wh of live certificates by the message of their origin."""
        sums: dict[bytes, int] = {}
        for _, token in await self.tokens():
            origin = read_origin(token.origin)
            if origin is not None and token.bundle.status is not Status.WITHDRAWN:
                sums[origin.message] = sums.get(origin.message, 0) + token.bundle.energy_wh
        return sums

    async def rows(self, collection: Any) -> list[Document]:
        return await every(self.store, collection, Find())


def is_whole(mirrored: dict[bytes, int], messages: Sequence[Message]) -> bool:
    """Whether each message has certificates of just its energy, and nothing else is mirrored."""
    return mirrored == {each.id: each.wh for each in messages}


def store_at(folder: Path) -> CrashingStore:
    return CrashingStore(folder / "node.db", cache_mib=4)
