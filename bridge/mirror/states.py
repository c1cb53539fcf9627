"""The life of a message: its states, the edges between them, and why one may be held.

Forward only, but for what a person decides and what a chain takes back. Every edge is a compare-and-set on the
message's version and writes the audit log in the same commit (`book.py`); an edge that is not here is a fault of
the program. `docs/BRIDGE.md` has the drawing that `drawing` makes of this table.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final


class Direction(StrEnum):
    IN = "in"
    """Solana → BSV: tokens come into custody, or are burned; certificates are issued."""
    OUT = "out"
    """BSV → Solana: a certificate is locked to the bridge; tokens are released, or minted."""


class Kind(StrEnum):
    """What a message began with."""

    AUTOMATIC = "automatic"
    """A meter's tokens, minted straight into custody."""
    DEPOSIT = "deposit"
    """A transfer into custody."""
    BURN = "burn"
    """A burn of the bridge's own token."""
    EXIT = "exit"
    """A certificate that was locked to the bridge."""


class State(StrEnum):
    OBSERVED = "OBSERVED"
    """Its source event is known here; it may not be final, or not every witness may have seen it."""
    SRC_FINAL = "SRC_FINAL"
    """The source is final, as far as that was asked for."""
    SRC_ORPHANED = "SRC_ORPHANED"
    """The source vanished before it was final, or was written off after; nothing was done."""
    VALIDATED = "VALIDATED"
    """Who is to get what is known, and allowed."""
    HELD = "HELD"
    """For a person, with a reason (`Hold`); a refund may be asked for."""
    QUEUED = "QUEUED"
    """Beyond a limit, until a set time."""
    ACCOUNTED = "ACCOUNTED"
    """The books have room for it, and it is entered."""
    REFUND_ACCOUNTED = "REFUND_ACCOUNTED"
    """To be given back on the source chain."""
    DST_SIGNED = "DST_SIGNED"
    """In a signed transaction of the destination that is stored: it may land at any time."""
    DST_SENT = "DST_SENT"
    """The destination's network was given it."""
    DST_SEEN = "DST_SEEN"
    """In the destination's chain, not final."""
    DST_EXPIRED = "DST_EXPIRED"
    """Its transaction provably did not and cannot land."""
    DST_FINAL = "DST_FINAL"
    """Final at the destination, checked against what was asked."""
    RECEIPTED = "RECEIPTED"
    """The end: both sides are final, and the receipt is stored."""
    REFUNDED = "REFUNDED"
    """The end: given back on the source chain, finally, and receipted."""


class Hold(StrEnum):
    """Why a message is held. A closed list; `docs/BRIDGE.md` says what to do about each."""

    MEMO_MISSING = "memo_missing"
    MEMO_MALFORMED = "memo_malformed"
    RECIPIENT_MALFORMED = "recipient_malformed"
    RECIPIENT_UNKNOWN = "recipient_unknown"
    DUST = "dust"
    """Not a whole number of Wh."""
    PROVENANCE_LACKING = "provenance_lacking"
    """Fewer readings are on record than tokens came in."""
    FRAGMENTED = "fragmented"
    """Of more readings than one transaction takes."""
    ISSUED_ELSEWHERE = "issued_elsewhere"
    """The registry issued for the reading's interval otherwise."""
    ISSUANCE_FORBIDDEN = "issuance_forbidden"
    """The device's registration does not allow the certificate: missing attributes, capacity, storage."""
    NOT_MIRRORED = "not_mirrored"
    """The certificate is not of this bridge's making."""
    OVERDRAWN = "overdrawn"
    """The books say that so much is not outstanding: the accountant's refusal."""
    WITHDRAWN = "withdrawn"
    """The issuer withdrew the certificate's range."""
    CHAIN_MALFORMED = "chain_malformed"
    """`exit.chain` is not the bridge's cluster."""
    ADDRESS_MALFORMED = "address_malformed"
    """`exit.address` is no wallet that tokens may go to."""
    DESTINATION_UNUSABLE = "destination_unusable"
    """The recipient's token account is frozen, or belongs to another."""
    DESTINATION_CONFLICT = "destination_conflict"
    """What the destination's transaction spends was spent otherwise."""
    MARKER_FOREIGN = "marker_foreign"
    """The marker is there, and no transaction of ours that does what was asked."""
    SOURCE_DISPUTED = "source_disputed"
    """Witnesses tell different things of the source."""
    SOURCE_LOST = "source_lost"
    """The source went after it had been final: the asset is paused."""
    OPERATOR = "operator"
    """A person's word."""


UNSURE: Final = frozenset({Hold.SOURCE_DISPUTED, Hold.SOURCE_LOST})
"""Nobody can tell whether there is a source."""

EDGES: Final[Mapping[State, frozenset[State]]] = MappingProxyType(
    {
        State.OBSERVED: frozenset({State.SRC_FINAL, State.SRC_ORPHANED, State.HELD}),
        State.SRC_ORPHANED: frozenset({State.OBSERVED}),
        State.SRC_FINAL: frozenset({State.VALIDATED, State.HELD}),
        State.VALIDATED: frozenset({State.ACCOUNTED, State.QUEUED, State.HELD}),
        State.QUEUED: frozenset({State.ACCOUNTED, State.HELD}),
        State.ACCOUNTED: frozenset({State.DST_SIGNED, State.DST_SEEN, State.HELD}),
        State.HELD: frozenset(
            {State.OBSERVED, State.SRC_ORPHANED, State.SRC_FINAL, State.ACCOUNTED, State.REFUND_ACCOUNTED}
        ),
        State.REFUND_ACCOUNTED: frozenset({State.DST_SIGNED, State.DST_SEEN, State.HELD}),
        State.DST_SIGNED: frozenset({State.DST_SENT, State.DST_SEEN, State.DST_EXPIRED, State.HELD}),
        State.DST_SENT: frozenset({State.DST_SEEN, State.DST_EXPIRED, State.HELD}),
        State.DST_SEEN: frozenset({State.DST_SENT, State.DST_FINAL, State.HELD}),
        State.DST_EXPIRED: frozenset({State.DST_SIGNED, State.DST_SEEN, State.HELD}),
        State.DST_FINAL: frozenset({State.RECEIPTED, State.REFUNDED}),
        State.RECEIPTED: frozenset(),
        State.REFUNDED: frozenset(),
    }
)
"""From each state where it may go. A held message goes on where it was held: its source is asked for again, it is
judged again, or it is in the books already. `HELD → SRC_ORPHANED` is an operator's write-off. `SRC_ORPHANED →
OBSERVED` is a source that came back: nothing had been done."""

ENDED: Final = frozenset({State.RECEIPTED, State.REFUNDED})
"""Nothing follows. A message that is SRC_ORPHANED is not open either."""
ON_ITS_WAY: Final = frozenset({State.DST_SIGNED, State.DST_SENT, State.DST_SEEN})
"""A transaction of the destination's is out, or may be."""


class EdgeForbidden(AssertionError):
    """A step that is not in `EDGES`: a fault of the program, which changes nothing."""


def demand_edge(before: State, after: State) -> None:
    """Raises `EdgeForbidden`."""
    if after not in EDGES[before]:
        raise EdgeForbidden(f"{before} does not become {after}")


def drawing() -> str:
    """The state machine as a Mermaid diagram."""
    lines = ["stateDiagram-v2", "    [*] --> OBSERVED"]
    lines += [f"    {before} --> {after}" for before, afters in EDGES.items() for after in State if after in afters]
    lines += [f"    {state} --> [*]" for state in (*sorted(ENDED), State.SRC_ORPHANED)]
    return "\n".join(lines) + "\n"
