"""Parity: what both chains hold, what is between them, and whether it adds up, to the base unit (I6).

It is computed from the chains, and not from the ledger, which is held against it:

    Solana     the custody account at one final slot, or, where tokens are burned, what was burned and minted
    BSV        mirrored certificates, by the overlay's own outputs
    between    open messages, each by whether its transactions are there

The parts of a reading belong to one moment: the book is held while it is made, so that no message moves and no
transaction of the bridge's is admitted; what Solana's chain knows ahead of the books is told apart. Should
something have moved all the same, the reading is made again. A difference is believed only when it stays, with
everything read anew from the first row on, and, where the worker can, with Solana's history read once more from
where parity was exact: an endpoint that left a transaction out of a history is not found out otherwise.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Final, TypeAlias

import structlog

from bridge.mirror.alarms import Alarm, Alarms
from bridge.mirror.book import HEAD, head_of
from bridge.mirror.books.accounting import read_ledger
from bridge.mirror.ground import MirrorGround
from bridge.mirror.message import UNITS_PER_WH
from bridge.mirror.parity.between import admitted, between, payments, unwithdrawn_units
from bridge.mirror.parity.figures import Between, ParityFigures, against_ledger
from bridge.mirror.parity.mirrored import MirroredCoins
from bridge.mirror.parity.open_messages import OpenMessages
from bridge.mirror.parity.solana_side import Moving, SolanaReading, SolanaSide
from bridge.mirror.parity.watchful import Watchful
from bridge.mirror.records import INBOX, MIRROR
from bridge.mirror.states import Direction, Hold
from store.pages import every
from store.port import Document, Find, Put, Reader

_TRIES: Final = 20
_PAUSE_SECS: Final = 0.1
_DOUBTS: Final = 4
"""So often a difference must be read before everything is read anew."""
_READING_SECS: Final = 15.0
"""The book is held for no longer."""

log = structlog.get_logger("metawatt.mirror")


def figures_key(asset: str) -> str:
    """The key in `records.MIRROR` of the figures that were read last."""
    return f"parity:{asset}"


async def last_figures(reader: Reader, asset: str) -> ParityFigures | None:
    """The figures that the worker read last, for any process; None before the first."""
    row = await reader.get(MIRROR, figures_key(asset))
    return None if row is None else ParityFigures.read(row)


LookAgain: TypeAlias = Callable[[int], Awaitable[None]]
"""Has the event processor read Solana's history once more from a slot on. Raises `Unavailable`."""


def exact_key(asset: str) -> str:
    """The key in `records.MIRROR` of the `slot` at which parity was last exact."""
    return f"exact:{asset}"


class Parity:
    """Of one asset. `figures` are the last of this process."""

    def __init__(self, ground: MirrorGround, look_again: LookAgain | None = None) -> None:
        self._look_again = look_again
        self.figures: ParityFigures | None = None
        self._ground = ground
        self._store = ground.store
        self._asset = ground.asset.name
        self._open = OpenMessages(ground.store)
        self._coins = MirroredCoins(ground)
        self._solana = SolanaReading(ground)
        self._alarms = Alarms(ground)
        self._watchful = Watchful(ground, self._alarms)
        # One reading at a time: the parts remember how far they have read.
        self._turn = asyncio.Lock()

    async def compute(self) -> ParityFigures:
        """The figures of this moment. Raises `Unavailable` while a chain does not tell, or nothing stands still for
        long enough."""
        async with self._turn:
            return (await self._compute())[0]

    async def latest(self) -> ParityFigures | None:
        """Those that the worker read last; None before the first."""
        return await last_figures(self._store, self._asset)

    async def watch(self) -> int:
        """One look: compute, store the figures, and raise the alarms that they call for; how many are new. To be
        called again and again by the worker alone. Raises `Unavailable`, `Lost`."""
        await self._watchful.look_around()
        figures, side, lost = await self._looked()
        if not figures.is_exact and self._look_again is not None:
            row = await self._store.get(MIRROR, exact_key(self._asset))
            await self._look_again(0 if row is None else row["slot"])
            figures, side, lost = await self._looked()
        await self._store.commit([Put(MIRROR, {"_id": figures_key(self._asset), **figures.document()})])
        return await self._watchful.alarms_of(side, lost) + await self._judge(figures)

    async def _looked(self) -> tuple[ParityFigures, SolanaSide, list[bytes]]:
        async with self._turn:
            figures, side = await self._compute()
            return figures, side, [each.id for each in self._open if each.reason is Hold.SOURCE_LOST]

    async def _judge(self, figures: ParityFigures) -> int:
        if figures.is_exact:
            await self._store.commit([Put(MIRROR, {"_id": exact_key(self._asset), "slot": figures.slot})])
            await self._alarms.clear(Alarm.PARITY_BREACHED, self._asset, figures.verdict)
            return 0
        return await self._alarms.raise_for(Alarm.PARITY_BREACHED, self._asset, figures.verdict)

    # Readings

    async def _compute(self) -> tuple[ParityFigures, SolanaSide]:
        doubts = 0
        for _ in range(_TRIES):
            try:
                figures, side = await self._reading()
            except Moving as moving:
                log.debug("parity is read again", reason=moving.message)
                await asyncio.sleep(_PAUSE_SECS)
                continue
            self.figures = figures
            if figures.is_exact or doubts > _DOUBTS:
                return figures, side
            doubts += 1
            if doubts == _DOUBTS:
                self._forget()
            await asyncio.sleep(_PAUSE_SECS)
        raise Moving("the chains or the books do not stand still for long enough")

    def _forget(self) -> None:
        """Believe nothing that was read before."""
        self._coins.forget()
        self._solana.movements.forget()
        self._open.forget()

    async def _reading(self) -> tuple[ParityFigures, SolanaSide]:
        # What takes long is read before: then little is left to read while the book is held.
        await self._coins.read_on()
        await self._solana.read_on()
        await self._open.catch_up()
        try:
            async with self._ground.book.page(), asyncio.timeout(_READING_SECS):
                return await self._at_one_moment()
        except TimeoutError:
            raise Moving("a reading takes too long") from None

    async def _at_one_moment(self) -> tuple[ParityFigures, SolanaSide]:
        head = head_of(await self._store.get(MIRROR, HEAD))
        await self._open.catch_up()
        inbox = await every(self._store, INBOX, Find("lane", {"lane": Direction.IN.value}))
        side = await self._solana.read({row["_id"] for row in inbox})
        figures = await self._figures(side, inbox, head.number)
        if head_of(await self._store.get(MIRROR, HEAD)) != head:
            raise Moving("another process wrote into the book")
        return figures, side

    async def _figures(self, side: SolanaSide, inbox: Sequence[Document], entries: int) -> ParityFigures:
        landed = await self._solana.landed(payments(self._open), side.slot)
        coins = await self._coins.coins()
        on_bsv = await admitted(self._open, self._store)
        came = sum(row["units"] for row in inbox if row["slot"] <= side.slot)
        middle = between(self._open, came, on_bsv, landed, await unwithdrawn_units(self._store))
        figures = self._told(side, coins.wh, middle, entries)
        ledger = await read_ledger(self._store, self._asset)
        findings = against_ledger(ledger, figures.tokens, coins.wh * UNITS_PER_WH, middle)
        return replace(figures, findings=tuple(findings))

    def _told(self, side: SolanaSide, coins_wh: int, middle: Between, entries: int) -> ParityFigures:
        is_lock = self._ground.asset.mode == "lock"
        leaving = middle.leaving + middle.unwithdrawn
        return ParityFigures(
            at_ms=self._ground.now_ms(),
            mode=self._ground.asset.mode,
            slot=side.slot,
            height=self._ground.engine.headers.tip_height,
            entries=entries,
            custody=side.custody if is_lock else 0,
            supply=side.supply,
            burned=0 if is_lock else side.burned,
            minted=0 if is_lock else side.minted,
            coins_wh=coins_wh,
            live=coins_wh * UNITS_PER_WH - leaving,
            in_flight_in=middle.in_flight_in,
            in_flight_out=middle.leaving - middle.landed_out,
            held=middle.held,
        )
