"""What is done about a cursor that the cluster does not show."""

from __future__ import annotations

import pytest
from solders.signature import Signature

from bridge.solana.rpc import SeenSignature
from bridge.watching.cursor import ENOUGH_MISSES, Cursor, Verdict, verdict

SIGNATURE = Signature.new_unique()


@pytest.mark.parametrize(
    ("misses", "final_slot", "first_slot", "expected"),
    [
        (1, 2000, 0, Verdict.AGAIN),
        (ENOUGH_MISSES - 1, 2000, 0, Verdict.AGAIN),
        (ENOUGH_MISSES, 99, 0, Verdict.AGAIN),  # it lags behind the cursor
        (ENOUGH_MISSES, 2000, 0, Verdict.GAP),  # it has the slot, and not its transaction
        (ENOUGH_MISSES, 2000, 100, Verdict.GAP),
        (ENOUGH_MISSES, 2000, 101, Verdict.BY_SLOT),  # forgotten, and everything after it is known
        (ENOUGH_MISSES, 2000, 501, Verdict.BY_SLOT),
        (ENOUGH_MISSES, 2000, 502, Verdict.GAP),  # slot 501 is not known
    ],
)
def test_verdicts(misses: int, final_slot: int, first_slot: int, expected: Verdict) -> None:
    cursor = Cursor(slot=100, whole_slot=500, signature=SIGNATURE)

    assert verdict(cursor, misses, final_slot, first_slot) is expected


def test_a_cursor_is_what_was_stored() -> None:
    cursor = Cursor(7, 6, SIGNATURE, Signature.new_unique())

    assert Cursor.of(cursor.fields) == cursor
    assert Cursor.of(Cursor.after_slot(3).fields) == Cursor.after_slot(3)


def test_a_cursor_moves_to_what_was_applied_and_remembers_the_one_before() -> None:
    first, second, third = (SeenSignature(Signature.new_unique(), slot, None, None) for slot in (5, 5, 9))
    cursor = Cursor.after_slot(-1).at(first, None)

    assert cursor == Cursor(5, 4, first.signature, None)
    assert cursor.at(second, None) == Cursor(5, 4, second.signature, first.signature)
    assert cursor.at(third, second) == Cursor(9, 8, third.signature, second.signature)
    assert Cursor(5, 400, first.signature).at(third, None).whole_slot == 400
