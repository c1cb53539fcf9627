"""The mirror's part of `/metrics`.

Counts and times are of the process that works, which alone has any. What is stored is counted by whichever process
is asked; parity is what was computed last.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from api.bridge.mirror_ports import Mirror
from api.metrics import cumulated
from bridge.mirror.limits import Headroom
from bridge.mirror.measures import MirrorMeasures
from bridge.mirror.sizes import MirrorFigures
from bridge.mirror.states import Direction
from overlay.measure import Histogram

_WAY: Final = "direction"


class MirrorCounts(Collector):
    """What one process has done."""

    def __init__(self, mirror: Mirror) -> None:
        self._mirror = mirror

    def collect(self) -> Iterator[Metric]:
        if self._mirror.asset is not None:
            yield from _done(self._mirror.parts.ground.book.measures)


class MirrorSizes(Collector):
    """What there is at one moment."""

    def __init__(self, figures: MirrorFigures, headroom: Mapping[Direction, Headroom]) -> None:
        self._figures = figures
        self._headroom = headroom

    def collect(self) -> Iterator[Metric]:
        yield from _queues(self._figures)
        yield _by_way("metawatt_bridge_paused", "1 while the direction is paused.", self._figures.paused)
        yield _by_way(
            "metawatt_bridge_oldest_seconds",
            "Age of the oldest message that is neither ended nor held.",
            self._figures.oldest_secs,
        )
        yield CounterMetricFamily(
            "metawatt_bridge_log_entries", "Entries of the hash-chained log.", value=self._figures.entries
        )
        yield GaugeMetricFamily(
            "metawatt_bridge_commands_open", "Orders of operators not carried out.", value=self._figures.commands
        )
        yield from _rooms(self._headroom)


def _done(measures: MirrorMeasures) -> Iterator[Metric]:
    edges = CounterMetricFamily("metawatt_bridge_edges", "Steps of messages.", labels=(_WAY, "state"))
    for labels, number in measures.edges.items():
        edges.add_metric(labels, number)
    yield edges
    ended = CounterMetricFamily(
        "metawatt_bridge_ended_wh", "Energy of messages that ended, by how.", labels=(_WAY, "state")
    )
    for labels, wh in measures.ended_wh.items():
        ended.add_metric(labels, wh)
    yield ended
    sent = "Time from a source's finality until the destination was sent it."
    yield _times("metawatt_bridge_sent_seconds", sent, measures.sent_secs)
    over = "Time from a source's finality until the message ended."
    yield _times("metawatt_bridge_ended_seconds", over, measures.ended_secs)


def _queues(figures: MirrorFigures) -> Iterator[Metric]:
    messages = GaugeMetricFamily("metawatt_bridge_messages", "Open messages.", labels=(_WAY, "state"))
    energy = GaugeMetricFamily("metawatt_bridge_messages_wh", "Energy of open messages.", labels=(_WAY, "state"))
    for queue in figures.queues:
        labels = (queue.direction.value, queue.state.value)
        messages.add_metric(labels, queue.messages)
        energy.add_metric(labels, queue.wh)
    yield messages
    yield energy
    yield _by_way("metawatt_bridge_held", "Messages that wait for a person.", figures.held)


def _rooms(headroom: Mapping[Direction, Headroom]) -> Iterator[Metric]:
    bounded = {each: room for each, room in headroom.items() if room.bucket is not None}
    left = {each: room.left_wh or 0 for each, room in bounded.items()}
    yield _by_way("metawatt_bridge_headroom_wh", "Energy that may cross now; none told without a limit.", left)
    capacity = {each: room.capacity_wh or 0 for each, room in bounded.items()}
    yield _by_way("metawatt_bridge_limit_wh", "Energy that may cross in a window.", capacity)


def _by_way(name: str, help_text: str, values: Mapping[Direction, float]) -> Metric:
    family = GaugeMetricFamily(name, help_text, labels=(_WAY,))
    for direction, value in values.items():
        family.add_metric((direction.value,), value)
    return family


def _times(name: str, help_text: str, histograms: Mapping[str, Histogram]) -> Metric:
    family = HistogramMetricFamily(name, help_text, labels=(_WAY,))
    for direction, histogram in histograms.items():
        family.add_metric((direction,), *cumulated(histogram))
    return family
