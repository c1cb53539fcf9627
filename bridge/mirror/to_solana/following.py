"""Following: what became of the releases on their way, as far as the chain has made up its mind.

    known, not final   → DST_SEEN; it may vanish again with its fork, and is DST_SENT then
    final, succeeded   → what it did is read back: each message's units, where they belong → DST_FINAL, else held
    final, failed      → whose fault it was is tried again alone, the others at once; who fails alone is held
    not known          → sent again; or, when it provably cannot land any more, its messages are free again

Nothing here trusts "not found", and nothing but a final transaction, fetched and checked, ends a release. Where
there are witnesses, each of them must tell that it is final.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, TypeAlias

from solders.transaction import VersionedTransaction

from bridge.minting.expiry import Verdict, may_be_expired, verdict
from bridge.minting.failure import Share, culprit_of, failed_instruction, shares
from bridge.minting.lookup import Found
from bridge.mirror.book import Page
from bridge.mirror.message import Message
from bridge.mirror.states import Hold, State
from bridge.mirror.to_solana.context import ReleaseContext, free, hold, log, paid, waiting
from bridge.mirror.to_solana.crossings import crossings_of
from bridge.mirror.to_solana.expiry import evidence_of
from bridge.mirror.to_solana.failure import is_recipients
from bridge.mirror.to_solana.flights import Flight
from bridge.mirror.to_solana.releases import Releases
from bridge.programs.release import Crossing
from bridge.records import AttemptState
from bridge.solana.rpc import SeenTransaction, SolanaRpc, Status
from config.errors import Unavailable

PAGE: Final = 256
_AT_A_TIME: Final = 64
"""Final transactions that are settled by one page: others who write meanwhile wait for that long."""
_FETCHES_AT_ONCE: Final = 16
_RECENT_MS: Final = 60_000
"""Younger transactions are in every node's cache; a search of the whole history is asked for older ones."""
_FIRST_PAUSE_MS: Final = 1_000
_LONGEST_PAUSE_MS: Final = 64_000


Step: TypeAlias = Callable[[Page, Message], None]


@dataclass(slots=True)
class Ending:
    """What was found out about a flight: how it ended, and what that means for each of its messages, by their
    ids."""

    flight: Flight
    state: AttemptState
    slot: int | None = None
    error: Any = None
    steps: dict[bytes, Step] = field(default_factory=dict)

    def write(self, page: Page) -> None:
        """Messages that no longer wait for it are left as they are."""
        page.write(self.flight.over(self.state, self.slot, self.error))
        for message in self.flight.messages:
            if (step := self.steps.get(message.id)) is not None:
                step(page, message)


class Following:
    """One pass over the flights that this process knows."""

    def __init__(self, context: ReleaseContext, releases: Releases) -> None:
        self._context = context
        self._ground = context.ground
        self._releases = releases
        self._fetches = asyncio.Semaphore(_FETCHES_AT_ONCE)
        self._moved = 0

    async def follow(self) -> int:
        """How many messages moved. Raises `Unavailable` when the cluster does not answer, `Lost` when another one
        has the lease; what was settled before stays so."""
        self._moved = 0
        await self._context.flights.refresh()
        if not len(self._context.flights):
            return 0
        final_slot = await self._ground.rpc.slot()
        asked = [flight for flight in self._context.flights if _is_worth_asking(flight, final_slot)]
        for start in range(0, len(asked), PAGE):
            await self._page(asked[start : start + PAGE])
        return self._moved

    async def _page(self, flights: Sequence[Flight]) -> None:
        # The height is asked before the statuses: what is not found is then not found at that height, or later.
        height = await self._ground.rpc.block_height()
        statuses = await self._statuses(self._ground.rpc, flights)
        known = [(flight, status) for flight, status in zip(flights, statuses, strict=True) if status is not None]
        missing = [flight for flight, status in zip(flights, statuses, strict=True) if status is None]
        final = [each for each in known if each[1].commitment == "finalized"]
        await self._see([each for each in known if each[1].commitment != "finalized"])
        await self._finish(await self._witnessed(final))
        await self._miss(missing, height)

    async def _statuses(self, rpc: SolanaRpc, flights: Sequence[Flight]) -> list[Status | None]:
        now_ms = self._ground.now_ms()
        # One of a clock that was ahead is of unknown age.
        history = any(not 0 <= now_ms - flight.open_ms <= _RECENT_MS for flight in flights)
        return await rpc.statuses([flight.signature for flight in flights], history=history)

    # Seen

    async def _see(self, known: Sequence[tuple[Flight, Status]]) -> None:
        changed: list[Flight] = []
        for flight, status in known:
            flight.is_confirmed |= status.commitment == "confirmed"
            if flight.slot != status.slot:
                flight.slot, flight.state = status.slot, AttemptState.SEEN
                changed.append(flight)
        failed = {flight.key for flight, status in known if status.error is not None}
        await self._context.each(changed, partial(self._seen, failed=failed))

    async def _seen(self, flights: Sequence[Flight], failed: set[bytes]) -> bool:
        """Messages of one that failed stay as they are: its fork may vanish, and it may succeed on the next."""

        def fill(page: Page) -> None:
            for flight in flights:
                page.write(flight.told())
                if flight.key not in failed:
                    self._move(page, flight, (State.DST_SIGNED, State.DST_SENT), State.DST_SEEN)

        return await self._context.write(flights, fill)

    def _move(self, page: Page, flight: Flight, states: Sequence[State], to: State) -> None:
        for message in waiting(flight, states):
            page.move(message, to, due_ms=None)
            self._moved += 1

    # Final

    async def _witnessed(self, known: Sequence[tuple[Flight, Status]]) -> list[Flight]:
        """Those of which every witness tells the same."""
        found = list(known)
        for witness in self._ground.witnesses:
            told = await self._statuses(witness, [flight for flight, _ in found]) if found else []
            pairs = zip(found, told, strict=True)
            found = [each for each, status in pairs if status is not None and self._agree(*each, status)]
        return [flight for flight, _ in found]

    def _agree(self, flight: Flight, one: Status, other: Status) -> bool:
        """Whether a witness tells the same end, in the same slot. Where it tells another one, nothing is done until
        they agree."""
        if other.commitment != "finalized":
            return False
        is_same = (one.slot, one.error is None) == (other.slot, other.error is None)
        if not is_same and not flight.is_disputed:
            flight.is_disputed = True
            self._context.counts["disputed"] += 1
            log.error("a witness tells another end of a release", transaction=str(flight.signature))
        return is_same

    async def _finish(self, flights: Sequence[Flight]) -> None:
        for start in range(0, len(flights), _AT_A_TIME):
            some = flights[start : start + _AT_A_TIME]
            seen = await asyncio.gather(*map(self._fetch, some))
            found = [(flight, each) for flight, each in zip(some, seen, strict=True) if each is not None]
            endings = [await self._judged(flight, each) for flight, each in found]
            await self._conclude([each for each in endings if each is not None])

    async def _fetch(self, flight: Flight) -> SeenTransaction | None:
        """None when the cluster does not have it at hand: it is asked again in the next round."""
        async with self._fetches:
            return await self._ground.rpc.transaction(flight.signature)

    async def _payments(self, flight: Flight) -> list[tuple[Message, Crossing]]:
        found = await crossings_of(flight.messages, self._ground.asset, self._ground.store)
        assert not found.faulty, "what was signed for could be paid"
        return found.payable

    async def _judged(self, flight: Flight, seen: SeenTransaction) -> Ending | None:
        """What a final transaction means for its messages; None when more has to be known first."""
        payments = await self._payments(flight)
        if seen.error is not None:
            return await self._blamed(flight, payments, seen.error, seen.slot)
        ending = Ending(flight, AttemptState.FINAL, seen.slot)
        units = self._context.mode.minted([crossing for _, crossing in payments], seen)
        for message, crossing in payments:
            told = units.get(crossing.key)
            if told == crossing.units:
                marker = self._context.mode.guard(crossing)
                ending.steps[message.id] = partial(
                    paid, signature=flight.key, slot=seen.slot, crossing=crossing, marker=marker
                )
            else:
                text = f"{flight.signature} paid {told or 'nothing'}, not {crossing.units} base units"
                ending.steps[message.id] = partial(hold, code=Hold.MARKER_FOREIGN, text=text)
        return ending

    # Failed

    async def _blamed(
        self, flight: Flight, payments: Sequence[tuple[Message, Crossing]], error: Any, slot: int | None
    ) -> Ending | None:
        """The shares of a transaction that failed, on the chain or, provably never sent on, in preflight."""
        crossings = [crossing for _, crossing in payments]
        self._context.accounts.doubt(crossings)
        made = await self._context.accounts.guarded(crossings)
        transaction = VersionedTransaction.from_bytes(flight.raw)
        culprit = culprit_of(error, transaction, [self._context.mode.guard(each) for each in crossings])
        guarded = [index for index, there in enumerate(made) if there]
        ending = Ending(flight, AttemptState.FAILED, slot, error)
        is_theirs = is_recipients(error, transaction)
        for (message, crossing), share in zip(payments, shares(len(payments), culprit, guarded), strict=True):
            step = await self._share(flight, crossing, share, is_theirs=is_theirs, error=error)
            if step is None:
                return None
            ending.steps[message.id] = step
        log.warning("a release failed", transaction=str(flight.signature), error=error)
        return ending

    async def _share(
        self, flight: Flight, crossing: Crossing, share: Share, *, is_theirs: bool, error: Any
    ) -> Step | None:
        if share is Share.MINTED:
            return await self._found(flight, crossing)
        if not is_theirs:
            return self._later
        if share is Share.FAILED and len(flight.keys) == 1:
            text = f"{flight.signature}: {error}"
            return partial(hold, code=Hold.DESTINATION_UNUSABLE, text=text)
        return partial(free, due_ms=0, alone=share is not Share.AGAIN)

    def _later(self, page: Page, message: Message) -> None:
        """Custody, the mint or the payer is at fault: all of it again, the later the oftener it was tried."""
        pause_ms = min(_FIRST_PAUSE_MS * 2 ** min(message.attempt, 16), _LONGEST_PAUSE_MS)
        free(page, message, page.now_ms + pause_ms)

    async def _found(self, flight: Flight, crossing: Crossing) -> Step | None:
        """What made a marker that is there; None when the cluster does not tell yet, also where it is this very
        flight, which was not to be found a moment ago."""
        answer = await self._context.lookup.minting_of(crossing)
        if answer is None or (isinstance(answer, Found) and answer.signature == flight.signature):
            return None
        return partial(self._releases.looked_up, crossing=crossing, answer=answer)

    # Not known

    async def _miss(self, flights: Sequence[Flight], height: int) -> None:
        vanished = [flight for flight in flights if flight.slot is not None]
        for flight in vanished:
            log.warning("a release was seen, and is no longer", transaction=str(flight.signature))
            flight.vanished()
        await self._context.each(vanished, self._gone)
        await self._expire([each for each in flights if may_be_expired(each.last_valid_block_height, height)])
        now_ms = self._ground.now_ms()
        late = [
            flight
            for flight in flights
            if height <= flight.last_valid_block_height
            and flight.is_to_be_sent(now_ms)
            and flight in self._context.flights
        ]
        if late:
            await self._releases.send(late)

    async def _gone(self, flights: Sequence[Flight]) -> bool:
        def fill(page: Page) -> None:
            for flight in flights:
                page.write(flight.told())
                self._move(page, flight, (State.DST_SEEN,), State.DST_SENT)

        return await self._context.write(flights, fill)

    async def _expire(self, flights: Sequence[Flight]) -> None:
        endings: list[Ending] = []
        for flight in flights:
            try:
                ending = await self._given_up(flight)
            except Unavailable as error:
                log.warning("a release is kept", transaction=str(flight.signature), reason=error.message)
                continue
            if ending is not None:
                endings.append(ending)
        await self._conclude(endings)

    async def _given_up(self, flight: Flight) -> Ending | None:
        """The end of a transaction that cannot land any more; None while it may, or has."""
        payments = await self._payments(flight)
        markers = [self._context.mode.guard(crossing) for _, crossing in payments]
        evidence = await evidence_of(flight, markers, [self._ground.rpc, *self._ground.witnesses])
        found = verdict(evidence)
        if found is Verdict.WAIT:
            return None
        if failed_instruction(flight.refusal) is not None:
            return await self._blamed(flight, payments, flight.refusal, None)
        made = await self._context.accounts.guarded([crossing for _, crossing in payments])
        ending = Ending(flight, AttemptState.EXPIRED, error=flight.refusal)
        for (message, crossing), is_made in zip(payments, made, strict=True):
            step = await self._found(flight, crossing) if is_made else partial(free, due_ms=0)
            if step is None:
                return None
            ending.steps[message.id] = step
        return ending

    # The end

    async def _conclude(self, endings: Sequence[Ending]) -> None:
        """Write what was found out, all at once; where another worker was first with some, each by itself."""
        by_flight = {ending.flight.key: ending for ending in endings}

        async def write(flights: Sequence[Flight]) -> bool:
            waited = sum(len(flight.messages) for flight in flights)
            found = [by_flight[flight.key] for flight in flights]
            if not await self._context.write(flights, lambda page: _write_all(page, found)):
                return False
            self._moved += waited
            for ending in found:
                self._context.flights.drop(ending.flight)
                self._context.counts[ending.state.value] += 1
            return True

        await self._context.each([ending.flight for ending in endings], write)


def _write_all(page: Page, endings: Sequence[Ending]) -> None:
    for ending in endings:
        ending.write(page)


def _is_worth_asking(flight: Flight, final_slot: int) -> bool:
    """A transaction that is confirmed in a slot that is not final yet has nothing new to tell."""
    return not flight.is_confirmed or flight.slot is None or flight.slot <= final_slot
