"""Hands each notice to those who want it.

Telling never waits: a listener that does not keep up is let go. A notice finds its listeners through the meter or
the wallet that they asked for, so that it costs what those cost who want it, not all who listen. With nobody
listening it is a number that is bumped.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Final

import orjson
import structlog

from bridge.listener import End, Listener, Offer
from bridge.notices import Notice, NoticeKind
from bridge.relay import Relay
from bridge.wants import Place, Wants, is_general, places_of
from config.errors import Busy, ErrorCode, Unavailable
from config.settings import LiveSettings

GOING_AWAY: Final = 1001
TRY_AGAIN: Final = 1013
_LEAVE_SECS: Final = 4.0

log = structlog.get_logger("metawatt.live")


class HubMeasures:
    """`notices` that this process told, by kind, and `refusals` among them by error code. Of its listeners: copies
    of notices that were `queued` for them, and left out (`skipped`, see `Listener.offer`); those that were turned
    away at a bound (`refused`), and those let go because they were `slow`."""

    def __init__(self) -> None:
        self.notices: Counter[NoticeKind] = Counter()
        self.refusals: Counter[str] = Counter()
        self.queued = 0
        self.skipped = 0
        self.refused = 0
        self.slow = 0

    def told(self, notice: Notice) -> None:
        self.notices[notice.kind] += 1
        if notice.kind is NoticeKind.REFUSED:
            self.refusals[notice.body.get("error_code", ErrorCode.BAD_REQUEST.value)] += 1


class Hub:
    """`tell` is this process's `Tell`. With a `relay`, notices of the node's other processes are heard too."""

    def __init__(self, settings: LiveSettings, relay: Relay | None = None) -> None:
        self.measures = HubMeasures()
        self.relay = relay
        self._settings = settings
        self._listeners: dict[Listener, None] = {}
        self._clients: Counter[str] = Counter()
        self._places: dict[Place, set[Listener]] = {}
        self._nobody = asyncio.Event()
        self._nobody.set()
        self._is_over = False

    @property
    def listeners(self) -> int:
        return len(self._listeners)

    def start(self) -> None:
        """Begin to pass notices on, and to hear of those of other processes."""
        if self.relay is not None:
            self.relay.start(self._hand_out)

    async def stop(self) -> None:
        """End all listeners with 1001, and wait a moment for them to leave."""
        self._is_over = True
        for listener in self._listeners:
            listener.end(End(GOING_AWAY, "the node is shutting down"))
        try:
            async with asyncio.timeout(_LEAVE_SECS):
                await self._nobody.wait()
        except TimeoutError:
            log.warning("listeners did not leave in time", listeners=self.listeners)
        if self.relay is not None:
            await self.relay.stop()

    # Telling

    def tell(self, notice: Notice) -> None:
        """Never raises, never waits."""
        self.measures.told(notice)
        if self._listeners:
            self._hand_out(notice)
        if self.relay is not None and self.relay.is_heard:
            self.relay.send(notice)

    def _hand_out(self, notice: Notice) -> None:
        takers = [listener for listener in self._near(notice) if listener.wants.takes(notice)]
        if not takers:
            return
        text = encoded(notice)
        for listener in takers:
            self._count(listener, listener.offer(text, notice.kind))

    def _near(self, notice: Notice) -> list[Listener]:
        if is_general(notice):
            return list(self._listeners)
        return [listener for place in places_of(notice) for listener in self._places.get(place, ())]

    def _count(self, listener: Listener, offer: Offer) -> None:
        if offer is Offer.QUEUED:
            self.measures.queued += 1
        elif offer is Offer.SKIPPED:
            self.measures.skipped += 1
        else:
            self.measures.slow += 1
            listener.end(End(TRY_AGAIN, "too slow: more notices wait than may"))
            self._take_away(listener)

    # Listeners

    def join(self, client: str, wants: Wants) -> Listener:
        """A new listener, which must `leave` in the end; `client` is whose it is. `Busy` at a bound."""
        if self._is_over:
            raise Unavailable("The node is shutting down", ErrorCode.SHUTTING_DOWN)
        if len(self._listeners) >= self._settings.listeners:
            self._refuse("Too many listeners at once")
        if self._clients[client] >= self._settings.listeners_per_client:
            self._refuse("You have too many listeners at once")
        listener = Listener(client, wants, self._settings.queue_notices)
        self._listeners[listener] = None
        self._clients[client] += 1
        self._nobody.clear()
        self._put(listener)
        self._hear_others()
        return listener

    def _refuse(self, reason: str) -> None:
        self.measures.refused += 1
        raise Busy(reason, retry_after_secs=self._settings.heartbeat_secs)

    def change(self, listener: Listener, wants: Wants) -> None:
        """Have a listener hear something else from now on; what waits for it already still comes."""
        if listener.wants != wants:
            self._take_away(listener)
            listener.wants = wants
            if not listener.has_ended:
                self._put(listener)

    def leave(self, listener: Listener) -> None:
        """Forget a listener. A second call does nothing."""
        if listener not in self._listeners:
            return
        del self._listeners[listener]
        self._take_away(listener)
        self._clients[listener.client] -= 1
        if not self._clients[listener.client]:
            del self._clients[listener.client]
        if not self._listeners:
            self._nobody.set()
        self._hear_others()

    def _put(self, listener: Listener) -> None:
        for place in listener.wants.places():
            self._places.setdefault(place, set()).add(listener)

    def _take_away(self, listener: Listener) -> None:
        for place in listener.wants.places():
            there = self._places.get(place)
            if there is not None:
                there.discard(listener)
                if not there:
                    del self._places[place]

    def _hear_others(self) -> None:
        """Other processes are asked for their notices only while somebody listens here."""
        if self.relay is not None:
            self.relay.listen(bool(self._listeners))


def encoded(notice: Notice) -> bytes:
    """A notice as it goes over the wire: JSON, `type` first."""
    return orjson.dumps({"type": notice.kind.value, **notice.body}, default=str)
