"""Messages become signed transactions on Solana: looked at, packed, signed and stored, and only then sent.

    to be paid ─ marker there already? ─ yes ─→ looked up: final, or held
                    │ no
                    ▼
                 token account the recipient's, and open? ─ no ─→ held
                    │ yes, or still to be made
                    ▼
                 packed ─ signed ─ ONE page: releases inserted, DST_SIGNED ─→ sent ─ DST_SENT

A crash before the page leaves nothing behind, since nobody has seen the signed bytes. After it the releases are
open, and whoever comes next sends the identical bytes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, TypeAlias

from bridge.minting.lookup import Answer, Found, Otherwise
from bridge.mirror.book import Page
from bridge.mirror.message import Message
from bridge.mirror.records import MIRROR, RELEASES
from bridge.mirror.states import Hold, State
from bridge.mirror.to_solana.context import PUT_OFF_MS, ReleaseContext, hold, log, paid, paid_key, waiting
from bridge.mirror.to_solana.crossings import Unpayable, crossings_of
from bridge.mirror.to_solana.flights import Flight
from bridge.mirror.to_solana.wallets import against_owner
from bridge.programs.mode import Facts
from bridge.programs.packing import Packed, packed
from bridge.programs.release import Crossing
from bridge.programs.signing import signed
from bridge.records import MOVEMENTS, AttemptState
from bridge.solana.rpc import Blockhash
from store.port import Find, Patch

Payment: TypeAlias = tuple[Message, Crossing]
Ready: TypeAlias = tuple[Message, Crossing, Facts]

AT_ONCE: Final = 20
_LAG_SLOTS: Final = 150
"""How far a node may lag: what happened earlier is known to all."""
_CLOSED: Final = "the wallet's token account was closed; its owner, or the operator, has to open it again"


class Releases:
    """Takes messages, signs for them, and sends what is stored."""

    def __init__(self, context: ReleaseContext) -> None:
        self._context = context
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def deliver(self, messages: Sequence[Message]) -> None:
        """Raises `Conflict` when messages were changed meanwhile, `Lost`, and `Unavailable`."""
        ground = self._context.ground
        found = await crossings_of(messages, ground.asset, ground.store)
        flights = await self._taken(found.payable, found.faulty)
        if flights:
            await self.send(self._context.flights.add(flights))

    # Looked at

    async def _taken(self, payable: Sequence[Payment], faulty: Sequence[tuple[Message, Unpayable]]) -> list[Flight]:
        """Those that can be paid in flights, stored; the others are where they belong."""
        standings = await self._context.accounts.standings([crossing for _, crossing in payable])
        there: list[Payment] = []
        ready: list[Ready] = []
        refused = list(faulty)
        for (message, crossing), standing in zip(payable, standings, strict=True):
            if standing.is_guarded:
                there.append((message, crossing))
            elif standing.fault is not None:
                refused.append((message, Unpayable(Hold.DESTINATION_UNUSABLE, standing.fault)))
            else:
                ready.append((message, crossing, standing.facts))
        unpayable = await self._unpayable([each for each in ready if not each[2].has_destination])
        unsure: list[Message] = []
        for message, crossing, _ in ready:
            if (fault := unpayable.get(crossing.key)) is not None:
                refused.append((message, fault))
            elif crossing.key in unpayable:
                unsure.append(message)
        await self._set_aside(there, refused, unsure)
        return await self._signed([each for each in ready if each[1].key not in unpayable])

    async def _unpayable(self, missing: Sequence[Ready]) -> dict[bytes, Unpayable | None]:
        """Of those whose token account is not there, by their keys, why nothing is paid: None where that is not
        sure yet. An account that was there once is not made a second time: whoever closes it gets the rent that the
        bridge paid, and could have that of every release."""
        if not missing:
            return {}
        rpc = self._context.ground.rpc
        settled = await rpc.slot() - _LAG_SLOTS
        wallets = list({crossing.wallet for _, crossing, _ in missing if crossing.wallet is not None})
        accounts = dict(zip(wallets, await rpc.accounts(wallets), strict=True))
        found: dict[bytes, Unpayable | None] = {}
        for message, crossing, _ in missing:
            wallet = crossing.wallet
            if wallet is None:
                is_gone = message.facts.get("slot", 0) <= settled
                found[crossing.key] = Unpayable(Hold.DESTINATION_UNUSABLE, _CLOSED) if is_gone else None
            elif (fault := against_owner(accounts[wallet])) is not None:
                found[crossing.key] = Unpayable(Hold.ADDRESS_MALFORMED, f"{wallet} {fault}")
            elif await self._was_there(crossing, settled):
                found[crossing.key] = Unpayable(Hold.DESTINATION_UNUSABLE, _CLOSED)
        return found

    async def _was_there(self, crossing: Crossing, settled: int) -> bool:
        """Whether tokens moved there by a slot that every node knows of; one that was made since may be missing on
        a node that lags, and to make it again does nothing. What custody paid is found by custody, not by whom it
        paid: of that the bridge keeps a note."""
        store, account = self._context.ground.store, crossing.destination
        paid_first = await store.get(MIRROR, paid_key(account))
        if paid_first is not None and paid_first["slot"] <= settled:
            return True
        find = Find("account", {"account": str(account)}, upper=settled, limit=1)
        return bool((await store.find(MOVEMENTS, find)).documents)

    async def _set_aside(
        self,
        there: Sequence[Payment],
        refused: Sequence[tuple[Message, Unpayable]],
        unsure: Sequence[Message],
    ) -> None:
        """Those whose marker is there, those that cannot be paid, and those where that is not sure, in one page."""
        if not (there or refused or unsure):
            return
        answers = [await self._context.lookup.minting_of(crossing) for _, crossing in there]
        async with self._context.ground.book.page() as page:
            for message, fault in refused:
                hold(page, message, fault.code, str(fault))
            for message in unsure:
                page.put_off(message, page.now_ms + PUT_OFF_MS)
            for (message, crossing), answer in zip(there, answers, strict=True):
                self.looked_up(page, message, crossing, answer)

    def looked_up(self, page: Page, message: Message, crossing: Crossing, answer: Answer) -> None:
        """What the history of a message's marker tells of it."""
        match answer:
            case Found(signature, slot):
                paid(page, message, bytes(signature), slot, crossing, self._context.mode.guard(crossing))
                landed = {"state": AttemptState.FINAL.value, "slot": slot, "open_ms": None}
                page.write(Patch(RELEASES, bytes(signature), landed, must_exist=False))
            case Otherwise(reason):
                hold(page, message, Hold.MARKER_FOREIGN, reason)
            case None:
                page.put_off(message, page.now_ms + PUT_OFF_MS)

    # Signed

    async def _signed(self, ready: Sequence[Ready]) -> list[Flight]:
        """In one page. Raises `Conflict`: then nothing is stored."""
        if not ready:
            return []
        ground = self._context.ground
        filled = self._packed(ready)
        await self._context.funds.spend(len(ready))
        blockhash = await ground.rpc.latest_blockhash()
        messages = {crossing.key: message for message, crossing, _ in ready}
        flights = [await self._flight(each, blockhash, messages) for each in filled]
        try:
            async with ground.book.page() as page:
                for flight in flights:
                    _store(page, flight)
        except BaseException:
            self._context.flights.doubt()
            raise
        for flight in flights:
            flight.messages = [page.moved[each.id] for each in flight.messages]
        self._context.counts["signed"] += len(flights)
        return flights

    def _packed(self, ready: Sequence[Ready]) -> list[Packed[Crossing]]:
        """Releases and refunds apart, and each that has spoilt a transaction before by itself."""
        groups: dict[object, list[tuple[Crossing, Facts]]] = {}
        for message, crossing, facts in ready:
            group = crossing.key if message.facts.get("alone") else message.is_refund
            groups.setdefault(group, []).append((crossing, facts))
        payer = self._context.ground.signers[0].public
        price = self._context.ground.settings.solana.priority_micro_lamports
        return [
            one
            for group in groups.values()
            for one in packed(self._context.mode, group, payer, priority_micro_lamports=price)
        ]

    async def _flight(
        self, transaction: Packed[Crossing], blockhash: Blockhash, messages: dict[bytes, Message]
    ) -> Flight:
        made = await signed(transaction, blockhash.value, self._context.ground.signers)
        its_own = [messages[each.key] for each in transaction.orders]
        return Flight(
            signature=made.signatures[0],
            raw=bytes(made),
            keys=tuple(each.id for each in its_own),
            messages=its_own,
            last_valid_block_height=blockhash.last_valid_block_height,
            state=AttemptState.SIGNED,
            open_ms=self._context.ground.now_ms(),
        )

    # Sent

    async def send(self, flights: Sequence[Flight]) -> None:
        """Send flights that are stored, a bounded number at once, and write down which were taken. No answer means
        nothing, and a refusal is one node's opinion of one moment: neither ends a release."""
        now_ms = self._context.ground.now_ms()
        for flight in flights:
            flight.sent(now_ms)
        results = await asyncio.gather(*map(self._send, flights))
        self._context.counts.update(results)
        self._context.counts["resent"] += sum(flight.sends > 1 for flight in flights)
        taken = [flight for flight, result in zip(flights, results, strict=True) if result == "sent"]
        await self._context.each(taken, self._sent)

    async def _sent(self, flights: Sequence[Flight]) -> bool:
        def fill(page: Page) -> None:
            for flight in flights:
                moved = waiting(flight, (State.DST_SIGNED,))
                for message in moved:
                    page.move(message, State.DST_SENT, due_ms=None, sent_ms=page.now_ms)
                if moved:
                    flight.state = AttemptState.SENT
                    page.write(flight.told())

        return await self._context.write(flights, fill)

    async def _send(self, flight: Flight) -> str:
        async with self._slots:
            return await flight.hand_in(self._context.ground.rpc, log)


def _store(page: Page, flight: Flight) -> None:
    """The release, and its messages: no other transaction takes them, and no message is in one that is not here."""
    page.write(flight.inserted())
    for message in flight.messages:
        page.move(message, State.DST_SIGNED, due_ms=None, destination_tx=flight.key, attempt=message.attempt + 1)
