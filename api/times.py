"""Times as the API writes them."""

from __future__ import annotations

from datetime import UTC, datetime


def iso_time(ms: int) -> str:
    """`2026-01-02T03:04:05.678Z`, as JavaScript's `toISOString` writes it."""
    text = datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")
