"""Topic managers: what a topic admits. `docs/WRITING_A_TOPIC.md` teaches how to write one.

The engine calls `judge` once per submission and topic, with the transaction and the coins of this topic
that it spends. A judgement depends on nothing else (I8), so that every honest node judges alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from overlay.transaction import Transaction


class Mode(StrEnum):
    """Where a transaction comes from, in the reference's words."""

    CURRENT = "current-tx"
    HISTORICAL = "historical-tx"


@dataclass(frozen=True, slots=True)
class Metadata:
    """What `/listTopicManagers` and `/listLookupServiceProviders` tell of one entry."""

    name: str
    short_description: str
    icon_url: str | None = None
    version: str | None = None
    information_url: str | None = None


@dataclass(frozen=True, slots=True)
class Coin:
    """An output that the topic holds and that the judged transaction spends.

    `input_index` is the input that spends it; `txid` is in internal byte order.
    """

    input_index: int
    txid: bytes
    output_index: int
    satoshis: int
    script: bytes


@dataclass(frozen=True, slots=True)
class Submission:
    """What a topic manager judges: a verified transaction and this topic's coins among its inputs,
    ordered by input index. `off_chain_values` is whatever the sender put beside the BEEF."""

    topic: str
    transaction: Transaction
    coins: tuple[Coin, ...] = ()
    off_chain_values: bytes | None = None
    mode: Mode = Mode.CURRENT


@dataclass(frozen=True, slots=True)
class Admission:
    """A judgement: the outputs to admit (output indices) and the spent coins to keep as history (input
    indices). A coin that is not retained is removed from the topic.

    `waits_for_coins` says that outputs would be admitted if coins were here that are not: the engine then
    looks for them among the ancestors that came along, and keeps the transaction for when they come.
    """

    outputs_to_admit: tuple[int, ...] = ()
    coins_to_retain: tuple[int, ...] = ()
    waits_for_coins: bool = False


class TopicManager(Protocol):
    """One topic. Stateless; may be shared between submissions that are judged at the same time."""

    @property
    def name(self) -> str:
        """`tm_…`, by BRC-87: lower-case letters and underscores, at most 50 characters."""
        ...

    @property
    def metadata(self) -> Metadata: ...

    @property
    def documentation(self) -> str:
        """Markdown for people who want to submit to this topic."""
        ...

    async def judge(self, submission: Submission) -> Admission:
        """Decide. An exception marks the topic as failed in the reply and admits nothing."""
        ...


class TopicProvider(Protocol):
    """What the entry point group `metawatt.topics` names: `(settings) -> topic managers`."""

    def __call__(self, settings: object) -> Sequence[TopicManager]: ...
