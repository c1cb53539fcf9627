"""Subscriptions, found by what they are about."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, TypeAlias

from solders.pubkey import Pubkey
from solders.signature import Signature

from bridge.cluster.rpc.subscription import (
    OfAccount,
    OfLogs,
    OfProgram,
    OfRoots,
    OfSignature,
    OfSlots,
    Subscription,
)
from bridge.solana.rpc import Commitment

Key: TypeAlias = tuple[type, Commitment | None, Any]


class Register:
    """Looking up costs the same whatever number of other subscriptions there are."""

    def __init__(self) -> None:
        self._found: dict[Key, dict[int, Subscription]] = {}
        self._numbers: Counter[tuple[type, Commitment]] = Counter()

    def add(self, subscription: Subscription) -> None:
        for key in _keys(subscription):
            self._found.setdefault(key, {})[subscription.number] = subscription
        self._numbers[type(subscription.topic), subscription.commitment] += 1

    def remove(self, subscription: Subscription) -> bool:
        """False when it was not there."""
        removed = False
        for key in _keys(subscription):
            found = self._found.get(key, {})
            removed = found.pop(subscription.number, None) is not None or removed
            if not found:
                self._found.pop(key, None)
        if removed:
            self._numbers[type(subscription.topic), subscription.commitment] -= 1
        return removed

    def has(self, subscription: Subscription) -> bool:
        return subscription.number in self._found.get(_keys(subscription)[0], {})

    def receivers_of(self, signature: Signature) -> list[Subscription]:
        """Those to be told that a transaction was received."""
        return self._at((OfSignature, None, signature))

    def signatures(self, commitment: Commitment, signature: Signature) -> list[Subscription]:
        return self._at((OfSignature, commitment, signature))

    def logs(self, commitment: Commitment, keys: Iterable[Pubkey]) -> list[Subscription]:
        """Those who want the logs of a transaction with these keys, each once."""
        if not self._numbers[OfLogs, commitment]:
            return []
        found = dict(self._found.get((OfLogs, commitment, None), {}))
        for key in keys:
            found |= self._found.get((OfLogs, commitment, key), {})
        return list(found.values())

    def watches_accounts(self, commitment: Commitment) -> bool:
        """Whether anybody wants to be told of accounts at that commitment."""
        return bool(self._numbers[OfAccount, commitment] or self._numbers[OfProgram, commitment])

    def accounts(self, commitment: Commitment, address: Pubkey) -> list[tuple[Subscription, OfAccount]]:
        found = self._at((OfAccount, commitment, address))
        return [(each, each.topic) for each in found if isinstance(each.topic, OfAccount)]

    def programs(self, commitment: Commitment, program: Pubkey) -> list[tuple[Subscription, OfProgram]]:
        found = self._at((OfProgram, commitment, program))
        return [(each, each.topic) for each in found if isinstance(each.topic, OfProgram)]

    def slots(self) -> list[Subscription]:
        return self._at((OfSlots, None, None))

    def roots(self) -> list[Subscription]:
        return self._at((OfRoots, None, None))

    def _at(self, key: Key) -> list[Subscription]:
        found = self._found.get(key)
        return list(found.values()) if found else []


def _keys(subscription: Subscription) -> list[Key]:
    """What a subscription is found by."""
    topic, commitment = subscription.topic, subscription.commitment
    kind = type(topic)
    match topic:
        case OfSignature():
            received: list[Key] = [(kind, None, topic.signature)] if topic.received else []
            return [(kind, commitment, topic.signature), *received]
        case OfLogs():
            return [(kind, commitment, topic.mentions)]
        case OfAccount():
            return [(kind, commitment, topic.address)]
        case OfProgram():
            return [(kind, commitment, topic.program)]
        case OfSlots() | OfRoots():
            return [(kind, None, None)]
