"""Which coins are split and joined."""

from __future__ import annotations

import pytest

from basket.purse import PurseCoin
from basket.reshape import MOST_OUTPUTS, Shape, plan_reshape
from tests.basket.test_purse import coin

SHAPE = Shape(coin_satoshis=1000, spare_coins=10, fee_rate=1)


def coins(*satoshis: int, depth: int = 0) -> list[PurseCoin]:
    return [coin(number, each, depth) for number, each in enumerate(satoshis)]


@pytest.mark.parametrize(
    ("free", "ready", "shape", "expected"),
    [
        pytest.param(coins(100_000), 1, SHAPE, (1, 9), id="a large coin is split into what is lacking"),
        pytest.param(coins(3000), 1, SHAPE, (1, 2), id="into as many as it pays for"),
        pytest.param(coins(100_000), 10, SHAPE, None, id="enough are ready"),
        pytest.param(coins(100_000), 5, SHAPE, None, id="half are ready: not worth a transaction yet"),
        pytest.param(coins(1999), 1, SHAPE, None, id="a coin of the right size stays whole"),
        pytest.param(coins(100_000, depth=1), 1, SHAPE, None, id="an unproven coin is not touched"),
        pytest.param(coins(*[100] * 15), 0, SHAPE, None, id="few small coins are not worth a fee"),
        pytest.param(coins(*[100] * 16), 10, SHAPE, (16, 1), id="many small coins are joined"),
        pytest.param(coins(*[20] * 16), 10, SHAPE, (16, 0), id="into one, if they are very small"),
        pytest.param(coins(*[2] * 50), 10, SHAPE, None, id="dust stays where it is"),
        pytest.param(coins(*[100] * 16, 5000), 0, SHAPE, (17, 6), id="both at once"),
        pytest.param(
            coins(10_000_000), 0, Shape(1000, 1000, 1), (1, MOST_OUTPUTS), id="no transaction becomes large"
        ),
        pytest.param(coins(2000), 0, Shape(1000, 10, 5000), None, id="a fee that eats it all"),
    ],
)
def test_what_is_planned(free: list[PurseCoin], ready: int, shape: Shape, expected: tuple[int, int] | None) -> None:
    plan = plan_reshape(free, ready, shape)
    assert (None if plan is None else (len(plan.coins), plan.count)) == expected
