"""The mirror's books without chains: real store, log, provenance and accountant; the test says what chains do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, cast

from solders.hash import Hash
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from spl.token.constants import TOKEN_PROGRAM_ID

from basket.coins import FUND_COINS
from bridge.mirror.book import Book
from bridge.mirror.books.accounting import Accountant, read_ledger
from bridge.mirror.books.ledger import Ledger, Mode
from bridge.mirror.books.limits import Headroom, Limits
from bridge.mirror.ground import Asset, MirrorGround
from bridge.mirror.message import UNITS_PER_WH, Message
from bridge.mirror.operators.commands import Desk
from bridge.mirror.operators.operating import Operating
from bridge.mirror.pauses import Pauses, pause, resume
from bridge.mirror.provenance.drawing import Lots
from bridge.mirror.provenance.lots import Lot
from bridge.mirror.records import LOTS, MESSAGES, MIRROR_COLLECTIONS, OUTSTANDING
from bridge.mirror.states import Direction, Hold, Kind, State
from bridge.programs.keys import FileSigner
from bridge.records import LEASES
from config.settings import BridgeSettings
from energytag.records import INTERVALS, NUMBERS
from overlay.chain import HeaderSource
from overlay.headers import HeaderChain
from overlay.records import ENGINE_COLLECTIONS
from store.port import Insert
from store.sqlite import SqliteStore
from tests.bridge.minting_kit import Clock, NoLease

DEVICE: Final = "5d1f3f5e-93a2-4a6b-8f5d-0e6a9a1c7b42"
ACCOUNT: Final = "0b7cdd5c-2b0c-4d0e-9d1b-6f6f8a3d9d11"
_INTERVAL_MS: Final = 900_000
_START_MS: Final = 1_767_225_600_000
_KEYS: Final = [Pubkey.from_bytes(bytes([number]) * 32) for number in range(1, 5)]


@dataclass(frozen=True)
class NoChain:
    """An engine whose chain has no block yet."""

    headers: HeaderChain


class NoMarkers:
    """A cluster on which nothing is."""

    async def accounts(self, addresses: Sequence[Pubkey]) -> list[None]:
        return [None] * len(addresses)


@dataclass(frozen=True)
class BooksGround:
    """What of a ground the books look at."""

    store: SqliteStore
    book: Book
    bridge: BridgeSettings
    asset: Asset
    now_ms: Clock
    engine: NoChain
    rpc: NoMarkers = field(default_factory=NoMarkers)
    witnesses: tuple[NoMarkers, ...] = ()
    signers: tuple[FileSigner, ...] = (FileSigner(Keypair.from_seed(bytes(32))),)


def an_asset(mode: Mode = "lock") -> Asset:
    mint, owner, custody, authority = _KEYS
    return Asset(Hash.default(), mint, TOKEN_PROGRAM_ID, 9, owner, custody, mode, authority)


class Books:
    """One worker's books. Messages begin where the accountant meets them: VALIDATED, and final at their source."""

    def __init__(self, store: SqliteStore, *, mode: Mode = "lock", **bridge: Any) -> None:
        self.store = store
        self.clock = Clock()
        self.book = Book(store, NoLease(), self.clock)
        self.settings = BridgeSettings(mode=mode, **bridge)
        self.asset = an_asset(mode)
        engine = NoChain(HeaderChain(store, cast(HeaderSource, None)))
        ground = cast(MirrorGround, BooksGround(store, self.book, self.settings, self.asset, self.clock, engine))
        self.ground = ground
        self.pauses = Pauses(store)
        self.accountant = Accountant(ground, Lots(ground), self.pauses)
        self.operating = Operating(ground, self.accountant, self.pauses)
        self.desk = Desk(store, self.clock)
        self.limits = Limits(store, self.settings, self.clock)
        self._number = 0

    async def open(self) -> None:
        collections = (*MIRROR_COLLECTIONS, *ENGINE_COLLECTIONS, FUND_COINS, LEASES, INTERVALS, NUMBERS)
        await self.store.open(collections)

    @property
    def arriving(self) -> Kind:
        """How tokens come."""
        return Kind.BURN if self.asset.mode == "burn" else Kind.DEPOSIT

    # Messages

    async def deposits(self, *whs: int, kind: Kind = Kind.DEPOSIT, **fields: Any) -> list[Message]:
        """Incoming messages, and lots that are good for them."""
        await self.store.commit([Insert(LOTS, self._lot(wh).document()) for wh in whs])
        return await self._open([self._message(kind, wh, **fields) for wh in whs])

    async def exits(self, origin: Message | None, *whs: int, **fields: Any) -> list[Message]:
        """Exits of certificates of an incoming message."""
        mirrors = {} if origin is None else {"origin": origin.id.hex(), "issuance_id": _issuance(origin)}
        return await self._open([self._message(Kind.EXIT, wh, **{"facts": mirrors, **fields}) for wh in whs])

    def _message(self, kind: Kind, wh: int, **fields: Any) -> Message:
        self._number += 1
        key = self._number.to_bytes(32, "big")
        direction = Direction.OUT if kind is Kind.EXIT else Direction.IN
        asset, now_ms = self.asset.name, self.clock.now_ms
        made = Message(key, direction, kind, asset, wh * UNITS_PER_WH, key * 2, key * 2 + bytes(6), "who", now_ms)
        return replace(made, **{"state": State.VALIDATED, "final_ms": now_ms, **fields})

    async def _open(self, messages: Sequence[Message]) -> list[Message]:
        async with self.book.page() as page:
            return [page.open(each) for each in messages]

    def _lot(self, wh: int) -> Lot:
        self._number += 1
        reading = self._number.to_bytes(16, "big")
        start_ms = _START_MS + self._number * _INTERVAL_MS
        units, secs = wh * UNITS_PER_WH, _INTERVAL_MS // 1000
        return Lot(
            reading.hex(), self._number, reading, "M", DEVICE, ACCOUNT, start_ms, secs, units=units, left=units
        )

    async def read(self, message: Message) -> Message:
        row = await self.store.get(MESSAGES, message.id)
        assert row is not None
        return Message.read(row)

    # What the lanes do

    async def account(self, *messages: Message) -> list[Message]:
        """The messages after the accountant saw them, together."""
        known = [await self.read(each) for each in messages]
        async with self.book.page() as page:
            await self.accountant.account(known, page)
        return [await self.read(each) for each in messages]

    async def sign(self, message: Message, destination_tx: bytes = bytes(32)) -> Message:
        """On its way; an incoming message has its certificate."""
        message = await self.read(message)
        facts = {"issuances": [[_issuance(message), 0, message.wh]]} if message.direction is Direction.IN else {}
        async with self.book.page() as page:
            page.move(message, State.DST_SIGNED, due_ms=None, facts=facts, destination_tx=destination_tx)
        return await self.read(message)

    async def end(self, message: Message) -> Message:
        """Through to its end."""
        message = await self.read(message)
        if message.state not in (State.DST_SIGNED, State.DST_FINAL):
            message = await self.sign(message)
        async with self.book.page() as page:
            page.move(message, State.DST_SEEN)
            page.move(message, State.DST_FINAL)
        message = await self.read(message)
        async with self.book.page() as page:
            await self.accountant.ended([message], page)
            page.move(message, State.REFUNDED if message.is_refund else State.RECEIPTED)
        return await self.read(message)

    async def cross(self, *whs: int) -> list[Message]:
        """Incoming messages, to their end."""
        accounted = await self.account(*await self.deposits(*whs))
        return [await self.end(each) for each in accounted]

    async def hold(self, message: Message, code: Hold = Hold.OPERATOR) -> Message:
        async with self.book.page() as page:
            page.hold(await self.read(message), code, "because")
        return await self.read(message)

    async def refund(self, message: Message) -> Message:
        async with self.book.page() as page:
            await self.accountant.refund(await self.read(message), page)
        return await self.read(message)

    # What people do

    async def pause(self, direction: Direction) -> None:
        async with self.book.page() as page:
            pause(direction, "because", "admin", page)

    async def resume(self, direction: Direction) -> None:
        async with self.book.page() as page:
            resume(direction, "admin", page)

    async def order(self, kind: str, **arguments: Any) -> dict[str, Any]:
        """An order that is carried out at once; raises what it was refused with."""
        asked = await self.desk.ask(kind, {"reason": "because", **arguments}, "admin", 0)
        await self.operating.round()
        return await self.desk.outcome(asked["command"])

    # What the books say

    async def ledger(self) -> Ledger:
        return await read_ledger(self.store, self.asset.name)

    async def outstanding(self, message: Message) -> int | None:
        """Wh; None where there is no row."""
        row = await self.store.get(OUTSTANDING, message.id)
        return None if row is None else row["left"] // UNITS_PER_WH

    async def headroom(self, direction: Direction) -> Headroom:
        return await self.limits.headroom(direction)


def _issuance(message: Message) -> str:
    return f"issuance of {message.id.hex()}"
