"""What happened to readings, told to whoever listens: `/ws`, the metrics. A hint, never the truth.

The kinds and their fields are those of GridTokenX's gateway; `type` on the wire is the kind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeAlias


class NoticeKind(StrEnum):
    RECEIVED = "meter_reading_received"
    MINTED = "tokens_minted"
    REFUSED = "meter_reading_validation_failed"
    BATCH_DONE = "batch_minting_completed"


@dataclass(frozen=True, slots=True)
class Notice:
    """`wallet` and `meter` are what listeners filter by; a batch's notice has neither, and goes to all. The
    `error_code` of a refusal's body is what refusals are counted by."""

    kind: NoticeKind
    body: Mapping[str, Any] = field(default_factory=dict)
    wallet: str | None = None
    meter: str | None = None


Tell: TypeAlias = Callable[[Notice], None]
"""Never raises, never waits."""


def tell_nobody(notice: Notice) -> None:
    """Where nobody listens."""
