"""The ledger: every step keeps the equation, and nothing is ever below zero."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.mirror.books.ledger import (
    Change,
    Ledger,
    LedgerRefuses,
    arrived_in,
    arrived_out,
    entered_in,
    entered_out,
    refund_decided,
    refund_ended,
)
from bridge.mirror.message import Message
from bridge.mirror.states import Direction, Kind


def a_crossing(kind: Kind, units: int = 5, **facts: Any) -> Message:
    direction = Direction.OUT if kind is Kind.EXIT else Direction.IN
    return Message(bytes(32), direction, kind, "mint", units, b"", b"", "who", 0, facts=facts)


DEPOSIT, BURN, EXIT = (a_crossing(kind) for kind in (Kind.DEPOSIT, Kind.BURN, Kind.EXIT))


def entered(message: Message) -> Message:
    return replace(message, facts={"accounted": True})


@pytest.mark.parametrize(
    ("change", "figures"),
    [
        (entered_in(DEPOSIT), {"custody": 5, "in_flight_in": 5}),
        (entered_in(BURN), {"burned": 5, "in_flight_in": 5}),
        (arrived_in(DEPOSIT), {"in_flight_in": -5, "live": 5}),
        (entered_out(EXIT), {"live": -5, "in_flight_out": 5}),
        (arrived_out(EXIT, "lock"), {"in_flight_out": -5, "custody": -5}),
        (arrived_out(EXIT, "burn"), {"in_flight_out": -5, "minted": 5}),
        (refund_decided(DEPOSIT), {"custody": 5, "held": 5}),
        (refund_decided(BURN), {"burned": 5, "held": 5}),
        (refund_decided(entered(DEPOSIT)), {"in_flight_in": -5, "held": 5}),
        (refund_decided(EXIT), {}),
        (refund_decided(entered(EXIT)), {"in_flight_out": -5, "live": 5}),
        (refund_ended(DEPOSIT, "lock"), {"held": -5, "custody": -5}),
        (refund_ended(BURN, "burn"), {"held": -5, "minted": 5}),
        (refund_ended(EXIT, "lock"), {}),
    ],
)
def test_what_each_step_enters(change: Change, figures: dict[str, int]) -> None:
    assert dict(change) == figures
    start = Ledger(*[10] * 7)
    assert start.changed(change).difference == start.difference


def test_a_figure_below_zero_is_refused() -> None:
    ledger = Ledger().changed(entered_in(DEPOSIT))
    with pytest.raises(LedgerRefuses, match="live"):
        ledger.changed(entered_out(EXIT))


STEPS = [
    entered_in(DEPOSIT),
    entered_in(BURN),
    arrived_in(DEPOSIT),
    entered_out(EXIT),
    arrived_out(EXIT, "lock"),
    arrived_out(EXIT, "burn"),
    refund_decided(DEPOSIT),
    refund_decided(entered(DEPOSIT)),
    refund_decided(entered(EXIT)),
    refund_ended(DEPOSIT, "lock"),
]


@given(st.lists(st.sampled_from(STEPS), max_size=60))
def test_any_steps_in_any_order_keep_the_equation(steps: list[Change]) -> None:
    ledger = Ledger()
    for step in steps:
        try:
            ledger = ledger.changed(step)
        except LedgerRefuses:
            continue
        assert ledger.difference == 0
        assert min(ledger.document().values()) >= 0
    assert Ledger.read(ledger.document()) == ledger
