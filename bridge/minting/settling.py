"""Settling: what became of the transactions on their way, as far as the chain has made up its mind.

    known, not final   → seen; it may vanish again with its fork
    final, succeeded   → what it did is read back: each reading's units as ordered → minted, else held
    final, failed      → whose fault it was is tried again later, the others at once; minted ones are looked up
    not known          → sent again; or, when it provably cannot land any more, its readings are free again

Nothing here trusts "not found", and nothing but a final transaction, fetched and checked, makes a reading minted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any, Final

import structlog
from solders.signature import Signature
from solders.transaction import VersionedTransaction

from bridge.minting import changes
from bridge.minting.batches import Batches
from bridge.minting.context import Context
from bridge.minting.expiry import Evidence, Verdict, may_be_expired, verdict
from bridge.minting.failure import Share, culprit_of, failed_instruction, shares
from bridge.minting.flights import Flight
from bridge.minting.lookup import Found, Otherwise
from bridge.minting.orders import order_of
from bridge.minting.outcome import Outcome, minted_notice
from bridge.minting.sending import Sending
from bridge.programs.mode import Order
from bridge.records import ATTEMPTS, READINGS, AttemptState, ReadingState
from bridge.solana.rpc import SeenTransaction, Status
from store.port import Document

PAGE: Final = 256
_FETCHES_AT_ONCE: Final = 16
_AT_A_TIME: Final = 64
"""Final transactions that are settled by one commit: others who write meanwhile wait for that long."""
_RECENT_MS: Final = 60_000
"""Younger transactions are in every node's cache; a search of the whole history is asked for older ones."""

log = structlog.get_logger("metawatt.minting")


class Settling:
    """One pass over the flights that this process knows."""

    def __init__(self, context: Context, sending: Sending, batches: Batches) -> None:
        self._context = context
        self._sending = sending
        self._batches = batches
        self._fetches = asyncio.Semaphore(_FETCHES_AT_ONCE)

    async def settle(self) -> None:
        """Raises `Unavailable` when the cluster does not answer, `Lost` when another one holds the lease; what was
        settled before stays so."""
        flights = list(self._context.flights)
        if not flights:
            return
        final_slot = await self._context.rpc.slot()
        asked = [flight for flight in flights if _is_worth_asking(flight, final_slot)]
        for start in range(0, len(asked), PAGE):
            await self._page(asked[start : start + PAGE])

    async def _page(self, flights: Sequence[Flight]) -> None:
        # The height is asked before the statuses: what is not found is then not found at that height, or later.
        height = await self._context.rpc.block_height()
        statuses = await self._statuses(flights)
        missing = [flight for flight, status in zip(flights, statuses, strict=True) if status is None]
        known = [(flight, status) for flight, status in zip(flights, statuses, strict=True) if status is not None]
        final = [flight for flight, status in known if status.commitment == "finalized"]
        await self._see([each for each in known if each[1].commitment != "finalized"])
        for start in range(0, len(final), _AT_A_TIME):
            await self._finish(final[start : start + _AT_A_TIME])
        await self._miss(missing, height)

    async def _statuses(self, flights: Sequence[Flight]) -> list[Status | None]:
        now_ms = self._context.now_ms()
        # One of a clock that was ahead is of unknown age.
        history = any(not 0 <= now_ms - flight.open_ms <= _RECENT_MS for flight in flights)
        return await self._context.rpc.statuses([flight.signature for flight in flights], history=history)

    # Seen

    async def _see(self, known: Sequence[tuple[Flight, Status]]) -> None:
        moved = list[Flight]()
        for flight, status in known:
            if status.commitment == "confirmed" and not flight.is_confirmed:
                flight.is_confirmed = True
                if status.error is None:
                    self._context.measures.confirmed(flight.rows, self._context.now_ms())
            if flight.slot != status.slot:
                flight.slot, flight.state = status.slot, AttemptState.SEEN
                moved.append(flight)
        await self._record(moved)

    async def _record(self, flights: Sequence[Flight]) -> None:
        if flights:
            await self._context.commit([changes.attempt_at(each, each.state, each.slot) for each in flights])

    # Final

    async def _finish(self, known: Sequence[Flight]) -> None:
        flights = await self._unsettled(known)
        fetched = dict(zip(flights, await asyncio.gather(*map(self._fetch, flights)), strict=True))
        async with self._context.turn:
            ends = list[tuple[Flight, Outcome]]()
            for flight in await self._unsettled(flights):
                seen = fetched[flight]
                outcome = None if seen is None else await self._judged(flight, seen)
                if outcome is not None:
                    ends.append((flight, outcome))
            await self._conclude(ends)

    async def _unsettled(self, flights: Sequence[Flight]) -> list[Flight]:
        """Those that nobody has settled yet. Mostly the event processor is first: it hears of finality at once."""
        stored = await self._context.store.get_many(ATTEMPTS, [flight.key for flight in flights]) if flights else {}
        unsettled = list[Flight]()
        for flight in flights:
            if flight.key in stored and stored[flight.key]["open_ms"] is None:
                await self._overtaken(flight)
            else:
                unsettled.append(flight)
        return unsettled

    async def _fetch(self, flight: Flight) -> SeenTransaction | None:
        """None when the cluster does not have it at hand: it is asked again in the next round, and told of in
        `/health` when that goes on (health.py)."""
        async with self._fetches:
            return await self._context.rpc.transaction(flight.signature)

    async def _judged(self, flight: Flight, seen: SeenTransaction) -> Outcome | None:
        """What a final transaction means for its readings; None when more has to be known first."""
        orders = [order_of(row) for row in flight.rows]
        if seen.error is not None:
            return await self._blamed(flight, orders, seen.error, seen.slot)
        outcome = self._context.outcome()
        minted = self._context.mode.minted(orders, seen)
        for row, order in zip(flight.rows, orders, strict=True):
            units = minted.get(order.key)
            if units == order.units:
                outcome.mint(row, flight.signature, seen.slot)
            elif units is not None:
                outcome.hold(row, f"{flight.signature} minted {units} base units, not {order.units}")
            elif not await self._looked_up(outcome, row, order):
                return None
        outcome.end(flight, AttemptState.FINAL, seen.slot)
        return outcome

    async def _looked_up(self, outcome: Outcome, row: Document, order: Order) -> bool:
        """Ask the guard's history what minted a reading; False when the cluster does not tell yet. A way to mint
        may let a repetition succeed without minting."""
        match await self._context.lookup.minting_of(order):
            case Found(signature, slot) if bytes(signature) != row["attempt"]:
                outcome.find(row, signature, slot)
            case Otherwise(reason):
                outcome.hold(row, reason)
            case _:
                # Also when it is this very transaction, which was not to be found a moment ago.
                return False
        return True

    async def _blamed(
        self, flight: Flight, orders: Sequence[Order], error: Any, slot: int | None
    ) -> Outcome | None:
        """The shares of a transaction that failed, on the chain or, provably never sent on, in preflight."""
        self._context.ground.doubt(orders)
        guarded = [index for index, there in enumerate(await self._context.ground.guarded(orders)) if there]
        outcome = self._context.outcome()
        named = [self._context.mode.guard(order) for order in orders]
        culprit = culprit_of(error, VersionedTransaction.from_bytes(flight.raw), named)
        for row, order, share in zip(flight.rows, orders, shares(len(orders), culprit, guarded), strict=True):
            match share:
                case Share.MINTED:
                    if not await self._looked_up(outcome, row, order):
                        return None
                case Share.FAILED:
                    outcome.fail(row, f"{flight.signature}: {error}")
                case Share.AGAIN | Share.ALONE:
                    outcome.again(row, alone=share is Share.ALONE)
        log.warning("a transaction failed", transaction=str(flight.signature), error=error)
        outcome.end(flight, AttemptState.FAILED, slot, error)
        return outcome

    # Not known

    async def _miss(self, flights: Sequence[Flight], height: int) -> None:
        for flight in flights:
            if flight.slot is not None:
                log.warning("a transaction was seen, and is no longer", transaction=str(flight.signature))
                flight.vanished()
        lapsed = [each for each in flights if may_be_expired(each.last_valid_block_height, height)]
        await self._expire(lapsed, height)
        now_ms = self._context.now_ms()
        late = [
            flight
            for flight in flights
            if height <= flight.last_valid_block_height and flight.is_to_be_sent(now_ms)
        ]
        if late:
            await self._sending.send(late)

    async def _expire(self, flights: Sequence[Flight], height: int) -> None:
        if not flights:
            return
        # The history is searched once more, in both ways that the cluster offers; the guards are asked for last.
        searched = await self._context.rpc.statuses([flight.signature for flight in flights], history=True)
        ends = list[tuple[Flight, Outcome]]()
        for flight, status in zip(flights, searched, strict=True):
            seen = await self._fetch(flight)
            if seen is not None:
                outcome = await self._judged(flight, seen)
            else:
                outcome = await self._given_up(flight, height, is_in_history=status is not None)
            if outcome is not None:
                ends.append((flight, outcome))
        await self._conclude(ends)

    async def _given_up(self, flight: Flight, height: int, *, is_in_history: bool) -> Outcome | None:
        """The readings of a transaction that cannot land any more; None while it may."""
        orders = [order_of(row) for row in flight.rows]
        guarded = await self._context.ground.guarded(orders)
        evidence = Evidence(flight.last_valid_block_height, height, is_in_history, sum(guarded))
        found = verdict(evidence)
        if found is Verdict.WAIT:
            return None
        if failed_instruction(flight.refusal) is not None:
            return await self._blamed(flight, orders, flight.refusal, None)
        outcome = self._context.outcome()
        for row, order, is_guarded in zip(flight.rows, orders, guarded, strict=True):
            if not is_guarded:
                outcome.again(row, error="its transaction expired before it was taken into a block")
            elif not await self._looked_up(outcome, row, order):
                return None
        outcome.end(flight, AttemptState.EXPIRED, error=flight.refusal)
        return outcome

    # The end

    async def _conclude(self, ends: Iterable[tuple[Flight, Outcome]]) -> None:
        """Commit what was found out, all at once; where another worker was first with some, each by itself."""
        listed = list(ends)
        if not listed:
            return
        writes = [write for _, outcome in listed for write in outcome.writes]
        is_committed = await self._context.commit(writes)
        for flight, outcome in listed:
            if is_committed or await self._context.commit(outcome.writes):
                self._over(flight, outcome)
            else:
                await self._overtaken(flight)

    def _over(self, flight: Flight, outcome: Outcome) -> None:
        self._context.flights.drop(flight)
        outcome.publish(self._context.tell, self._context.measures)
        self._batches.over(flight.batch, len(outcome.minted), len(flight.rows))

    async def _overtaken(self, flight: Flight) -> None:
        """Another one settled this flight, or moved one of its readings: see what the store says now."""
        waiting = flight.rows
        document = await self._context.flights.reload(flight)
        if document is None or document["open_ms"] is not None:
            return
        rows = await self._context.store.get_many(READINGS, list(flight.keys))
        minted = [
            rows[row["_id"]]
            for row in waiting
            if row["_id"] in rows and rows[row["_id"]]["state"] == ReadingState.MINTED
        ]
        self._context.measures.transactions[document["state"]] += 1
        self._context.measures.minted(minted, self._context.now_ms())
        for row in minted:
            self._context.tell(minted_notice(row, Signature.from_bytes(row["attempt"]), row["slot"]))
        self._batches.over(flight.batch, len(minted), len(waiting))


def _is_worth_asking(flight: Flight, final_slot: int) -> bool:
    """A transaction that is confirmed in a slot that is not final yet has nothing new to tell."""
    return not flight.is_confirmed or flight.slot is None or flight.slot <= final_slot
