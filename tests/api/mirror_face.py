"""The mirror's routes behind a real socket, over a real store; crossings are put through the book."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import aiohttp
import orjson
from aiohttp import web
from solders.hash import Hash
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.signature import Signature

from api.access import admin_only
from api.bridge.mirror import mirror_routes
from api.edge import Edge
from api.lifecycle import Lifecycle, Phase
from api.limits import Bodies
from api.metrics import HttpMetrics
from api.route import Access
from bridge.mirror.book import Book
from bridge.mirror.books.limits import Limits
from bridge.mirror.ground import Asset
from bridge.mirror.message import Message, message_id, solana_event
from bridge.mirror.operators.commands import Desk
from bridge.mirror.parity.figures import ParityFigures
from bridge.mirror.parity.parity import figures_key
from bridge.mirror.pauses import Pauses
from bridge.mirror.records import MIRROR, MIRROR_COLLECTIONS
from bridge.mirror.states import Direction, Kind, State
from bridge.programs.keys import FileSigner
from config.errors import ErrorCode, Unavailable
from config.settings import Settings
from energytag.records import DIRECTORY
from overlay.clock import NowMs
from overlay.records import ENGINE_COLLECTIONS
from store.port import Put
from store.sqlite import SqliteStore
from tests.bridge.minting_kit import Clock, NoLease

ADMIN = "the operator's token"
WH = 10**6
MINT, OWNER, CUSTODY, PROGRAM = (Pubkey.from_bytes(bytes([n]) * 32) for n in (3, 4, 5, 6))
IDENTITY = bytes.fromhex("02" + "ab" * 32)
ASSET = Asset(Hash(bytes([7]) * 32), MINT, PROGRAM, 9, OWNER, CUSTODY, "lock", OWNER)

EXACT = ParityFigures(
    at_ms=0,
    mode="lock",
    slot=900,
    height=101,
    entries=7,
    custody=12_345_000_000,
    supply=10**15,
    burned=0,
    minted=0,
    coins_wh=12_000,
    live=11_000_000_000,
    in_flight_in=345_000_000,
    in_flight_out=1_000_000_000,
    held=0,
)


class Cluster:
    """Answers what it is told to; the search asks it only why there is no message."""

    def __init__(self) -> None:
        self.seen: dict[Signature, Any] = {}
        self.asked = 0

    async def transaction(self, signature: Signature) -> Any:
        self.asked += 1
        return self.seen.get(signature)

    async def accounts(self, addresses: Sequence[Pubkey]) -> list[None]:
        return [None] * len(addresses)


class Reckoner:
    """In the place of `Parity`, which needs both chains: tests/bridge/test_mirror_face.py has the real one."""

    def __init__(self) -> None:
        self.figures: ParityFigures | None = None
        self.computed = 0

    async def compute(self) -> ParityFigures:
        self.computed += 1
        if self.figures is None:
            raise Unavailable("the cluster does not answer", ErrorCode.SOLANA_UNAVAILABLE)
        return self.figures


@dataclass
class Answer:
    status: int
    headers: Any
    body: bytes

    def json(self) -> Any:
        return orjson.loads(self.body)


@dataclass
class Face:
    """The routes of one process, and the book of the worker."""

    store: SqliteStore
    book: Book
    mirror: Any
    node: Any
    lifecycle: Lifecycle
    clock: Clock
    client: aiohttp.ClientSession
    listener: Any
    cluster: Cluster = field(default_factory=Cluster)

    @property
    def port(self) -> int:
        return int(self.listener.getsockname()[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def ask(self, path: str, method: str = "GET", *, token: str | None = None, **more: Any) -> Answer:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        async with self.client.request(method, self.url + path, headers=headers, **more) as reply:
            return Answer(reply.status, reply.headers, await reply.read())

    async def get(self, path: str, **more: Any) -> Any:
        answer = await self.ask(path, **more)
        assert answer.status == 200, answer.body
        return answer.json()

    async def refused(self, path: str, method: str = "GET", **more: Any) -> tuple[int, str, str]:
        answer = await self.ask(path, method, **more)
        told = answer.json()
        return answer.status, told["code"], told["message"]

    # Crossings

    async def opened(self, *messages: Message) -> list[Message]:
        """All in one entry of the log."""
        async with self.book.page() as page:
            return [page.open(each) for each in messages]

    async def parity_found(self, **changes: Any) -> ParityFigures:
        """What the worker stores when it has looked."""
        figures = replace(EXACT, at_ms=self.clock.now_ms, **changes)
        await self.store.commit([Put(MIRROR, {"_id": figures_key(ASSET.name), **figures.document()})])
        return figures

    async def moved(self, message: Message, *states: State, **changes: Any) -> Message:
        """Each step is an entry of its own; the changes come with the last."""
        for state in states:
            async with self.book.page() as page:
                message = page.move(message, state, due_ms=None, **(changes if state is states[-1] else {}))
        return message


INWARD = (State.SRC_FINAL, State.VALIDATED, State.ACCOUNTED, State.DST_SIGNED, State.DST_SENT)
TO_THE_END = (*INWARD, State.DST_SEEN, State.DST_FINAL, State.RECEIPTED)


def deposit(number: int = 1, wh: int = 1000, *, instruction: int = 0, **more: Any) -> Message:
    signature = number.to_bytes(64, "big")
    event = solana_event(signature, instruction.to_bytes(2, "big") + bytes(4))
    return _message(Direction.IN, Kind.DEPOSIT, wh, signature, event, more.pop("recipient", "an account"), **more)


def exit_of(number: int = 1, wh: int = 1000, *, index: int = 0, **more: Any) -> Message:
    txid = number.to_bytes(32, "big")
    recipient = str(Pubkey.from_bytes(bytes([9]) * 32))
    return _message(Direction.OUT, Kind.EXIT, wh, txid, txid + index.to_bytes(4, "little"), recipient, **more)


def _message(
    direction: Direction, kind: Kind, wh: int, tx: bytes, event: bytes, recipient: str, **more: Any
) -> Message:
    units = wh * WH
    key = message_id(
        src_genesis=bytes(32),
        src_asset=bytes(MINT),
        src_event=event,
        dst_genesis=bytes(32),
        dst_recipient=recipient.encode(),
        units=units,
    )
    made = Message(key, direction, kind, str(MINT), units, tx, event, recipient, created_ms=Clock().now_ms)
    return replace(made, **more)


@contextlib.asynccontextmanager
async def serving(folder: Any, *, order_secs: float = 1, **sections: Any) -> AsyncIterator[Face]:
    """A process's routes on a free port. `sections` are of the settings."""
    async with contextlib.AsyncExitStack() as stack:
        clock = Clock()
        settings = Settings(**sections)
        store = SqliteStore(folder / "node.db", cache_mib=4)
        await store.open([*MIRROR_COLLECTIONS, *ENGINE_COLLECTIONS, *DIRECTORY])
        stack.push_async_callback(store.close)
        book, cluster = Book(store, NoLease(), clock), Cluster()
        ground = SimpleNamespace(
            store=store,
            book=book,
            settings=settings,
            bridge=settings.bridge,
            now_ms=clock,
            rpc=cluster,
            witnesses=(),
            signers=(FileSigner(Keypair.from_seed(bytes(32))),),
            asset=ASSET,
            engine=SimpleNamespace(headers=None),
        )
        mirror = SimpleNamespace(
            settings=settings,
            store=store,
            pauses=Pauses(store),
            limits=Limits(store, settings.bridge, clock),
            desk=Desk(store, clock),
            trouble=None,
            identity=IDENTITY,
            asset=ASSET,
            parts=SimpleNamespace(ground=ground),
            parity=Reckoner(),
        )
        registry = SimpleNamespace(ground=SimpleNamespace(store=store))
        node = SimpleNamespace(settings=settings, store=store, mirror=mirror, registry=registry, admin_token=ADMIN)
        lifecycle = Lifecycle(Phase.READY)
        listener = await listening_for(stack, node, lifecycle, clock, order_secs)
        client = await stack.enter_async_context(aiohttp.ClientSession())
        yield Face(store, book, mirror, node, lifecycle, clock, client, listener, cluster)
        lifecycle.phase = Phase.STOPPING


async def listening_for(
    stack: contextlib.AsyncExitStack, node: Any, lifecycle: Lifecycle, clock: NowMs, order_secs: float
) -> Any:
    """The socket that the routes of a node listen at."""
    edge = Edge(HttpMetrics(), lifecycle, None, {Access.ADMIN: admin_only(ADMIN)}, verbose=False)
    bodies = Bodies(2**20, 2**24, 5)
    app = web.Application()
    for group in mirror_routes(node, bodies, lifecycle, clock, order_secs):
        for route in group:
            app.router.add_route(route.method, route.path, edge.guard(route))
            if route.method == "GET":
                app.router.add_route("HEAD", route.path, edge.guard(route))
    runner = web.AppRunner(app, shutdown_timeout=2)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    return site._server.sockets[0]


@dataclass
class Event:
    name: str
    data: Any
    id: str | None


class Stream:
    """Reads server-sent events."""

    def __init__(self, reply: aiohttp.ClientResponse) -> None:
        self._reply = reply
        self.comments = 0

    async def next(self, secs: float = 5) -> Event:
        async with asyncio.timeout(secs):
            while True:
                fields = await self._fields()
                if "data" in fields:
                    return Event(fields["event"], orjson.loads(fields["data"]), fields.get("id"))

    async def some(self, number: int) -> list[Event]:
        return [await self.next() for _ in range(number)]

    async def _fields(self) -> dict[str, str]:
        fields: dict[str, str] = {}
        while line := (await self._reply.content.readline()).decode():
            if line == "\n":
                return fields
            name, _, value = line.rstrip("\n").partition(": ")
            if name:
                fields[name] = value
            else:
                self.comments += 1
        raise EOFError("the stream has ended")
