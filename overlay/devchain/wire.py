"""ARC's JSON for what the dev chain reports."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from overlay.devchain.report import Report


def timestamp(at_ms: int) -> str:
    """RFC 3339, UTC."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def status_body(report: Report) -> dict[str, Any]:
    """The reply to a question for a transaction's status."""
    return {
        "timestamp": timestamp(report.at_ms),
        "txid": report.txid[::-1].hex(),
        "txStatus": report.status.value,
        "blockHash": report.block_hash[::-1].hex() if report.block_hash else "",
        "blockHeight": report.block_height or 0,
        "merklePath": report.merkle_path.hex() if report.merkle_path else "",
        "extraInfo": report.detail,
        "competingTxs": list(report.competing) or None,
    }


def callback_body(report: Report) -> dict[str, Any]:
    """What a callback carries: the same, without what there is nothing to say of."""
    return {name: value for name, value in status_body(report).items() if value}
