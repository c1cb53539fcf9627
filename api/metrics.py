"""Prometheus metrics. Requests are counted in plain integers and turned into samples only when scraped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from api.limits import Bodies, Gate
from overlay.measure import Histogram


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
                durations.add_metric(labels, *cumulated(meter.durations))
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


def cumulated(histogram: Histogram) -> tuple[list[tuple[str, float]], float]:
    """Cumulative counts by upper bound, and the sum, as Prometheus wants them."""
    bounds = [*map(str, histogram.bounds_secs), "+Inf"]
    return list(zip(bounds, map(float, accumulate(histogram.counts)), strict=True)), histogram.total_secs
