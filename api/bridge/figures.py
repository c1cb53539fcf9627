"""The bridge's part of `/metrics`: readings, mints, Solana, and listeners.

What a process counts is added up over all processes. The minter, the event processor and the cluster's pulse are
with one process, the primary, which alone tells of them. What is stored is counted by whichever process is asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from api.metrics import cumulated
from bridge.hub import Hub
from bridge.measure import Figures
from bridge.minting.measures import MintingMeasures
from bridge.minting.minting import Minting
from bridge.notices import NoticeKind
from bridge.pulse import Pulse
from bridge.watching.processor import EventProcessor

_FIGURES: Final = {
    "is_auto": ("metawatt_minting_auto", "1 while readings are minted without being told."),
    "unminted": ("metawatt_readings_unminted", "Readings that are not minted."),
    "overdue": ("metawatt_readings_overdue", "Readings that had two poll intervals and are not minted."),
    "oldest_secs": ("metawatt_readings_oldest_unminted_seconds", "Age of the oldest reading that is not minted."),
    "retries": ("metawatt_minting_retry_readings", "Readings in the retry queue, but for dead ones."),
    "retry_attempts_mean": ("metawatt_minting_retry_attempts_mean", "Failures of those, on the average."),
    "retry_attempts_max": ("metawatt_minting_retry_attempts_max", "Failures of the one that failed most."),
    "dead": ("metawatt_readings_dead", "Readings that failed too often and wait for a requeue."),
    "held": ("metawatt_readings_held", "Readings that wait for a person's decision."),
    "conflicts": ("metawatt_reading_conflicts", "Second readings of an interval that wait for a decision."),
    "transactions": ("metawatt_minting_transactions_open", "Signed transactions that are not settled."),
    "unexplained": ("metawatt_events_unexplained", "Transactions on record that moved tokens unaccountably."),
    "success_ratio": (
        "metawatt_minting_success_ratio",
        "Share of an hour's readings, two poll intervals ago, that is minted by now; NaN when there were none.",
    ),
    "latency_mean_secs": (
        "metawatt_minting_latency_mean_seconds",
        "Mean time from submission to finality, of the newest 1000 readings minted within an hour.",
    ),
    "latency_p95_secs": ("metawatt_minting_latency_p95_seconds", "The 95th percentile of these times."),
}
_LISTENERS: Final = {
    "queued": ("metawatt_live_queued", "Copies of notices queued for listeners."),
    "skipped": ("metawatt_live_skipped", "Copies of refusals that were left out: many waited already."),
    "refused": ("metawatt_live_refused", "Listeners that were turned away at a bound."),
    "slow": ("metawatt_live_slow", "Listeners that were let go because they fell behind."),
}


class CountedMetering(Protocol):
    """What is asked of `bridge.metering.Metering`. `minting` and `watching` may be read once it `is_connected`."""

    @property
    def hub(self) -> Hub: ...

    @property
    def pulse(self) -> Pulse | None:
        """None where this process does not ask the cluster: another one does, or there is none."""
        ...

    @property
    def is_connected(self) -> bool: ...

    @property
    def minting(self) -> Minting: ...

    @property
    def watching(self) -> EventProcessor: ...


class BridgeCounts(Collector):
    """What one process has counted."""

    def __init__(self, metering: CountedMetering, payer_low_lamports: int) -> None:
        self._metering = metering
        self._payer_low_lamports = payer_low_lamports

    def collect(self) -> Iterator[Metric]:
        metering = self._metering
        yield from _hub(metering.hub)
        if metering.is_connected:
            yield from _minting(metering.minting.measures)
            yield _by("metawatt_solana_events", "What the event processor did.", "event", metering.watching.counts)
        if metering.pulse is not None:
            yield from _pulse(metering.pulse, self._payer_low_lamports)
            yield from _watching(metering.watching if metering.is_connected else None, metering.pulse)


class BridgeSizes(Collector):
    """What is stored, at one moment."""

    def __init__(self, figures: Figures) -> None:
        self._figures = figures

    def collect(self) -> Iterator[Metric]:
        for field, (name, help_text) in _FIGURES.items():
            yield GaugeMetricFamily(name, help_text, value=getattr(self._figures, field))


def _hub(hub: Hub) -> Iterator[Metric]:
    measures = hub.measures
    accepted = measures.notices[NoticeKind.RECEIVED]
    yield CounterMetricFamily("metawatt_readings_accepted", "Readings that were taken.", value=accepted)
    refused = "Readings of registered meters that were refused."
    yield _by("metawatt_readings_refused", refused, "code", measures.refusals)
    notices = {kind.value: measures.notices[kind] for kind in NoticeKind}
    yield _by("metawatt_live_notices", "Notices told, by kind.", "kind", notices)
    yield GaugeMetricFamily("metawatt_live_listeners", "Listeners at `/ws`.", value=hub.listeners)
    for field, (name, help_text) in _LISTENERS.items():
        yield CounterMetricFamily(name, help_text, value=getattr(measures, field))
    if hub.relay is not None:
        lost = "Notices that did not reach another process."
        yield CounterMetricFamily("metawatt_live_relay_lost", lost, value=hub.relay.lost)


def _minting(measures: MintingMeasures) -> Iterator[Metric]:
    yield _by("metawatt_minting_readings", "Readings, by what became of them.", "outcome", measures.readings)
    yield _by("metawatt_minting_transactions", "Transactions, by event.", "event", measures.transactions)
    yield _by("metawatt_minting_rounds", "The minter's rounds, by their end.", "outcome", measures.rounds)
    yield CounterMetricFamily("metawatt_minting_units", "Base units minted.", value=measures.units)
    seconds = HistogramMetricFamily(
        "metawatt_minting_seconds", "Time from a reading's submission to its mint.", labels=("commitment",)
    )
    seconds.add_metric(("confirmed",), *cumulated(measures.confirmed_secs))
    seconds.add_metric(("finalized",), *cumulated(measures.final_secs))
    yield seconds


def _pulse(pulse: Pulse, payer_low_lamports: int) -> Iterator[Metric]:
    yield GaugeMetricFamily("metawatt_solana_up", "1 while the cluster answers.", value=int(pulse.is_up))
    if pulse.final_slot is None or pulse.payer_lamports is None or pulse.answer_secs is None:
        return
    yield GaugeMetricFamily("metawatt_solana_final_slot", "The newest final slot.", value=pulse.final_slot)
    yield GaugeMetricFamily(
        "metawatt_solana_answer_seconds", "How long it took to say so.", value=pulse.answer_secs
    )
    lamports = pulse.payer_lamports
    yield GaugeMetricFamily("metawatt_payer_lamports", "What the minting key has left.", value=lamports)
    low = "1 while that is below solana.payer_low_lamports."
    yield GaugeMetricFamily("metawatt_payer_low", low, value=int(lamports < payer_low_lamports))
    if pulse.bridge_lamports is not None:
        left = "What the bridge's key has left."
        yield GaugeMetricFamily("metawatt_bridge_payer_lamports", left, value=pulse.bridge_lamports)
        is_low = int(pulse.bridge_lamports < payer_low_lamports)
        yield GaugeMetricFamily("metawatt_bridge_payer_low", low, value=is_low)


def _watching(watching: EventProcessor | None, pulse: Pulse) -> Iterator[Metric]:
    if watching is None:
        return
    gap = "1 while an address's history is not read on, for a part of it is missing."
    yield GaugeMetricFamily("metawatt_events_gap", gap, value=int(watching.problem is not None))
    listening = "1 while the cluster's WebSocket is connected."
    yield GaugeMetricFamily("metawatt_solana_websocket", listening, value=int(watching.is_listening))
    if pulse.final_slot is not None and watching.read_slot is not None:
        lag = max(0, pulse.final_slot - watching.read_slot)
        yield GaugeMetricFamily("metawatt_events_lag_slots", "Final slots that were not read yet.", value=lag)


def _by(name: str, help_text: str, label: str, counts: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(name, help_text, labels=(label,))
    for value, number in counts.items():
        family.add_metric((value,), number)
    return family
