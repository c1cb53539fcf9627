"""Prometheus metrics. Requests are counted in plain integers and turned into samples only when scraped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from typing import Any

from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from api.limits import Bodies, Gate
from api.ports import Node
from overlay.measure import BUCKETS_SECS, Histogram, Measures


class RouteMeter:
    """Statuses and durations of one route."""

    __slots__ = ("durations", "method", "path", "statuses")

    def __init__(self, method: str, path: str) -> None:
        self.method = method
        self.path = path
        self.statuses: dict[int, int] = {}
        self.durations = Histogram()

    def observe(self, status: int, seconds: float) -> None:
        self.statuses[status] = self.statuses.get(status, 0) + 1
        self.durations.observe(seconds)


class HttpMetrics(Collector):
    """Everything that the HTTP side counts; labels take values of closed lists only."""

    def __init__(self) -> None:
        self.disconnects = 0
        self._meters: list[RouteMeter] = []
        self._errors: Counter[str] = Counter()
        self._gates: list[Gate] = []
        self._bodies: Bodies | None = None

    def meter(self, method: str, path: str) -> RouteMeter:
        meter = RouteMeter(method, path)
        self._meters.append(meter)
        return meter

    def watch(self, gates: Iterable[Gate], bodies: Bodies) -> None:
        """Show the lengths of these queues."""
        self._gates = list(gates)
        self._bodies = bodies

    def count_error(self, code: str) -> None:
        self._errors[code] += 1

    def collect(self) -> Iterator[Metric]:
        yield from self._requests()
        yield from self._counters()
        yield from self._queues()

    def _requests(self) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            "metawatt_http_requests", "Requests answered.", labels=("method", "route", "status")
        )
        durations = HistogramMetricFamily(
            "metawatt_http_request_seconds", "Time to answer.", labels=("method", "route")
        )
        for meter in self._meters:
            for status, number in meter.statuses.items():
                requests.add_metric((meter.method, meter.path, str(status)), number)
            if meter.statuses:
                labels = (meter.method, meter.path)
                durations.add_metric(labels, *_histogram(meter.durations))
        yield requests
        yield durations

    def _counters(self) -> Iterator[Metric]:
        errors = CounterMetricFamily("metawatt_http_errors", "Error replies by code.", labels=("code",))
        for code, number in self._errors.items():
            errors.add_metric((code,), number)
        yield errors
        yield CounterMetricFamily(
            "metawatt_http_disconnects", "Clients that went away before their answer.", value=self.disconnects
        )

    def _queues(self) -> Iterator[Metric]:
        active = GaugeMetricFamily("metawatt_http_active", "Work under way.", labels=("gate",))
        waiting = GaugeMetricFamily("metawatt_http_waiting", "Work that waits its turn.", labels=("gate",))
        for gate in self._gates:
            active.add_metric((gate.name,), gate.active)
            waiting.add_metric((gate.name,), gate.waiting)
        yield active
        yield waiting
        if self._bodies is not None:
            yield GaugeMetricFamily(
                "metawatt_http_body_bytes", "Bytes of request bodies held.", value=self._bodies.held_bytes
            )


class Exposition:
    """The text that `/metrics` answers: what HTTP counts, and the node's own figures at that moment."""

    def __init__(self, http: HttpMetrics) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(http)
        ProcessCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    async def render(self, node: Node | None) -> str:
        """The exposition; without the node's figures while it is starting."""
        text = generate_latest(self._registry).decode()
        if node is None:
            return text
        figures = CollectorRegistry(auto_describe=False)
        figures.register(_EngineFigures(node, await node.engine.stats()))
        return text + generate_latest(figures).decode()


class _EngineFigures(Collector):
    """The engine's counts, and its figures at one moment."""

    def __init__(self, node: Node, stats: Mapping[str, Any]) -> None:
        self._measures: Measures = node.engine.measures
        self._tip_height = node.headers.tip_height
        self._stats = stats

    def collect(self) -> Iterator[Metric]:
        yield from self._counts()
        yield self._stages()
        if self._tip_height is not None:
            yield GaugeMetricFamily("metawatt_chain_tip_height", "Height of the tip.", value=self._tip_height)
        yield from _gauges(self._stats)

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
            stages.add_metric((stage,), *_histogram(histogram))
        return stages


def _histogram(histogram: Histogram) -> tuple[list[tuple[str, float]], float]:
    """Cumulative counts by upper bound, and the sum, as Prometheus wants them."""
    bounds = [*map(str, BUCKETS_SECS), "+Inf"]
    return list(zip(bounds, map(float, accumulate(histogram.counts)), strict=True)), histogram.total_secs


def _gauges(stats: Mapping[str, Any]) -> Iterator[Metric]:
    """A gauge for each number; for a group of numbers by name, one gauge with the names as labels."""
    for name, value in stats.items():
        if isinstance(value, bool) or value is None:
            continue
        if isinstance(value, int | float):
            yield GaugeMetricFamily(f"metawatt_{name}", name.replace("_", " "), value=value)
        elif isinstance(value, Mapping):
            group = GaugeMetricFamily(f"metawatt_{name}", name.replace("_", " "), labels=("name",))
            for label, number in value.items():
                if isinstance(number, int | float):
                    group.add_metric((str(label),), number)
            yield group
