"""The text that `/metrics` answers: what HTTP counts, what the engine counts, and sizes and depths."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from api.bridge.figures import BridgeCounts, BridgeSizes
from api.bridge.mirror_figures import MirrorCounts, MirrorSizes, Snapshot, Snapshots
from api.metrics import HttpMetrics, cumulated
from api.ports import Node
from api.registry_figures import RegistryCounts, RegistrySizes
from api.tally import Tally
from bridge.measure import Figures
from energytag.measure import Backlog, backlog
from overlay.measure import Measures
from store.port import Find

# Sizes are counted in the database, and anybody may ask for them.
_FRESH_SECS: Final = 10.0
# Name in `Engine.stats`: name here, what it is, and the factor between their units.
_GAUGES: Final = {
    "transactions": ("metawatt_transactions", "Transactions stored, ancestors included.", 1),
    "outputs": ("metawatt_outputs", "Outputs that topics hold.", 1),
    "unproven": ("metawatt_unproven_transactions", "Admitted transactions without a proof.", 1),
    "conflicts": ("metawatt_conflicts", "Double spends on record.", 1),
    "evictions": ("metawatt_evictions", "Evictions on record.", 1),
    "waiting": ("metawatt_waiting_submissions", "Submissions that wait for coins.", 1),
    "outboxDepth": ("metawatt_outbox_entries", "Entries of the outbox.", 1),
    "outboxOldestMs": ("metawatt_outbox_age_seconds", "Age of the outbox's oldest entry.", 0.001),
    "proofLagMs": ("metawatt_proof_lag_seconds", "Age of the oldest transaction without a proof.", 0.001),
    "tipHeight": ("metawatt_chain_tip_height", "Height of the node's own header chain.", 1),
    "storageBytes": ("metawatt_storage_bytes", "Size of the database.", 1),
}


class Exposition:
    """Renders all metrics. The engine's sizes are asked for again when they are older than `_FRESH_SECS`.

    With a `tally` (several processes serve) counts are those of all processes; what `process_…` and
    `python_…` tell is of the one that answers.
    """

    def __init__(self, http: HttpMetrics, now_secs: Callable[[], float]) -> None:
        self._now_secs = now_secs
        self._counts = CollectorRegistry(auto_describe=False)
        self._counts.register(http)
        self._process = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=self._process)
        GCCollector(registry=self._process)
        self._stats: Mapping[str, Any] = {}
        self._indexes: Mapping[str, int] = {}
        self._backlog: Backlog | None = None
        self._figures: Figures | None = None
        self._snapshots: Snapshots | None = None
        self._snapshot: Snapshot | None = None
        self._fresh_until = float("-inf")
        # Guards the refresh, so that many askers wait for one count.
        self._lock = asyncio.Lock()
        self._counted: Measures | None = None
        self.tally: Tally | None = None

    def count(self, node: Node) -> None:
        """Tell of a started node's counts too, from now on."""
        if self._counted is None:
            self._counted = node.engine.measures
            self._counts.register(_EngineCounts(self._counted))
            if node.registry is not None:
                self._counts.register(RegistryCounts(node.registry))
            if node.metering is not None:
                self._counts.register(BridgeCounts(node.metering, node.settings.solana.payer_low_lamports))
            if node.mirror is not None:
                self._counts.register(MirrorCounts(node.mirror))
                self._snapshots = Snapshots(node.mirror)

    def counts(self) -> str:
        """This process's counts."""
        return generate_latest(self._counts).decode()

    async def render(self, node: Node | None) -> str:
        """The exposition; without the engine's part while the node is starting."""
        if node is not None:
            self.count(node)
        counts = await self.tally.total() if self.tally is not None else self.counts()
        text = counts + generate_latest(self._process).decode()
        if node is None:
            return text
        sizes = CollectorRegistry(auto_describe=False)
        await self._refresh(node)
        sizes.register(_EngineSizes(self._stats, self._indexes))
        if self._backlog is not None:
            sizes.register(RegistrySizes(self._backlog))
        if self._figures is not None:
            sizes.register(BridgeSizes(self._figures))
        if self._snapshot is not None:
            sizes.register(MirrorSizes(self._snapshot))
        return text + generate_latest(sizes).decode()

    async def _refresh(self, node: Node) -> None:
        async with self._lock:
            if self._now_secs() >= self._fresh_until:
                self._stats = await node.engine.stats()
                self._indexes = await _index_sizes(node)
                if node.registry is not None:
                    self._backlog = await backlog(node.store, node.registry.ground.now_ms())
                if node.metering is not None:
                    self._figures = await node.metering.measuring.figures()
                if self._snapshots is not None:
                    self._snapshot = await self._snapshots.take()
                self._fresh_until = self._now_secs() + _FRESH_SECS


async def _index_sizes(node: Node) -> dict[str, int]:
    """Entries of the first index of each collection of each lookup service: what it lists first."""
    services = node.engine.lookup_services.values()
    collections = {collection.name: collection for service in services for collection in service.collections}
    return {
        name: await node.store.count(
            collection, Find(index=collection.indexes[0].name) if collection.indexes else None
        )
        for name, collection in collections.items()
    }


class _EngineSizes(Collector):
    """The engine's sizes at one moment."""

    def __init__(self, stats: Mapping[str, Any], indexes: Mapping[str, int]) -> None:
        self._stats = stats
        self._indexes = indexes

    def collect(self) -> Iterator[Metric]:
        sizes = GaugeMetricFamily(
            "metawatt_index_entries", "Entries of each lookup collection's first index.", labels=("index",)
        )
        for index, number in self._indexes.items():
            sizes.add_metric((index,), number)
        yield sizes
        for key, (name, help_text, factor) in _GAUGES.items():
            if key in self._stats:
                yield GaugeMetricFamily(name, help_text, value=self._stats[key] * factor)


class _EngineCounts(Collector):
    """What the engine counts."""

    def __init__(self, measures: Measures) -> None:
        self._measures = measures

    def collect(self) -> Iterator[Metric]:
        yield from self._counts()
        yield self._stages()

    def _counts(self) -> Iterator[Metric]:
        submissions = CounterMetricFamily(
            "metawatt_submissions", "Submissions by topic and outcome.", labels=("topic", "outcome")
        )
        for labels, number in self._measures.submissions.items():
            submissions.add_metric(labels, number)
        yield submissions
        refusals = CounterMetricFamily("metawatt_refusals", "Submissions refused, by code.", labels=("code",))
        for code, number in self._measures.refusals.items():
            refusals.add_metric((code,), number)
        yield refusals
        events = CounterMetricFamily("metawatt_events", "What the engine did besides.", labels=("event",))
        for event, number in self._measures.events.items():
            events.add_metric((event,), number)
        yield events

    def _stages(self) -> Metric:
        stages = HistogramMetricFamily(
            "metawatt_stage_seconds", "Time in each stage of a submission.", labels=("stage",)
        )
        for stage, histogram in self._measures.stages.items():
            stages.add_metric((stage,), *cumulated(histogram))
        return stages
