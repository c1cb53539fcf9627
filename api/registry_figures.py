"""The registry's and its wallet's part of `/metrics`.

What a process counts is added up over all processes. Coins are with one process, the primary, which alone tells of
them. Depths are read from storage by whichever process is asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from api.metrics import cumulated
from basket.treasury import Balance, EmbeddedTreasury
from energytag.measure import Backlog, RegistryMeasures
from energytag.registry import Registry

_COUNTS: Final = {
    "set_aside": ("metawatt_registry_actions_set_aside", "Actions that were left for an operator to look at."),
    "undone": ("metawatt_registry_actions_undone", "Resolved actions whose transaction was evicted afterwards."),
    "transactions": ("metawatt_registry_transactions", "Transactions made by the registry."),
    "bundles_issued": ("metawatt_registry_bundles_issued", "Bundles issued."),
}
_COINS: Final = {
    "satoshis": ("metawatt_wallet_satoshis", "Satoshis that the wallet holds."),
    "proven_satoshis": ("metawatt_wallet_proven_satoshis", "Satoshis in coins whose transaction is proven."),
    "ready": ("metawatt_wallet_coins_ready", "Coins that could be spent now."),
    "taken": ("metawatt_wallet_coins_taken", "Coins that are with transactions being made."),
    "is_low": ("metawatt_wallet_low", "1 while the balance is below wallet.low_satoshis."),
}
_DEPTHS: Final = {
    "actions": ("metawatt_registry_queue_actions", "Actions that wait in the queue.", 1),
    "oldest_ms": ("metawatt_registry_queue_age_seconds", "Age of the oldest action in the queue.", 0.001),
    "deliveries": ("metawatt_registry_deliveries", "Outputs that users' wallets have not acknowledged.", 1),
    "recurring_due": ("metawatt_registry_recurring_due", "Recurring actions that are due and not begun.", 1),
}


class RegistryCounts(Collector):
    """What one process's registry has done, and the coins that it has."""

    def __init__(self, registry: Registry) -> None:
        self._measures: RegistryMeasures = registry.queue.measures
        treasury = registry.treasury
        self._treasury = treasury if registry.is_primary and isinstance(treasury, EmbeddedTreasury) else None

    def collect(self) -> Iterator[Metric]:
        actions = CounterMetricFamily(
            "metawatt_registry_actions", "Actions by kind and final state.", labels=("kind", "state")
        )
        for labels, number in self._measures.actions.items():
            actions.add_metric(labels, number)
        yield actions
        seconds = HistogramMetricFamily(
            "metawatt_registry_action_seconds", "Time from an action's receipt to its final state."
        )
        seconds.add_metric((), *cumulated(self._measures.seconds))
        yield seconds
        for field, (name, help_text) in _COUNTS.items():
            yield CounterMetricFamily(name, help_text, value=getattr(self._measures, field))
        if self._treasury is not None:
            yield from _coins(self._treasury.balance())


def _coins(balance: Balance) -> Iterator[Metric]:
    for field, (name, help_text) in _COINS.items():
        yield GaugeMetricFamily(name, help_text, value=int(getattr(balance, field)))


class RegistrySizes(Collector):
    """What lies before the registry at one moment."""

    def __init__(self, backlog: Backlog) -> None:
        self._backlog = backlog

    def collect(self) -> Iterator[Metric]:
        for field, (name, help_text, factor) in _DEPTHS.items():
            yield GaugeMetricFamily(name, help_text, value=getattr(self._backlog, field) * factor)
