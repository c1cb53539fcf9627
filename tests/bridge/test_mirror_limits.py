"""Limits: a bucket's arithmetic, to the millisecond and the Wh."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.mirror.books.limits import Bucket, Headroom, Limits
from bridge.mirror.states import Direction
from config.settings import BridgeSettings

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


def bucket(capacity_wh: int = 1_000, window_ms: int = DAY_MS) -> Bucket:
    return Bucket.full(capacity_wh, window_ms, 0)


@pytest.mark.parametrize(
    ("taken", "wh", "wait_ms"),
    [
        ([], 1_000, 0),
        ([1_000], 1, DAY_MS // 1_000),
        ([1_000], 500, DAY_MS // 2),
        ([400, 400], 300, DAY_MS // 10),
        ([], 5_000, 0),  # larger than the bucket: a full one lets it pass, and is empty afterwards
        ([1], 5_000, DAY_MS // 1_000),
        ([5_000], 1, DAY_MS // 1_000),
    ],
)
def test_how_long_a_message_waits(taken: list[int], wh: int, wait_ms: int) -> None:
    filled = bucket()
    for each in taken:
        filled = filled.taken(each)
    assert filled.wait_ms(wh) == wait_ms
    assert filled.at(wait_ms).wait_ms(wh) == 0
    assert wait_ms == 0 or filled.at(wait_ms - 1).wait_ms(wh) == 1


def test_what_crosses_the_other_way_makes_room_and_never_too_much() -> None:
    assert bucket().taken(700).refilled(300).left_wh == 600
    assert bucket().taken(100).refilled(300).left_wh == 1_000


def test_a_clock_that_was_set_back_refills_nothing() -> None:
    emptied = bucket().taken(1_000).at(HOUR_MS)
    assert emptied.at(0).left_wh == emptied.left_wh
    assert emptied.at(0).at_ms == 0


def test_a_bucket_is_stored_exactly() -> None:
    filled = bucket(7, 1_000).taken(5).at(333).taken(3).awaited(9)
    row = filled.document()
    assert (row["level_wh"], row["fraction"], row["waiting_wh"]) == (1, 331, 9)
    assert Bucket.read(row, 7, 1_000, 333) == filled


def test_a_smaller_limit_counts_at_once() -> None:
    row = bucket(1_000).document()
    assert Bucket.read(row, 100, DAY_MS, 0).left_wh == 100
    assert Bucket.read(row, 100, HOUR_MS, 0).left_wh == 100


@given(
    st.integers(1, 50),
    st.integers(1, 1_000),
    st.lists(st.tuples(st.integers(0, 300), st.integers(1, 80)), max_size=40),
)
def test_no_window_lets_pass_more_than_two_buckets(
    capacity_wh: int, window_ms: int, asked: list[tuple[int, int]]
) -> None:
    """What passes in one window is what the bucket held and what was refilled; a message larger than the bucket
    counts as the bucket."""
    filled, now_ms = Bucket.full(capacity_wh, window_ms, 0), 0
    passed: list[tuple[int, int]] = []
    for pause_ms, wh in asked:
        now_ms = max(now_ms + pause_ms, now_ms + filled.at(now_ms + pause_ms).wait_ms(wh) + pause_ms)
        filled = filled.at(now_ms)
        assert filled.wait_ms(wh) == 0
        filled = filled.taken(wh)
        passed.append((now_ms, min(wh, capacity_wh)))
        assert 0 <= filled.level <= capacity_wh * window_ms
    for begin_ms, _ in passed:
        inside = sum(wh for at_ms, wh in passed if begin_ms <= at_ms < begin_ms + window_ms)
        assert inside <= 2 * capacity_wh


def test_who_waits_is_not_overtaken() -> None:
    waiting = bucket().taken(900).awaited(300)
    assert (waiting.left_wh, waiting.wait_ms(50)) == (0, DAY_MS // 4)
    assert waiting.wait_ms(300, ahead_wh=0) == DAY_MS // 5
    assert waiting.awaited(-300).left_wh == 100
    assert waiting.awaited(-1_000).waiting_wh == 0


def test_headroom_without_a_bound() -> None:
    room = Headroom(Direction.IN, None, large_wh=100, large_delay_ms=5_000)
    assert (room.capacity_wh, room.left_wh, room.waiting_wh) == (None, None, 0)
    assert (room.wait_ms(99), room.wait_ms(100)) == (0, 5_000)


def test_headroom_counts_the_delay_before_the_turn() -> None:
    room = Headroom(Direction.OUT, bucket(1_000).taken(1_000), large_wh=500, large_delay_ms=DAY_MS // 4)
    assert room.wait_ms(100) == DAY_MS // 10
    assert room.wait_ms(500) == DAY_MS // 2
    assert room.waiting_wh == 0
    assert Headroom(Direction.OUT, bucket(10).taken(10).awaited(4), 1, 0).waiting_wh == 4


def test_the_settings_say_which_direction_is_bounded() -> None:
    settings = BridgeSettings(limit_in_wh=5, limit_window_hours=0.5, large_delay_secs=1.5)
    limits = Limits(None, settings, lambda: 0)  # type: ignore[arg-type]
    assert limits.is_bounded(Direction.IN)
    assert not limits.is_bounded(Direction.OUT)
    assert limits.bucket(Direction.IN, None, 0).window_ms == HOUR_MS // 2
    assert limits.large_delay_ms == 1_500
