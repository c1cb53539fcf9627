"""What the parts of one engine have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from overlay.clock import NowMs, Sequence
from overlay.headers import HeaderChain
from overlay.lookup_service import LookupService
from overlay.measure import Measures
from overlay.topic import TopicManager
from store.port import Store


@dataclass(frozen=True, slots=True)
class Ground:
    """One store, one header chain, the hosted topics and services, and one sense of time."""

    store: Store
    headers: HeaderChain
    managers: Mapping[str, TopicManager]
    services: Mapping[str, LookupService]
    measures: Measures
    numbers: Sequence
    now_ms: NowMs
