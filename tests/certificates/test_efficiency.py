"""The efficiency factor of an interval."""

from __future__ import annotations

from fractions import Fraction

import pytest

from certificates.allocation import EnergyLacking
from certificates.efficiency import MAX_INTERVAL_MS, Efficiency, Flow, measure
from config.errors import BadRequest, ErrorCode

HOUR = 3_600_000
IN = [Flow(0, HOUR, 600), Flow(HOUR, 2 * HOUR, 400), Flow(9 * HOUR, 11 * HOUR, 5000)]
OUT = [Flow(3 * HOUR, 4 * HOUR, 500), Flow(4 * HOUR, 5 * HOUR, 390), Flow(11 * HOUR, 12 * HOUR, 4000)]


@pytest.mark.parametrize(
    ("interval", "parasitic_wh", "expected"),
    [
        ((0, 5 * HOUR), 0, Efficiency(1000, 890)),
        ((0, 10 * HOUR), 0, Efficiency(1000, 890)),
        ((0, 10 * HOUR), 68, Efficiency(1068, 890, 68)),
        ((0, 4 * HOUR), 0, Efficiency(1000, 500)),
        ((1, 4 * HOUR), 100, Efficiency(500, 500, 100)),
        ((0, 12 * HOUR), 0, Efficiency(6000, 4890)),
    ],
)
def test_flows_count_that_lie_in_the_interval(
    interval: tuple[int, int], parasitic_wh: int, expected: Efficiency
) -> None:
    measured = measure(IN, OUT, interval, parasitic_wh)
    assert measured == expected
    assert measured.factor == Fraction(expected.output_wh, expected.input_wh)
    assert measured.losses_wh == expected.input_wh - expected.output_wh


@pytest.mark.parametrize(
    "interval", [(3 * HOUR, 5 * HOUR), (0, 2 * HOUR), (HOUR, 5 * HOUR), (50 * HOUR, 60 * HOUR)]
)
def test_without_input_or_output_or_with_more_output_there_is_no_efficiency(interval: tuple[int, int]) -> None:
    with pytest.raises(EnergyLacking):
        measure(IN, OUT, interval)


@pytest.mark.parametrize("interval", [(0, 0), (HOUR, 0), (0, MAX_INTERVAL_MS + 1)])
def test_an_interval_is_at_most_six_months(interval: tuple[int, int]) -> None:
    with pytest.raises(BadRequest) as caught:
        measure(IN, OUT, interval)
    assert caught.value.code is ErrorCode.INTERVAL_INVALID


def test_six_months_are_allowed() -> None:
    assert measure(IN, OUT, (0, MAX_INTERVAL_MS)).input_wh == 6000
