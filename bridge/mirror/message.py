"""A message: one crossing of energy from one chain to the other, and its id.

The id is made of all that the crossing is, so that the same crossing has the same id in every process, after every
restart, whatever was lost; it is the key in the store, the seed of the marker on Solana, and in the origin of the
certificates on BSV.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any, Final

from bridge.mirror.records import MESSAGES
from bridge.mirror.states import ENDED, Direction, Hold, Kind, State
from store.port import Document, Reader

UNITS_PER_WH: Final = 10**6
"""Base units of a token of 9 decimals, of which one is a kWh. A mint of other decimals is refused for mirroring."""
MOST_ENTRIES: Final = 64
"""A crossing without trouble has about ten; blocks that come and go may bring more."""
_TAG: Final = b"gwx1"
_REFUND_TAG: Final = b"refund"


def message_id(
    *, src_genesis: bytes, src_asset: bytes, src_event: bytes, dst_genesis: bytes, dst_recipient: bytes, units: int
) -> bytes:
    """32 B: SHA-256 of `gwx1` and of the parts, each with its length before it (u16 BE), `units` as u64 BE.

    Genesis: of Solana the genesis hash, 32 B; of BSV the hash of block 0 as on the wire. Asset: the mint, 32 B, or
    the certificate's issuance id as text. Event: `solana_event` or the outpoint, 36 B as on the wire. Recipient: as
    it was written by who sent, before anybody judged it.
    """
    hasher = sha256(_TAG)
    for part in (src_genesis, src_asset, src_event, dst_genesis, dst_recipient, units.to_bytes(8, "big")):
        hasher.update(len(part).to_bytes(2, "big") + part)
    return hasher.digest()


def refund_id(msg_id: bytes) -> bytes:
    """What a refund is known by: its marker's seed, and in its memo."""
    return sha256(_REFUND_TAG + msg_id).digest()


def solana_event(signature: bytes, path: bytes) -> bytes:
    """An instruction of a transaction: 64 B and 6 B (`Path.packed`: outer, inner, batch)."""
    return signature + path


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a message is held: `code` for programs, `text` for people."""

    code: Hold
    text: str


def lane_of(direction: Direction, state: State) -> str:
    """The queue that a message of this state is due in. What is to be ended has one of its own: a block makes
    hundreds final at once, and whatever is new must not wait for them."""
    return f"{direction.value} end" if state is State.DST_FINAL else direction.value


@dataclass(frozen=True, slots=True)
class Message:
    """One message as it is stored; immutable, `book.Page.move` makes the next one.

    `source_tx` is the Solana signature (64 B) or the txid (32 B as on the wire), `source_event` the event within.
    `recipient` is a text: what the memo said, or the Solana address of the exit. `facts` are what was learnt on the
    way; who writes which is said in `records.py`. `attempt` counts destination transactions. `is_refund` once a
    refund is under way. `due_ms` is when the lane looks at it next, None while nothing is for the lane to do.
    `entries` are the numbers of the log's entries that tell of it, the newest `MOST_ENTRIES`.
    """

    id: bytes
    direction: Direction
    kind: Kind
    asset: str
    units: int
    source_tx: bytes
    source_event: bytes
    recipient: str
    created_ms: int
    state: State = State.OBSERVED
    version: int = 0
    seq: int = 0
    due_ms: int | None = 0
    destination_tx: bytes | None = None
    attempt: int = 0
    is_refund: bool = False
    reason: Reason | None = None
    final_ms: int | None = None
    sent_ms: int | None = None
    ended_ms: int | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    entries: tuple[int, ...] = ()

    @property
    def wh(self) -> int:
        """Whole Wh; of dust less than what came."""
        return self.units // UNITS_PER_WH

    @property
    def crossing_id(self) -> bytes:
        """What the destination's transaction is known by: the message's id, or that of its refund."""
        return refund_id(self.id) if self.is_refund else self.id

    @property
    def ends_on_bsv(self) -> bool:
        """Whether its destination is BSV: it is issued there, or given back. All others are paid on Solana."""
        return (self.direction is Direction.IN) is not self.is_refund

    @property
    def attempts(self) -> tuple[bytes, ...]:
        """The transactions at its destination that were made for it, oldest first; on Solana the last one alone."""
        earlier = map(bytes.fromhex, self.facts.get("earlier", ())) if self.ends_on_bsv else ()
        return () if self.destination_tx is None else (*earlier, self.destination_tx)

    @property
    def is_open(self) -> bool:
        return self.state not in ENDED and self.state is not State.SRC_ORPHANED

    @property
    def was_accounted(self) -> bool:
        """Whether it is entered in the books: a held message goes on accordingly."""
        return bool(self.facts.get("accounted"))

    def entries_with(self, entry: int) -> tuple[int, ...]:
        """`entries`, with one more that tells of it."""
        return self.entries if entry in self.entries[-1:] else (*self.entries, entry)[-MOST_ENTRIES:]

    def attempted(self) -> dict[str, list[str]]:
        """The facts that keep its attempts on BSV so far, for the step to the next one."""
        return {"earlier": [each.hex() for each in self.attempts]} if self.attempts else {}

    def with_facts(self, facts: Mapping[str, Any]) -> Message:
        return replace(self, facts={**self.facts, **facts})

    def document(self) -> Document:
        """As `records.MESSAGES` keeps it."""
        return {
            "_id": self.id,
            "direction": self.direction.value,
            "kind": self.kind.value,
            "asset": self.asset,
            "units": self.units,
            "source_tx": self.source_tx,
            "source_event": self.source_event,
            "recipient": self.recipient,
            "created_ms": self.created_ms,
            **self.changes(),
        }

    def changes(self) -> dict[str, Any]:
        """What of it may change, as fields of the document."""
        return {
            "state": self.state.value,
            "version": self.version,
            "seq": self.seq,
            "lane": lane_of(self.direction, self.state) if self.due_ms is not None else None,
            "due_ms": self.due_ms,
            "open_ms": self.created_ms if self.is_open else None,
            "destination_tx": self.destination_tx,
            "attempt": self.attempt,
            "is_refund": self.is_refund,
            "reason": None if self.reason is None else {"code": self.reason.code.value, "text": self.reason.text},
            "final_ms": self.final_ms,
            "sent_ms": self.sent_ms,
            "ended_ms": self.ended_ms,
            "facts": dict(self.facts),
            "entries": list(self.entries),
        }

    @classmethod
    def read(cls, row: Document) -> Message:
        reason = row["reason"]
        return cls(
            id=row["_id"],
            direction=Direction(row["direction"]),
            kind=Kind(row["kind"]),
            asset=row["asset"],
            units=row["units"],
            source_tx=row["source_tx"],
            source_event=row["source_event"],
            recipient=row["recipient"],
            created_ms=row["created_ms"],
            state=State(row["state"]),
            version=row["version"],
            seq=row["seq"],
            due_ms=row["due_ms"],
            destination_tx=row["destination_tx"],
            attempt=row["attempt"],
            is_refund=row["is_refund"],
            reason=None if reason is None else Reason(Hold(reason["code"]), reason["text"]),
            final_ms=row["final_ms"],
            sent_ms=row["sent_ms"],
            ended_ms=row["ended_ms"],
            facts=row["facts"],
            entries=tuple(row["entries"]),
        )


async def load_messages(reader: Reader, ids: Collection[bytes]) -> dict[bytes, Message]:
    """Those of these ids that are stored, by id."""
    rows = await reader.get_many(MESSAGES, list(ids)) if ids else {}
    return {row["_id"]: Message.read(row) for row in rows.values()}
