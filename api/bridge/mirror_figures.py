"""The mirror's part of `/metrics`.

Counts and times are of the process that works, which alone has any. What is stored is counted by whichever process
is asked; parity is what was computed last.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import inf
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from api.bridge.mirror_parity import PARTS
from api.metrics import cumulated
from bridge.mirror.books.limits import Headroom
from bridge.mirror.measures import MirrorMeasures
from bridge.mirror.message import UNITS_PER_WH
from bridge.mirror.mirror import Mirror
from bridge.mirror.operators.sizes import MirrorFigures, MirrorMeasuring
from bridge.mirror.parity.figures import ParityFigures
from bridge.mirror.parity.parity import last_figures
from bridge.mirror.states import Direction
from overlay.clock import NowMs, system_now_ms
from overlay.measure import Histogram

_WAY: Final = "direction"


class MirrorCounts(Collector):
    """What one process has done."""

    def __init__(self, mirror: Mirror) -> None:
        self._mirror = mirror

    def collect(self) -> Iterator[Metric]:
        connected = self._mirror.asset is not None
        yield GaugeMetricFamily(
            "metawatt_bridge_connected",
            "Processes of the node whose bridge has reached Solana.",
            value=int(connected),
        )
        if connected:
            yield from _done(self._mirror.parts.ground.book.measures)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The mirror at one moment. `parity` is what was found last, None before the first."""

    figures: MirrorFigures
    headroom: Mapping[Direction, Headroom]
    parity: ParityFigures | None
    at_ms: int


class Snapshots:
    """Takes one after the other."""

    def __init__(self, mirror: Mirror, now_ms: NowMs = system_now_ms) -> None:
        self._mirror = mirror
        self._now_ms = now_ms
        self._measuring = MirrorMeasuring(mirror.store, now_ms)

    async def take(self) -> Snapshot:
        """Not for concurrent calls: the caller has a lock."""
        mirror = self._mirror
        return Snapshot(
            figures=await self._measuring.figures(),
            headroom={each: await mirror.limits.headroom(each) for each in Direction},
            parity=None if mirror.asset is None else await last_figures(mirror.store, mirror.asset.name),
            at_ms=self._now_ms(),
        )


class MirrorSizes(Collector):
    """What there is at one moment."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._figures = snapshot.figures

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
        yield from _rooms(self._snapshot.headroom)
        yield from _parity(self._snapshot)
        alarms = GaugeMetricFamily("metawatt_bridge_alarms", "Alarms that stand, by kind.", labels=("alarm",))
        for alarm, number in self._figures.alarms.items():
            alarms.add_metric((alarm.value,), number)
        yield alarms


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


def _parity(snapshot: Snapshot) -> Iterator[Metric]:
    found = snapshot.parity
    age_secs = inf if found is None else max(0, snapshot.at_ms - found.at_ms) / 1000
    yield GaugeMetricFamily(
        "metawatt_bridge_parity_age_seconds",
        "How long ago parity was found out; infinite before that.",
        value=age_secs,
    )
    if found is None:
        return
    yield GaugeMetricFamily("metawatt_bridge_parity_exact", "1 while parity holds.", value=int(found.is_exact))
    yield GaugeMetricFamily(
        "metawatt_bridge_parity_difference_units",
        "Base units too many on Solana, negative for too few; 0 while parity holds.",
        value=found.difference,
    )
    parts = GaugeMetricFamily("metawatt_bridge_parity_wh", "The parts of parity's equation.", labels=("part",))
    for name in PARTS:
        parts.add_metric((name,), getattr(found, name) / UNITS_PER_WH)
    yield parts


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
