"""Energy, from the text that was signed to base units of the mint, in integers all the way."""

from __future__ import annotations

import re
from decimal import Decimal
from fractions import Fraction
from typing import Final

from config.errors import BadRequest, ErrorCode
from config.settings import TokenizationSettings
from store.values import INT64_MAX

_PLACES: Final = 6
_KWH: Final = re.compile(r"(0|[1-9][0-9]{0,11})(?:\.([0-9]{1,6}))?").fullmatch


class AmountInvalid(BadRequest):
    """An amount of energy that cannot be taken."""

    default_code = ErrorCode.AMOUNT_INVALID


def milliwatthours(text: str) -> int:
    """The energy in mWh (10⁻⁶ kWh) of a decimal number of kWh with six places at most; `AmountInvalid` else."""
    parts = _KWH(text)
    if parts is None:
        raise AmountInvalid("kwh_amount must be a plain decimal number of kWh with at most six places")
    whole, places = parts.groups()
    return int(whole + (places or "").ljust(_PLACES, "0"))


class Conversion:
    """What becomes of kWh: the bounds of a reading, and the exact number of base units that it is worth."""

    def __init__(self, settings: TokenizationSettings) -> None:
        units_of_one = Fraction(settings.kwh_to_token_ratio) * Fraction(10) ** (settings.decimals - _PLACES)
        self._numerator, self._denominator = units_of_one.as_integer_ratio()
        self._most_kwh: Decimal = settings.max_reading_kwh
        self._most = int(Fraction(settings.max_reading_kwh) * 10**_PLACES)

    def units(self, text: str) -> int:
        """Base units of `text` kWh. `AmountInvalid` unless it is above zero, within the bound, and worth a whole
        number of them: nothing is ever rounded."""
        energy = milliwatthours(text)
        if not 0 < energy <= self._most:
            raise AmountInvalid(f"kwh_amount must be above zero and at most {self._most_kwh} kWh")
        units, rest = divmod(energy * self._numerator, self._denominator)
        if rest:
            raise AmountInvalid("kwh_amount is worth no whole number of base units of the token: use fewer places")
        if units > INT64_MAX:
            raise AmountInvalid("kwh_amount is worth more base units than can be counted")
        return units
