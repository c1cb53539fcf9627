"""Prometheus metrics. Requests are counted in plain integers and turned into samples only when scraped."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from typing import Any, Final

from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from api.limits import Bodies, Gate
from api.ports import Node
from overlay.steak import Steak, TopicResult

BUCKETS_SECS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Histogram:
    """Counts of observations under each bound of `BUCKETS_SECS`, the last count for all above."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS_SECS) + 1)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(BUCKETS_SECS, seconds)] += 1
        self.total += seconds

    def buckets(self) -> list[tuple[str, float]]:
        """Cumulative counts by upper bound, as Prometheus wants them."""
        bounds = [*map(str, BUCKETS_SECS), "+Inf"]
        return list(zip(bounds, accumulate(self.counts), strict=True))


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
        self._submissions: Counter[tuple[str, str]] = Counter()
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

    def count_steak(self, steak: Steak) -> None:
        """Count a submission once for each topic, by what the topic did."""
        for topic, result in steak.items():
            self._submissions[topic, outcome(result)] += 1

    def count_rejected(self, topics: Iterable[str]) -> None:
        """Count a submission that was refused as a whole, for hosted topics."""
        for topic in topics:
            self._submissions[topic, "rejected"] += 1

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
                durations.add_metric(labels, meter.durations.buckets(), meter.durations.total)
        yield requests
        yield durations

    def _counters(self) -> Iterator[Metric]:
        errors = CounterMetricFamily("metawatt_http_errors", "Error replies by code.", labels=("code",))
        for code, number in self._errors.items():
            errors.add_metric((code,), number)
        yield errors
        submissions = CounterMetricFamily(
            "metawatt_submissions", "Submissions by topic and outcome.", labels=("topic", "outcome")
        )
        for labels, number in self._submissions.items():
            submissions.add_metric(labels, number)
        yield submissions
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


def outcome(result: TopicResult) -> str:
    """What a topic did, in one word."""
    if result.failed is not None:
        return "failed"
    if result.outputs_to_admit:
        return "admitted"
    if result.relevant:
        return "spent"
    return "irrelevant"


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
        engine = CollectorRegistry(auto_describe=False)
        engine.register(_Figures(node.headers.tip_height, await node.engine.stats()))
        return text + generate_latest(engine).decode()


class _Figures(Collector):
    """The engine's figures at one moment: numbers as gauges, numbers by name as gauges with a label."""

    def __init__(self, tip_height: int | None, stats: Mapping[str, Any]) -> None:
        self._tip_height = tip_height
        self._stats = stats

    def collect(self) -> Iterator[Metric]:
        if self._tip_height is not None:
            yield GaugeMetricFamily("metawatt_chain_tip_height", "Height of the tip.", value=self._tip_height)
