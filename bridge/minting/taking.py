"""Due readings become signed transactions: looked at, packed, signed and stored, and only then sent.

    due ─ guard there already? ─ yes ─→ looked up: minted, or held
             │ no
             ▼
          destination the wallet's, and open? ─ no ─→ a failure is counted
             │ yes, or still to be made
             ▼
          packed ─ signed ─ ONE commit: attempts inserted, readings signed ─→ sent (sending.py)

A crash before the commit leaves nothing behind, since nobody has seen the signed bytes. After it, the attempts are
open, and whoever comes next sends the identical bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias
from uuid import uuid4

from solders.pubkey import Pubkey

from bridge.minting import changes
from bridge.minting.context import Context
from bridge.minting.flights import Flight
from bridge.minting.funds import Funds
from bridge.minting.lookup import Found, Otherwise
from bridge.minting.orders import Standing, order_of
from bridge.minting.retry import ASKED_MS
from bridge.programs.keys import Signer
from bridge.programs.mode import Facts, Order
from bridge.programs.packing import Packed, packed
from bridge.programs.signing import signed
from bridge.records import ATTEMPTS, MOVEMENTS, READINGS, AttemptState, ReadingState
from bridge.solana.rpc import Blockhash
from config.errors import MetawattError, Unavailable
from store.port import Document, Find, Insert, Write

Ready: TypeAlias = tuple[Order, Facts]

_CLOSED: Final = "the wallet's token account was closed; its owner, or the operator, has to open it again"


@dataclass(frozen=True, slots=True)
class Batch:
    """What came of one batch: `flights` are stored and wait to be sent; `found` readings turned out to be minted
    already; `goes_on` when more may be due, and the next batch may be taken at once; `is_overtaken` when another
    worker took readings of this batch, and nothing was stored."""

    flights: Sequence[Flight] = ()
    found: int = 0
    goes_on: bool = False
    is_overtaken: bool = False

    @property
    def readings(self) -> int:
        return sum(len(flight.rows) for flight in self.flights)


class Taking:
    """Takes readings and signs for them. `signers[0]` pays; the others co-sign."""

    def __init__(
        self, context: Context, signers: Sequence[Signer], funds: Funds, *, priority_micro_lamports: int
    ) -> None:
        self._context = context
        self._signers = signers
        self._funds = funds
        self._priority_micro_lamports = priority_micro_lamports

    async def batch(self, size: int, *, also_unasked: bool) -> Batch:
        """The next readings, oldest first: `size` at most, and no more than the transactions of a batch hold.
        Those that a person asked for come first; the others only with `also_unasked`."""
        upper = self._context.now_ms() + 1 if also_unasked else ASKED_MS + 1
        page = await self._context.store.find(READINGS, Find("due", upper=upper, limit=size))
        if not page.documents:
            return Batch()
        rows = {row["_id"]: row for row in page.documents}
        try:
            return await self._signed_for(rows)
        except (ValueError, MetawattError) as error:
            if isinstance(error, Unavailable) or not await self._sift(rows.values()):
                raise
        return Batch(goes_on=True)

    async def _signed_for(self, rows: dict[bytes, Document]) -> Batch:
        orders = [order_of(row) for row in rows.values()]
        standings = await self._context.ground.standings(orders)
        stood = list(zip(orders, standings, strict=True))
        found = await self._look_up([order for order, standing in stood if standing.is_guarded], rows)
        ready = await self._deliverable([each for each in stood if not each[1].is_guarded], rows)
        if not ready:
            return Batch(found=found, goes_on=True)
        flights = await self._sign(ready, rows)
        if flights is None:
            return Batch(found=found, is_overtaken=True)
        return Batch(flights, found, goes_on=True)

    async def _sift(self, rows: Iterable[Document]) -> bool:
        """Hold those of a batch that cannot be ordered at all, so that they stop nobody; False when there is none
        and the fault is another."""
        outcome = self._context.outcome()
        for row in rows:
            try:
                order = order_of(row)
                self._context.mode.guard(order)
                self._pack([(order, Facts(has_destination=False, guard_lamports=0))], 1)
            except (ValueError, MetawattError) as error:
                outcome.hold(row, f"no transaction can mint it: {error}")
        return bool(outcome.writes) and await self._context.conclude(outcome)

    async def _deliverable(
        self, stood: Sequence[tuple[Order, Standing]], rows: dict[bytes, Document]
    ) -> list[Ready]:
        """Those that have where to go; of the others a failure is counted, since it is for their owners to mend."""
        closed = await self._closed([order for order, standing in stood if not standing.facts.has_destination])
        outcome = self._context.outcome()
        ready: list[Ready] = []
        for order, standing in stood:
            fault = _CLOSED if order.wallet in closed else standing.fault
            if fault is None:
                ready.append((order, standing.facts))
            else:
                outcome.fail(rows[order.key], fault)
        if outcome.writes:
            await self._context.conclude(outcome)
        return ready

    async def _closed(self, orders: Sequence[Order]) -> set[Pubkey]:
        """Wallets whose token account was there once, as the record of movements shows. It is not made for them a
        second time: whoever closes it gets the rent that the node paid, and could have that of every reading."""
        accounts = {order.wallet: self._context.mode.destination(order) for order in orders}
        return {wallet for wallet, account in accounts.items() if await self._had_movements(account)}

    async def _had_movements(self, account: Pubkey) -> bool:
        found = await self._context.store.find(MOVEMENTS, Find("account", {"account": str(account)}, limit=1))
        return bool(found.documents)

    async def _look_up(self, orders: Sequence[Order], rows: dict[bytes, Document]) -> int:
        """Readings that are minted already, whoever did it: they are never signed for again."""
        found = 0
        for order in orders:
            outcome = self._context.outcome()
            match await self._context.lookup.minting_of(order):
                case Found(signature, slot):
                    outcome.find(rows[order.key], signature, slot)
                case Otherwise(reason):
                    outcome.hold(rows[order.key], reason)
                case None:
                    outcome.put_off(rows[order.key])
            found += await self._context.conclude(outcome) and bool(outcome.minted)
        return found

    async def _sign(self, ready: Sequence[Ready], rows: dict[bytes, Document]) -> list[Flight] | None:
        """Signed and stored; None when another worker was first, and nothing was stored."""
        filled = self._packed(ready, rows)
        await self._funds.spend(sum(len(each.orders) for each in filled))
        blockhash = await self._context.rpc.latest_blockhash()
        batch = str(uuid4())
        flights = [
            await self._flight(each, blockhash, [rows[order.key] for order in each.orders], batch)
            for each in filled
        ]
        if not await self._stored(flights):
            return None
        for flight in flights:
            flight.rows = [_as_signed(row, flight.key) for row in flight.rows]
            self._context.measures.readings["signed"] += len(flight.rows)
        self._context.measures.transactions["signed"] += len(flights)
        self._context.flights.add(flights)
        return flights

    async def _stored(self, flights: Sequence[Flight]) -> bool:
        is_stored = False
        try:
            is_stored = await self._context.commit([write for flight in flights for write in _writes(flight)])
        finally:
            if not is_stored:
                self._context.flights.doubt()
        return is_stored

    def _packed(self, ready: Sequence[Ready], rows: dict[bytes, Document]) -> list[Packed[Order]]:
        """Transactions for one batch, the oldest readings first. One that has spoilt a transaction before without
        anybody knowing which it was goes alone."""
        together = [each for each in ready if not rows[each[0].key].get("alone")]
        alone = [each for each in ready if rows[each[0].key].get("alone")]
        most = self._context.settings.max_transactions_per_batch
        filled = self._pack(together, most)
        for each in alone[: most - len(filled)]:
            filled += self._pack([each], 1)
        return filled

    def _pack(self, ready: Sequence[Ready], most: int) -> list[Packed[Order]]:
        return packed(
            self._context.mode,
            ready,
            self._signers[0].public,
            priority_micro_lamports=self._priority_micro_lamports,
            max_transactions=most,
        )

    async def _flight(
        self, transaction: Packed[Order], blockhash: Blockhash, rows: list[Document], batch: str
    ) -> Flight:
        made = await signed(transaction, blockhash.value, self._signers)
        return Flight(
            signature=made.signatures[0],
            raw=bytes(made),
            keys=tuple(row["_id"] for row in rows),
            rows=rows,
            last_valid_block_height=blockhash.last_valid_block_height,
            state=AttemptState.SIGNED,
            open_ms=self._context.now_ms(),
            batch=batch,
        )


def _writes(flight: Flight) -> list[Write]:
    """The attempt, and its readings: no other transaction takes them, and no reading is in one that is not here."""
    attempt = {
        "_id": flight.key,
        "raw": flight.raw,
        "readings": list(flight.keys),
        "state": flight.state,
        "last_valid_block_height": flight.last_valid_block_height,
        "sends": 0,
        "slot": None,
        "error": None,
        "open_ms": flight.open_ms,
    }
    return [Insert(ATTEMPTS, attempt), *(changes.signed(row, flight.key) for row in flight.rows)]


def _as_signed(row: Document, signature: bytes) -> Document:
    return row | {"state": ReadingState.SIGNED, "attempt": signature, "due_ms": None, "retry_ms": None}
