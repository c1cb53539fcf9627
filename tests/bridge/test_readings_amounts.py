"""Energy becomes base units exactly, or not at all."""

from __future__ import annotations

from decimal import Decimal, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.meters.amounts import AmountInvalid, Conversion, milliwatthours
from config.settings import TokenizationSettings


def conversion(ratio: str = "1.0", decimals: int = 9, most: str = "100.0") -> Conversion:
    return Conversion(
        TokenizationSettings(kwh_to_token_ratio=Decimal(ratio), decimals=decimals, max_reading_kwh=Decimal(most))
    )


@pytest.mark.parametrize(
    ("text", "ratio", "decimals", "units"),
    [
        ("1", "1.0", 9, 1_000_000_000),
        ("1.5", "1.0", 9, 1_500_000_000),
        ("1.500000", "1.0", 9, 1_500_000_000),
        ("0.000001", "1.0", 9, 1_000),
        ("100", "1.0", 9, 100_000_000_000),
        ("100.000000", "1.0", 9, 100_000_000_000),
        ("100.000001", "1.0", 9, None),
        ("101", "1.0", 9, None),
        ("999999999999", "1.0", 9, None),
        ("0", "1.0", 9, None),
        ("0.000000", "1.0", 9, None),
        ("0.000001", "1.0", 6, 1),
        ("0.000001", "1.0", 5, None),
        ("0.00001", "1.0", 5, 1),
        ("2", "1.0", 0, 2),
        ("0.5", "1.0", 0, None),
        ("0.5", "2", 0, 1),
        ("0.1", "0.333333", 9, 33_333_300),
        ("0.000001", "0.333333", 9, None),
        ("100", "1000000", 12, None),
        ("-1", "1.0", 9, None),
        ("+1", "1.0", 9, None),
        ("01", "1.0", 9, None),
        ("1.", "1.0", 9, None),
        (".5", "1.0", 9, None),
        ("1e1", "1.0", 9, None),
        ("1,5", "1.0", 9, None),
        ("1.5000000", "1.0", 9, None),
        (" 1", "1.0", 9, None),
        ("1\n", "1.0", 9, None),
        ("１", "1.0", 9, None),
        ("NaN", "1.0", 9, None),
        ("", "1.0", 9, None),
    ],
)
def test_units(text: str, ratio: str, decimals: int, units: int | None) -> None:
    rule = conversion(ratio, decimals)
    if units is not None:
        assert rule.units(text) == units
        return
    with pytest.raises(AmountInvalid):
        rule.units(text)


@given(
    energy=st.integers(1, 100_000_000),
    places=st.integers(0, 6),
    ratio=st.decimals("0.000001", "1000", places=6),
    decimals=st.integers(0, 12),
)
def test_units_are_what_exact_decimals_say(energy: int, places: int, ratio: Decimal, decimals: int) -> None:
    kwh = Decimal(energy - energy % 10 ** (6 - places)).scaleb(-6)
    text = f"{kwh:.{places}f}"
    rule = Conversion(TokenizationSettings(kwh_to_token_ratio=ratio, decimals=decimals))
    with localcontext() as context:
        context.prec = 60
        exact = Decimal(text) * ratio * Decimal(10) ** decimals
    if kwh > 0 and exact == exact.to_integral_value():
        assert rule.units(text) == exact
        return
    with pytest.raises(AmountInvalid):
        rule.units(text)


@given(st.integers(0, 10**18 - 1))
def test_energy_is_read_as_it_is_written(energy: int) -> None:
    whole, rest = divmod(energy, 10**6)
    assert milliwatthours(f"{whole}.{rest:06d}") == energy
