"""Provenance: messages draw lots, first in first out, and give them back.

    automatic   the lot of its own reading, whole, or held
    deposit,    from the front of the line, as many lots as it takes; a lot whose interval the registry issued
    burn        otherwise leaves the line for good, and the next is taken
    refund      what was taken goes back to where it was in line; an automatic message's own lot comes into the
                line, for its tokens are a holder's then
    exit        its energy is a lot again, by the slot of its release

A message that finds the line too short takes nothing, and holds up nobody. It is looked at again for a moment, and
as long as exits of before are on their way, whose tokens may be back here before their lots are: the chain is read
in several walks, of which one may be ahead. Then it is held.

A lot that its device's registration allows no certificate of is passed over, too, as long as that is so: whoever
came to draw it would be held, and after his refund the next one.

Nothing is issued for an interval that is not over, and a meter may tell of one as soon as it has begun: until then
such a lot is passed over, and keeps its place in line. Who cannot do without it waits for its interval's end.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias

import structlog

from bridge.mirror.book import Page
from bridge.mirror.ground import MirrorGround
from bridge.mirror.message import UNITS_PER_WH, Message
from bridge.mirror.provenance.lots import Lot, drawn, key_of_reading, lot_of_exit
from bridge.mirror.records import LOTS, MESSAGES, RELEASES
from bridge.mirror.states import Hold, Kind, State
from energytag.intervals import issued_elsewhere
from store.port import Find, Insert, Reader, Write
from store.values import INT64_MAX

PATIENCE_MS: Final = 5_000
"""How long a message may lack provenance before it is held."""
_LOOK_AGAIN_MS: Final = 500
_AT_ONCE: Final = 128
_LOOKED_AT: Final = 500


log = structlog.get_logger("metawatt.mirror")


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a message gets no lots."""

    code: Hold
    text: str


@dataclass(frozen=True, slots=True)
class Wait:
    """Lots whose interval goes on until then."""

    until_ms: int


FaultsOf: TypeAlias = Callable[[Sequence[Lot]], Awaitable[Sequence[str | None]]]
"""Why nothing may be issued of lots, for people; None of those that nothing is against."""

Draw = list[tuple[Lot, int]] | Refusal | Wait
"""Lots as they were, and how many Wh were taken of each."""


@dataclass(slots=True)
class Line:
    """The lots that one page knows, as it leaves them: read once, taken and given back here, written together. What
    is given back stands in line from the next page on."""

    reader: Reader
    faults_of: FaultsOf
    known: dict[str, Lot] = field(default_factory=dict)
    _faults: dict[str, str] = field(default_factory=dict)
    _front: list[str] = field(default_factory=list)
    _after: tuple[bytes | str | int | None, ...] | None = None
    _is_whole: bool = False
    _changed: set[str] = field(default_factory=set)

    async def know(self, keys: Iterable[str]) -> None:
        """Read lots, wherever they are."""
        unknown = [key for key in dict.fromkeys(keys) if key not in self.known]
        if unknown:
            found = await self.reader.get_many(LOTS, unknown)
            self.known |= {lot.key: lot for lot in map(Lot.read, found.values())}

    def put(self, lot: Lot) -> None:
        """A known lot, changed."""
        self.known[lot.key] = lot
        self._changed.add(lot.key)

    async def draw(self, wh: int, most: int, now_ms: int) -> Draw:
        """Take so many Wh from the front, of `most` lots; nothing is taken where that does not do. Lots whose
        interval goes on, or of which nothing may be issued, are passed over, and keep their place."""
        taken: list[tuple[Lot, int]] = []
        going_on: list[Lot] = []
        missing, place = wh, 0
        while missing and len(taken) < most:
            if place == len(self._front):
                if not await self._read_on():
                    return self._short(wh, missing, going_on)
                continue
            lot = self.known[self._front[place]]
            place += 1
            if lot.interval_ms[1] > now_ms:
                going_on.append(lot)
                continue
            if lot.key in self._faults:
                continue
            taken.append((lot, min(missing, lot.wh)))
            missing -= taken[-1][1]
        if missing:
            text = f"it is of more than {most} readings; {most} of them have {wh - missing} Wh"
            return Refusal(Hold.FRAGMENTED, text)
        self._take(taken, place)
        return taken

    def _take(self, taken: Sequence[tuple[Lot, int]], place: int) -> None:
        """`place` is how far the line was looked at."""
        for lot, part in taken:
            self.put(lot.less(part))
        standing = [key for key in self._front[:place] if self.known[key].place is not None]
        self._front = standing + self._front[place:]

    async def _read_on(self) -> bool:
        """More of the line, of which nothing may be left to draw; False at its end."""
        if self._is_whole:
            return False
        page = await self.reader.find(LOTS, Find("free", limit=_AT_ONCE, after=self._after))
        self._after, self._is_whole = page.last, page.last is None
        lots = [Lot.read(row) for row in page.documents]
        new = [lot for lot in lots if lot.key not in self.known]
        self.known |= {lot.key: lot for lot in new}
        await self.sort_out(new)
        faults = await self.faults_of(new) if new else ()
        self._faults |= {lot.key: fault for lot, fault in zip(new, faults, strict=True) if fault is not None}
        self._front += [lot.key for lot in lots if self.known[lot.key].place is not None]
        return True

    async def sort_out(self, lots: Sequence[Lot]) -> None:
        """Mark those whose interval was issued otherwise."""
        claims = [(lot.series, lot.interval_ms) for lot in lots]
        elsewhere = await issued_elsewhere(self.reader, claims) if claims else []
        for lot, is_elsewhere in zip(lots, elsewhere, strict=True):
            if is_elsewhere and not lot.is_elsewhere:
                self.put(replace(lot, is_elsewhere=True))

    def _short(self, wh: int, missing: int, going_on: Sequence[Lot]) -> Refusal | Wait:
        """What a line that is too short means: lots whose interval goes on may do when that is over."""
        if sum(lot.wh for lot in going_on) >= missing:
            return Wait(min(lot.interval_ms[1] for lot in going_on))
        text = f"of {wh} Wh no reading is on record for {missing} Wh"
        if self._faults:
            text += f"; of {len(self._faults)} lots nothing may be issued: {next(iter(self._faults.values()))}"
        return Refusal(Hold.PROVENANCE_LACKING, text)

    def writes(self) -> list[Write]:
        """What changed since the last call."""
        writes: list[Write] = []
        for key in sorted(self._changed):
            lot = self.known[key]
            writes.append(lot.change())
            self.known[key] = replace(lot, rev=lot.rev + 1)
        self._changed.clear()
        return writes


async def no_faults(lots: Sequence[Lot]) -> Sequence[str | None]:
    """Everything may be issued."""
    return [None] * len(lots)


class Lots:
    """Implements `ports.Provenance`."""

    def __init__(self, ground: MirrorGround, faults_of: FaultsOf = no_faults) -> None:
        self._store = ground.store
        self._most = ground.bridge.lots_per_message
        self._page: Page | None = None
        self._faults_of = faults_of
        self._line = Line(ground.store, faults_of)
        self._oldest_exit_ms: int | None = None

    async def allocate(self, messages: Sequence[Message], page: Page) -> list[Message]:
        """In the order of the messages. One that has its lots already, from before, keeps them."""
        line = self._line_of(page)
        await self._know_own(messages, line)
        allocated: list[Message] = []
        for message in messages:
            if drawn(message):
                allocated.append(message)
                continue
            got = await self._draw(message, line, page.now_ms)
            if isinstance(got, Refusal):
                await self._refuse(message, got, page)
            elif isinstance(got, Wait):
                page.put_off(message, got.until_ms)
            else:
                lots = [[lot.key, wh * UNITS_PER_WH] for lot, wh in got]
                allocated.append(message.with_facts({"lots": lots}))
        page.write(*line.writes())
        return allocated

    async def released(self, messages: Sequence[Message], page: Page) -> None:
        """Also of a message that took none: an automatic one's own lot."""
        line = self._line_of(page)
        await line.know(key for message in messages for key in _keys_of(message))
        for message in messages:
            for key, units in drawn(message):
                line.put(line.known[key].more(units))
            for key in _own_key(message):
                if key in line.known:
                    line.put(replace(line.known[key], is_reserved=False))
        page.write(*line.writes())

    async def returned(self, message: Message) -> list[Write]:
        """Of the lot that the certificate's issuance took in the message that it mirrors. Nothing for an issuance
        that is not that message's: somebody else's, with a copied origin."""
        came = await self._store.get(MESSAGES, bytes.fromhex(message.facts["origin"]))
        key = None if came is None else _lot_of_issuance(Message.read(came), message.facts["issuance_id"])
        row = None if key is None else await self._store.get(LOTS, key)
        if row is None:
            log.error("an exit without provenance", message=message.id.hex(), issuance=message.facts["issuance_id"])
            return []
        return [Insert(LOTS, lot_of_exit(message, Lot.read(row), message.facts["slot"]).document(), keep=True)]

    def _line_of(self, page: Page) -> Line:
        """One line for all that is asked with a page; what another page did is read anew."""
        if self._page is not page:
            self._page, self._line, self._oldest_exit_ms = page, Line(self._store, self._faults_of), None
        return self._line

    async def _know_own(self, messages: Sequence[Message], line: Line) -> None:
        """The lots of automatic messages, all in one trip."""
        keys = [key for message in messages for key in _own_key(message)]
        await line.know(keys)
        await line.sort_out([line.known[key] for key in keys if key in line.known])

    async def _draw(self, message: Message, line: Line, now_ms: int) -> Draw:
        if message.units % UNITS_PER_WH:
            return Refusal(Hold.DUST, f"{message.units} base units are no whole number of Wh")
        if message.kind is Kind.AUTOMATIC:
            return _own(message, line, now_ms)
        return await line.draw(message.wh, self._most, now_ms)

    async def _refuse(self, message: Message, why: Refusal, page: Page) -> None:
        if why.code is Hold.PROVENANCE_LACKING and await self._may_come(message, page.now_ms):
            page.put_off(message, page.now_ms + _LOOK_AGAIN_MS)
        else:
            page.hold(message, why.code, why.text)

    async def _may_come(self, message: Message, now_ms: int) -> bool:
        """Whether lots may be under way that it could draw; an automatic message's own came with it."""
        if message.kind is Kind.AUTOMATIC:
            return False
        if now_ms < message.created_ms + PATIENCE_MS:
            return True
        if self._oldest_exit_ms is None:
            self._oldest_exit_ms = await self._oldest_in_flight()
        return self._oldest_exit_ms < message.created_ms

    async def _oldest_in_flight(self) -> int:
        """When the oldest exit began whose tokens are on their way, or there without being a lot yet; far ahead
        when there is none."""
        flights = (await self._store.find(RELEASES, Find("open", limit=_LOOKED_AT))).documents
        keys = list(dict.fromkeys(key for row in flights for key in row["messages"]))
        final = await self._store.find(MESSAGES, Find("state", {"state": State.DST_FINAL.value}, limit=_LOOKED_AT))
        rows = [*(await self._store.get_many(MESSAGES, keys)).values(), *final.documents]
        exits = (row["created_ms"] for row in rows if row["kind"] == Kind.EXIT and not row["is_refund"])
        return min(exits, default=INT64_MAX)


def _own(message: Message, line: Line, now_ms: int) -> Draw:
    """An automatic message's own lot."""
    lot = next((line.known[key] for key in _own_key(message) if key in line.known), None)
    if lot is None:
        return Refusal(
            Hold.PROVENANCE_LACKING, "its meter is no device of an account, or its reading is not on record"
        )
    if lot.is_elsewhere:
        return Refusal(
            Hold.ISSUED_ELSEWHERE, f"the registry issued for the interval of meter {lot.meter} otherwise"
        )
    if lot.wh < message.wh:
        return Refusal(Hold.PROVENANCE_LACKING, f"its reading has {lot.wh} Wh left, not {message.wh} Wh")
    if lot.interval_ms[1] > now_ms:
        return Wait(lot.interval_ms[1])
    line.put(lot.less(message.wh))
    return [(lot, message.wh)]


def _own_key(message: Message) -> list[str]:
    """The key of an automatic message's own lot; none for others."""
    if message.kind is not Kind.AUTOMATIC:
        return []
    return [key_of_reading(bytes.fromhex(each)) for each in message.facts["readings"][:1]]


def _keys_of(message: Message) -> list[str]:
    return [*(key for key, _ in drawn(message)), *_own_key(message)]


def _lot_of_issuance(message: Message, issuance_id: str) -> str | None:
    """Of the lots that a message took: its certificates are of one lot each, in the lots' order."""
    for (key, _), issuance in zip(drawn(message), message.facts.get("issuances", ()), strict=False):
        if issuance[0] == issuance_id:
            return key
    return None
