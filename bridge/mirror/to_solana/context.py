"""What the parts of releasing work with, and how they write: pages of the book about flights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import structlog
from solders.pubkey import Pubkey

from bridge.minting.funds import Funds
from bridge.minting.lookup import Lookup
from bridge.minting.orders import Ground
from bridge.mirror.book import Page
from bridge.mirror.ground import MirrorGround
from bridge.mirror.message import Message
from bridge.mirror.records import MIRROR, RELEASES
from bridge.mirror.states import Hold, State
from bridge.mirror.to_solana.flights import Flight, Flights, waits_for
from bridge.mirror.to_solana.vault import vault_of
from bridge.programs.release import Crossing, Release
from store.port import Conflict, Insert

Fill: TypeAlias = Callable[[Page], None]

PUT_OFF_MS: Final = 15_000
"""Until a message is looked at again whose marker is there, but not the transaction that made it."""

log = structlog.get_logger("metawatt.mirror")


@dataclass(frozen=True, slots=True)
class ReleaseContext:
    """One destination's ground, way to pay, and memory. `counts` are transactions, by what became of them."""

    ground: MirrorGround
    mode: Release
    accounts: Ground[Crossing]
    lookup: Lookup[Crossing]
    flights: Flights
    funds: Funds
    counts: Counter[str] = field(default_factory=Counter)

    @classmethod
    async def open(cls, ground: MirrorGround) -> ReleaseContext:
        """With who has to sign, as the cluster says. Raises `Unavailable`, and what `vault_of` does."""
        rpc, now_ms, payer = ground.rpc, ground.now_ms, ground.signers[0].public
        mode = Release(ground.asset.genesis, await vault_of(ground.asset, rpc, ground.signers), payer)
        low = ground.settings.solana.payer_low_lamports
        return cls(
            ground,
            mode,
            Ground(rpc, mode, now_ms),
            Lookup(ground.store, rpc, mode, RELEASES),
            Flights(ground.store, now_ms),
            Funds(rpc, payer, now_ms, low_lamports=low, has_faucet=ground.has_faucet),
        )

    async def write(self, flights: Sequence[Flight], fill: Fill) -> bool:
        """One page about these flights; False when something was changed meanwhile, and they were read anew. `fill`
        finds their messages as they are when it is called. Raises `Lost`."""
        try:
            async with self.ground.book.page() as page:
                fill(page)
        except Conflict:
            await self.flights.reload(flights)
            return False
        except BaseException:
            self.flights.doubt()
            raise
        # At once, before anybody else has the book's turn: who comes next finds them as they are stored.
        for flight in flights:
            moved = (page.moved.get(each.id, each) for each in flight.messages)
            flight.messages = [each for each in moved if waits_for(each, flight.key)]
        return True

    async def each(self, flights: Sequence[Flight], write: Callable[[Sequence[Flight]], Awaitable[bool]]) -> None:
        """Write about all of them at once, and where that conflicts about each by itself."""
        if flights and not await write(flights) and len(flights) > 1:
            for flight in flights:
                if flight in self.flights:
                    await write([flight])


# Steps


def paid(page: Page, message: Message, signature: bytes, slot: int, crossing: Crossing, marker: Pubkey) -> None:
    """By a final transaction that was checked."""
    if message.state is not State.DST_SEEN:
        page.move(message, State.DST_SEEN, due_ms=None, destination_tx=signature)
    at = "refund_slot" if message.is_refund else "slot"  # the source's slot stays in the facts of a refund
    facts = {at: slot, "marker": str(marker), "paid_to": str(crossing.destination)}
    page.move(message, State.DST_FINAL, facts=facts, destination_tx=signature)
    page.write(Insert(MIRROR, {"_id": paid_key(crossing.destination), "slot": slot}, keep=True))


def paid_key(account: Pubkey) -> str:
    """The key in `records.MIRROR` of the first `slot` in which a token account was paid."""
    return f"paid:{account}"


def free(page: Page, message: Message, due_ms: int, *, alone: bool = False) -> None:
    """Its transaction cannot land any more: it is signed for anew."""
    if message.state is State.DST_SEEN:
        page.move(message, State.DST_SENT, due_ms=None)
    page.move(message, State.DST_EXPIRED, due_ms=due_ms, facts={"alone": True} if alone else None)


def hold(page: Page, message: Message, code: Hold, text: str) -> None:
    """For a person to look at."""
    log.error("a release is held", message=message.id.hex(), code=code.value, reason=text)
    page.hold(message, code, text)


def waiting(flight: Flight, states: Iterable[State]) -> list[Message]:
    """Those of a flight's messages that are in one of these states."""
    wanted = frozenset(states)
    return [each for each in flight.messages if each.state in wanted]
