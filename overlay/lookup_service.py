"""Lookup services: how admitted outputs are indexed and found again.

A lookup service keeps its records in collections that it declares. It never writes them itself: for each
event it *returns* writes, and the engine commits those in the same atomic commit as the event (I2).
To answer a question it is handed a `Reader`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol, TypeAlias

from overlay.topic import Metadata
from overlay.transaction import Transaction, outpoint
from store.port import Collection, Reader, Write


class AdmissionMode(StrEnum):
    """What an `OutputAdmitted` event carries: the script alone, or the whole transaction too."""

    LOCKING_SCRIPT = "locking-script"
    WHOLE_TX = "whole-tx"


class SpendMode(StrEnum):
    """What an `OutputSpent` event carries, in the reference's words."""

    NONE = "none"
    TXID = "txid"
    SCRIPT = "script"
    WHOLE_TX = "whole-tx"


@dataclass(frozen=True, slots=True)
class OutputRef:
    """An output in a topic. `seq` grows with admission order on one node; it is the same for an output
    in all its topics, and unique enough to sort by (ties are broken by outpoint)."""

    topic: str
    txid: bytes
    output_index: int
    seq: int

    @property
    def outpoint(self) -> bytes:
        return outpoint(self.txid, self.output_index)


@dataclass(frozen=True, slots=True)
class OutputAdmitted:
    """An output entered a topic. `topics` are all topics that hold it after this commit. `first` is True for
    the first event that a node ever tells of an output; `told` is True when an earlier event of the same
    commit told of it, with the same `topics`. `transaction` is None in locking-script mode."""

    ref: OutputRef
    satoshis: int
    script: bytes
    topics: tuple[str, ...]
    first: bool
    height: int | None = None
    off_chain_values: bytes | None = None
    transaction: Transaction | None = None
    told: bool = False


@dataclass(frozen=True, slots=True)
class OutputSpent:
    """An output of a topic was spent. `retained` tells whether the topic keeps it as history.
    `successors` are the outputs of the spending transaction that this topic admits, in order.
    `coin_script` is the locking script of the output, so that a service can tell what became of it without
    reading. The other fields are None as the spend mode says."""

    ref: OutputRef
    retained: bool
    successors: tuple[int, ...] = ()
    coin_script: bytes = b""
    spending_txid: bytes | None = None
    input_index: int | None = None
    unlocking_script: bytes | None = None
    sequence: int | None = None
    off_chain_values: bytes | None = None
    transaction: Transaction | None = None


@dataclass(frozen=True, slots=True)
class OutputUnspent:
    """The transaction that had spent this output was evicted (rejected by the network, reorganised away
    for good, or too old without proof): the output is live again."""

    ref: OutputRef
    evicted_txid: bytes


@dataclass(frozen=True, slots=True)
class OutputRemoved:
    """A spent output is no longer kept as history by the topic (`evicted` False), or the output was
    evicted from the node altogether (`evicted` True)."""

    ref: OutputRef
    evicted: bool


@dataclass(frozen=True, slots=True)
class OutputProven:
    """The transaction of an output was mined at `height`, or, when None, lost its proof to a reorg."""

    ref: OutputRef
    height: int | None


Event: TypeAlias = OutputAdmitted | OutputSpent | OutputUnspent | OutputRemoved | OutputProven


@dataclass(frozen=True, slots=True)
class Found:
    """One line of a formula: an output to hydrate, the depth of ancestors to send along (`history`: number
    of spent-and-retained generations, None for none), and opaque bytes for the asker."""

    txid: bytes
    output_index: int
    history: int | None = None
    context: bytes | None = None


@dataclass(frozen=True, slots=True)
class Formula:
    """An answer of outputs. `cursor` is opaque to the asker, None at the end."""

    found: Sequence[Found]
    cursor: str | None = None


@dataclass(frozen=True, slots=True)
class Freeform:
    """An answer that is not outputs: any JSON value."""

    result: Any


@dataclass(frozen=True, slots=True)
class Question:
    service: str
    query: Any
    now_ms: int = field(default=0)


class LookupService(Protocol):
    """One lookup service. `name` is `ls_…`."""

    @property
    def name(self) -> str: ...

    @property
    def metadata(self) -> Metadata: ...

    @property
    def documentation(self) -> str: ...

    @property
    def admission_mode(self) -> AdmissionMode: ...

    @property
    def spend_mode(self) -> SpendMode: ...

    @property
    def wants_proofs(self) -> bool:
        """Whether `OutputProven` is told. It comes for every output of every transaction that is mined, and
        answers have the newest proofs without it."""
        ...

    @property
    def collections(self) -> tuple[Collection, ...]:
        """The collections that hold this service's records; `reindex` empties and rebuilds them."""
        ...

    def serves(self, topic: str) -> bool:
        """Whether events of that topic are wanted."""
        ...

    async def writes_for(self, event: Event, reader: Reader) -> Sequence[Write]:
        """The writes that record one event. They must be idempotent (`reindex` replays events) and must not
        raise for an output that the service does not understand."""
        ...

    async def lookup(self, question: Question, reader: Reader) -> Formula | Freeform:
        """Answer; `BadRequest(code=BAD_QUERY | BAD_CURSOR)` for a question that cannot be understood."""
        ...
