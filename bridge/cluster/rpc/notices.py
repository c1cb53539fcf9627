"""Notices: what happened in the cluster, to those who subscribed, once it has reached their commitment."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import count
from typing import Final

import structlog
from solders.pubkey import Pubkey

from bridge.cluster.cluster import Cluster
from bridge.cluster.events import Confirmed, Event, Landed, SlotOpened
from bridge.cluster.executed import Executed
from bridge.cluster.rpc.account_views import AccountViews
from bridge.cluster.rpc.register import Register
from bridge.cluster.rpc.subscription import Deliver, OfSignature, Subscription, Topic, noticed
from bridge.solana.rpc import Commitment

log = structlog.get_logger("metawatt.solana")
_RANKS: Final = {"processed": 0, "confirmed": 1, "finalized": 2}


class Notices:
    """All subscriptions of all connections, told on the event loop as the cluster tells its events.

    What is for "processed" is told when a transaction lands. For the other commitments the blocks that reach
    them are gone through, so that a client who asks after a notice finds what it was told of.
    """

    def __init__(self, cluster: Cluster, views: AccountViews) -> None:
        self._cluster = cluster
        self._views = views
        self._numbers = count(1)
        self._register = Register()
        self._reached: dict[Commitment, int] = {}
        self._unsubscribe: Callable[[], None] | None = None
        self._cuts: set[Callable[[], None]] = set()

    def start(self) -> None:
        """Hear what an open cluster tells from now on."""
        self._reached = {"confirmed": self._cluster.slot("confirmed"), "finalized": self._cluster.slot("finalized")}
        self._unsubscribe = self._cluster.subscribe(self._hear)

    def stop(self) -> None:
        """Hear no more, and end every connection."""
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None
        for cut in list(self._cuts):
            cut()

    # Connections and what they want

    @property
    def connections(self) -> int:
        return len(self._cuts)

    def join(self, cut: Callable[[], None]) -> None:
        """A connection is there; `cut` ends it."""
        self._cuts.add(cut)

    def leave(self, cut: Callable[[], None]) -> None:
        self._cuts.discard(cut)

    def add(self, method: str, topic: Topic, commitment: Commitment, deliver: Deliver) -> Subscription:
        subscription = Subscription(next(self._numbers), method, topic, commitment, deliver)
        self._register.add(subscription)
        return subscription

    def remove(self, subscription: Subscription) -> bool:
        """False when it is gone already, as one of a signature is once it was told."""
        return self._register.remove(subscription)

    def has(self, subscription: Subscription) -> bool:
        """Whether it is still to be told anything."""
        return self._register.has(subscription)

    async def tell_past(self, subscription: Subscription) -> None:
        """Tell a new subscription of a signature what has happened already."""
        topic = subscription.topic
        if not isinstance(topic, OfSignature):
            return
        status = (await self._cluster.statuses([topic.signature], history=False))[0]
        if status is None or _RANKS[status.commitment] < _RANKS[subscription.commitment]:
            return
        self._end(subscription, status.slot, status.error)

    # Events

    def _hear(self, event: Event) -> None:
        """The cluster goes on whatever becomes of a notice."""
        try:
            self._tell(event)
        except Exception as error:
            log.error("notices failed", telling=type(event).__name__, exc_info=error)

    def _tell(self, event: Event) -> None:
        if isinstance(event, Landed):
            self._landed(event.executed)
        elif isinstance(event, SlotOpened):
            self._opened(event)
        elif isinstance(event, Confirmed):
            self._settle("confirmed", event.slot)
            for root in self._settle("finalized", event.root):
                for subscription in self._register.roots():
                    subscription.tell(root)

    def _opened(self, event: SlotOpened) -> None:
        told = {"parent": event.parent, "root": self._cluster.slot("finalized"), "slot": event.slot}
        for subscription in self._register.slots():
            subscription.tell(told)

    def _landed(self, executed: Executed) -> None:
        for subscription in self._register.receivers_of(executed.signature):
            subscription.tell(noticed(executed.slot, "receivedSignature"))
        self._tell_transaction("processed", executed)
        self._tell_accounts("processed", executed.slot, executed.changed)

    def _settle(self, commitment: Commitment, slot: int) -> list[int]:
        """Tell of the blocks that reached a commitment since the last time; their slots."""
        settled, first = [], self._reached[commitment] + 1
        # Before anything is told: what fails is not told again for ever.
        self._reached[commitment] = max(self._reached[commitment], slot)
        for each in range(first, slot + 1):
            landed = self._cluster.landed_in(each)
            for executed in landed:
                self._tell_transaction(commitment, executed)
            self._tell_accounts(commitment, each, {key for executed in landed for key in executed.changed})
            if self._cluster.commitment_of(each) is not None:
                settled.append(each)
        return settled

    def _tell_transaction(self, commitment: Commitment, executed: Executed) -> None:
        for subscription in self._register.signatures(commitment, executed.signature):
            self._end(subscription, executed.slot, executed.error)
        subscriptions = self._register.logs(commitment, executed.keys)
        if not subscriptions:
            return
        value = {"signature": str(executed.signature), "err": executed.error, "logs": executed.logs}
        told = noticed(executed.slot, value)
        for subscription in subscriptions:
            subscription.tell(told)

    def _end(self, subscription: Subscription, slot: int, error: object) -> None:
        """The one notice of a signature; whoever removes the subscription tells it."""
        if self.remove(subscription):
            subscription.tell(noticed(slot, {"err": error}))

    def _tell_accounts(self, commitment: Commitment, slot: int, changed: Iterable[Pubkey]) -> None:
        if self._register.watches_accounts(commitment):
            for address in changed:
                self._tell_account(commitment, slot, address)

    def _tell_account(self, commitment: Commitment, slot: int, address: Pubkey) -> None:
        account = self._cluster.account(address, commitment)
        for subscription, watched in self._register.accounts(commitment, address):
            subscription.tell(noticed(slot, self._views.noticed(account, watched.shown, commitment)))
        if account is None:
            return
        for subscription, owned in self._register.programs(commitment, account.owner):
            if owned.filter.takes(account):
                view = self._views.noticed(account, owned.shown, commitment)
                subscription.tell(noticed(slot, {"pubkey": str(address), "account": view}))
