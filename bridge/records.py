"""What the bridge keeps, each collection declared once.

A reading is found by its id, which is made of its interval and its meter: a second reading of an interval
meets the first one under the same key. What still has to be done is found through partial indexes, which
hold nothing of what is finished, so that a million old readings cost nothing.
"""

from __future__ import annotations

from enum import StrEnum
from hashlib import sha256
from typing import Final
from uuid import UUID

from store.port import Collection, Index


class ReadingState(StrEnum):
    """Where a reading is. Forward only, but for `retry` ⇄ `signed`, and what a person decides.

    accepted → signed → minted            signed → retry → signed | dead
    accepted | retry | dead → held → accepted | rejected (a person's decision)
    """

    ACCEPTED = "accepted"
    """Verified and stored; waits for the poller, or for the operator where auto-mint is off."""
    SIGNED = "signed"
    """In a signed transaction that is stored (`attempt`): it may land at any time."""
    MINTED = "minted"
    """Its mint is final on Solana. The end."""
    RETRY = "retry"
    """Its last transaction provably did not and will not land; taken again at `due_ms`."""
    DEAD = "dead"
    """Failed too often; waits for the operator's requeue."""
    HELD = "held"
    """Contradicted by a second reading, or found minted otherwise than was asked; waits for a person."""
    REJECTED = "rejected"
    """Neither of the readings that contradicted each other, a person decided. The end; `open_ms` is None."""


class AttemptState(StrEnum):
    """Where a signed transaction is: signed → sent → seen → final, or → failed | expired."""

    SIGNED = "signed"
    SENT = "sent"
    SEEN = "seen"
    FINAL = "final"
    FAILED = "failed"
    EXPIRED = "expired"


METERS: Final = Collection(
    name="bridge_meters",
    key="text",  # the serial
    fields={"wallet": "text", "account_id": "text", "status": "text"},
    indexes=(Index("wallet", ("wallet",)), Index("account", ("account_id",), partial=True)),
)
"""`wallet` (base58), `format`, `public_key` (base58), `interval_secs`, `status`, `device_id` and more:
bridge/meters/meter.py."""

METER_KEYS: Final = Collection(name="bridge_meter_keys", key="bytes")
"""Which meter (`meter`, its serial) a public key (32 B) speaks for, since that meter was first verified with it."""

READINGS: Final = Collection(
    name="bridge_readings",
    key="bytes",  # reading_key()
    fields={
        "meter": "text",
        "wallet": "text",
        "interval_start_ms": "int",
        "submitted_ms": "int",
        "open_ms": "int",
        "due_ms": "int",
        "retry_ms": "int",
        "minted_ms": "int",
        "state": "text",
        "attempts": "int",
    },
    indexes=(
        Index("meter", ("meter", "interval_start_ms")),
        Index("wallet", ("wallet", "interval_start_ms")),
        Index("submitted", ("submitted_ms",)),
        Index("open", ("open_ms",), partial=True),
        Index("due", ("due_ms",), partial=True),
        Index("retry", ("retry_ms",), partial=True),
        Index("minted", ("minted_ms",), partial=True),
    ),
)
"""`state` is a ReadingState, `attempts` its failures so far: fields, so that what is open can be added up by
them (bridge/measure.py). Beside the fields: `interval_secs`, `kwh` and `timestamp` (the strings as they were
signed), `units` (int, base units of the mint), `signature` (base58), `public_key` (base58), `format`,
`attempt` (bytes, the Solana signature of the transaction that is to mint it, or did), `error` (the last one, for
people), `slot` (of the mint), `held_for` ("conflict" where second readings are why it is held), `conflicts` (how
many of these are stored), and what bridge/meters/checking.py tells of more.

`open_ms` is `submitted_ms` until the reading is minted; `due_ms` is when the poller may take it next, None
while it may not, and 0 (ASKED_MS) when a person asked for it, so that it comes before all others; `retry_ms` is
`due_ms` of one that failed before, and 2**62 (NEVER_MS) of a dead one; `minted_ms` is when its mint was seen final.
`asked` is kept of one that a person asked for, and `alone` of one that gets a transaction of its own.
"""

CONFLICTS: Final = Collection(
    name="bridge_conflicts",
    key="bytes",  # reading key + first 16 bytes of sha256 of the signed message
    fields={"submitted_ms": "int", "open_ms": "int"},
    indexes=(Index("open", ("open_ms",), partial=True),),
)
"""Second readings of an interval, held for a person; `open_ms` is None once decided."""

ATTEMPTS: Final = Collection(
    name="bridge_attempts",
    key="bytes",  # the transaction's first signature, 64 B
    fields={"open_ms": "int"},
    indexes=(Index("open", ("open_ms",), partial=True),),
)
"""Signed transactions, stored before they are sent: `raw` (bytes), `readings` (list of keys, in the order of
their mints), `state` (AttemptState), `last_valid_block_height`, `sends`, `slot`, `error`.
`open_ms` is when it was signed, None once it is final, failed or expired."""

LEASES: Final = Collection(name="bridge_leases", key="text", fields={"fence": "int"})
"""Who does what alone: `holder`, `fence` (grows with each new holder), `until_ms`."""

CONFIG: Final = Collection(name="bridge_config", key="text")
"""What the operator switches while the node runs (auto-mint), and what was made at first start (the mint)."""

MOVEMENTS: Final = Collection(
    name="bridge_movements",
    key="bytes",  # slot u64 BE + signature + path: the chain's own order
    fields={"kind": "text", "account": "text", "slot": "int"},
    indexes=(Index("kind", ("kind", "slot")), Index("account", ("account", "slot"))),
)
"""What final transactions did to the watched mint: mints, burns, transfers of whomever; the fields are in
bridge/watching/rows.py."""

CURSORS: Final = Collection(name="bridge_cursors", key="text")
"""How far the history of each watched address (base58) was applied: bridge/watching/cursor.py. `gap` says why it
is not read on, `skipped` which gaps an operator went over."""

JOBS: Final = Collection(
    name="bridge_jobs", key="text", fields={"created_ms": "int"}, indexes=(Index("created", ("created_ms",)),)
)
"""Backfills and replays, with how far they are."""

BRIDGE_COLLECTIONS: Final = (
    METERS,
    METER_KEYS,
    READINGS,
    CONFLICTS,
    ATTEMPTS,
    LEASES,
    CONFIG,
    MOVEMENTS,
    CURSORS,
    JOBS,
)

_VERSION_8: Final = 0x8
_VARIANT: Final = 0x2


def reading_key(meter: str, interval_start_ms: int) -> bytes:
    """The key of the reading of a meter's interval, 16 B; as a UUID (version 8) it is the reading's id.

    It begins with the interval (48 bits of milliseconds), so that readings that arrive together lie together.
    """
    mixed = sha256(b"metawatt reading" + interval_start_ms.to_bytes(8, "big") + meter.encode()).digest()
    tail = int.from_bytes(mixed[:10], "big")
    tail = tail & ~(0xF << 76) | _VERSION_8 << 76
    tail = tail & ~(0x3 << 62) | _VARIANT << 62
    return interval_start_ms.to_bytes(6, "big") + tail.to_bytes(10, "big")


def reading_id(key: bytes) -> str:
    """The id as the API shows it: a UUID, 36 characters."""
    return str(UUID(bytes=key))
