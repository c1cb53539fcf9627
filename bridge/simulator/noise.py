"""Smooth chance: noise that is a function of its name and the time, so that a meter that is started again, or asked
for an earlier interval, tells the same as before.

Values lie on a lattice of hashes and are interpolated between; several octaves together look like weather.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

HOUR_MS: Final = 3_600_000
_DRAW_BYTES: Final = 8
_DRAWS: Final = 1 << 8 * _DRAW_BYTES


def draw(*names: object) -> float:
    """An even draw in [0, 1) that depends on the names alone."""
    text = "|".join(map(str, names)).encode()
    return int.from_bytes(blake2b(text, digest_size=_DRAW_BYTES).digest(), "big") / _DRAWS


def between(low: float, high: float, *names: object) -> float:
    """An even draw in [low, high)."""
    return low + (high - low) * draw(*names)


def smooth(name: str, at_ms: int, period_ms: int) -> float:
    """Noise in [0, 1] that changes over `period_ms`."""
    index, rest = divmod(at_ms, period_ms)
    share = rest / period_ms
    eased = share * share * (3 - 2 * share)
    first, second = draw(name, period_ms, index), draw(name, period_ms, index + 1)
    return first + (second - first) * eased


def weather(name: str, at_ms: int) -> float:
    """Autocorrelated noise in [0, 1]: systems that pass in a day and a half, spells of hours, and gusts."""
    octaves = ((36 * HOUR_MS, 0.5), (5 * HOUR_MS, 0.3), (HOUR_MS // 3, 0.2))
    return sum(weight * smooth(name, at_ms, period_ms) for period_ms, weight in octaves)
