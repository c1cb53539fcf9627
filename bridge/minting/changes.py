"""The writes that move a reading or an attempt on, each a compare-and-set on where it was read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from bridge.minting.flights import Flight
from bridge.minting.retry import ASKED_MS, RetryPolicy
from bridge.records import ATTEMPTS, READINGS, AttemptState, ReadingState
from store.port import Document, Patch

HELD_FOR: Final = "minting"
"""`held_for` of a reading that the chain contradicts."""
_READ: Final = ("state", "attempt", "due_ms", "wallet", "units", "signature")
_ERROR_CHARACTERS: Final = 500


def _moved(row: Document, changes: Mapping[str, Any]) -> Patch:
    """A reading changed, if it is still as it was read: at the same moment of its life, and with the same order.
    A person may have put another reading in its place, in the same state."""
    return Patch(READINGS, row["_id"], changes, expect={name: row.get(name) for name in _READ})


def signed(row: Document, signature: bytes) -> Patch:
    """Into a transaction; out of every queue."""
    changes: dict[str, Any] = {"state": ReadingState.SIGNED, "attempt": signature, "due_ms": None, "retry_ms": None}
    return _moved(row, changes)


def minted(row: Document, signature: bytes, slot: int, now_ms: int) -> Patch:
    """To its end."""
    changes: dict[str, Any] = {
        "state": ReadingState.MINTED,
        "attempt": signature,
        "slot": slot,
        "minted_ms": now_ms,
        "open_ms": None,
        "due_ms": None,
        "retry_ms": None,
        "error": None,
    }
    return _moved(row, changes)


def again(row: Document, now_ms: int, *, alone: bool = False, error: str | None = None) -> Patch:
    """Due at once, no failure counted; one that a person asked for is so again."""
    due_ms = ASKED_MS if row.get("asked") else now_ms
    changes: dict[str, Any] = {"state": ReadingState.RETRY, "due_ms": due_ms, "retry_ms": due_ms}
    if alone:
        changes["alone"] = True
    if error is not None:
        changes["error"] = _short(error)
    return _moved(row, changes)


def later(row: Document, due_ms: int, error: str) -> Patch:
    """Due later, no failure counted."""
    changes: dict[str, Any] = {
        "state": ReadingState.RETRY,
        "due_ms": due_ms,
        "retry_ms": due_ms,
        "error": _short(error),
    }
    return _moved(row, changes)


def failed(row: Document, policy: RetryPolicy, now_ms: int, error: str) -> Patch:
    """A failure counted: later again, or dead."""
    failures = row["attempts"] + 1
    retry = policy.after(failures, now_ms)
    changes: dict[str, Any] = {
        "state": retry.state,
        "due_ms": retry.due_ms,
        "retry_ms": retry.retry_ms,
        "attempts": failures,
        "asked": False,
        "error": _short(error),
    }
    return _moved(row, changes)


def held(row: Document, error: str) -> Patch:
    """For a person to look at."""
    changes: dict[str, Any] = {
        "state": ReadingState.HELD,
        "held_for": HELD_FOR,
        "due_ms": None,
        "retry_ms": None,
        "error": _short(error),
    }
    return _moved(row, changes)


def asked(row: Document) -> Patch:
    """Due before all others, and with auto-mint off, too. A dead one begins to count anew."""
    changes: dict[str, Any] = {"due_ms": ASKED_MS, "asked": True}
    if row["state"] != ReadingState.ACCEPTED:
        changes |= {"state": ReadingState.RETRY, "retry_ms": ASKED_MS}
    if row["state"] == ReadingState.DEAD:
        changes["attempts"] = 0
    if row["state"] == ReadingState.HELD:
        changes["held_for"] = None
    return _moved(row, changes)


def attempt_at(flight: Flight, state: AttemptState, slot: int | None) -> Patch:
    """An open attempt, sent or seen."""
    changes: dict[str, Any] = {"state": state, "slot": slot, "sends": flight.sends, "error": flight.refusal}
    return Patch(ATTEMPTS, flight.key, changes, expect={"open_ms": flight.open_ms})


def attempt_over(flight: Flight, state: AttemptState, slot: int | None = None, error: Any = None) -> Patch:
    """An attempt at its end."""
    changes: dict[str, Any] = {"state": state, "slot": slot, "sends": flight.sends, "error": error, "open_ms": None}
    return Patch(ATTEMPTS, flight.key, changes, expect={"open_ms": flight.open_ms})


def _short(error: str) -> str:
    return error[:_ERROR_CHARACTERS]
