"""When a transaction on its way is sent again."""

from __future__ import annotations

import pytest
from solders.signature import Signature

from bridge.in_flight import InFlight
from bridge.records import AttemptState

NOW_MS = 1_000_000


def in_flight(sends: int) -> InFlight:
    one = InFlight(
        signature=Signature.default(),
        raw=b"",
        keys=(),
        last_valid_block_height=0,
        state=AttemptState.SENT,
        open_ms=NOW_MS,
    )
    for _ in range(sends):
        one.sent(NOW_MS)
    return one


@pytest.mark.parametrize(
    ("sends", "later_ms", "is_due"),
    [
        (0, 0, True),
        (1, 999, False),
        (1, 1_000, True),
        (2, 1_999, False),
        (2, 2_000, True),
        (5, 15_999, False),
        (5, 16_000, True),
        (9, 15_999, False),
        (9, 16_000, True),
        (9, -1, True),  # the clock went back, who knows how far
        (9, -3_600_000, True),
        (1, -15_000, False),
        (1, -15_001, True),
    ],
)
def test_pauses_double_up_to_a_bound_that_no_clock_exceeds(sends: int, later_ms: int, is_due: bool) -> None:
    assert in_flight(sends).is_to_be_sent(NOW_MS + later_ms) is is_due


def test_what_vanished_is_sent_at_once_and_begins_with_short_pauses() -> None:
    one = in_flight(5)
    one.slot = 7
    one.vanished()
    assert (one.slot, one.is_to_be_sent(NOW_MS)) == (None, True)
    one.sent(NOW_MS)
    assert one.is_to_be_sent(NOW_MS + 1_000)
    assert one.sends == 6
