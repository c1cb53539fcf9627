"""What may cross now, as it is shown."""

from __future__ import annotations

from typing import Any, Final

from bridge.mirror.books.limits import Headroom

MS_IN_SEC: Final = 1000


def headroom_shown(room: Headroom) -> dict[str, Any]:
    bucket = room.bucket
    return {
        "limit_wh": room.capacity_wh,
        "left_wh": room.left_wh,
        "waiting_wh": room.waiting_wh,
        "window_secs": None if bucket is None else round(bucket.window_ms / MS_IN_SEC),
    }


def wait_secs(room: Headroom, wh: int) -> int:
    """How long a message of so much would wait by the limits, rounded up."""
    return -(-room.wait_ms(wh) // MS_IN_SEC)
