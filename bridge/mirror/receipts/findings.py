"""What an audit finds, line by line."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final


class Outcome(StrEnum):
    OK = "ok"
    """Proven by what the receipt holds, and the headers that the auditor trusts."""
    ATTESTED = "attested"
    """The bridge says so, under its signature; nothing in the receipt proves or contradicts it."""
    UNDECIDED = "undecided"
    """It can be proven, with what the auditor did not give, or the receipt lacks."""
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class Check:
    """One line."""

    outcome: Outcome
    text: str


@dataclass(slots=True)
class Findings:
    """Checks, in the order in which they were made."""

    checks: list[Check] = field(default_factory=list)

    def proven(self, holds: bool, text: str, otherwise: str = "") -> bool:
        """`text` where it holds, else `otherwise`, or that it is not so; gives back whether it holds."""
        self.checks.append(
            Check(Outcome.OK, text) if holds else Check(Outcome.FAILED, otherwise or f"not so: {text}")
        )
        return holds

    def attested(self, text: str) -> None:
        self.checks.append(Check(Outcome.ATTESTED, text))

    def undecided(self, text: str) -> None:
        self.checks.append(Check(Outcome.UNDECIDED, text))

    def failed(self, text: str) -> None:
        self.checks.append(Check(Outcome.FAILED, text))


_GRAVITY: Final = (Outcome.FAILED, Outcome.UNDECIDED)


def overall(checks: Iterable[Check]) -> Outcome:
    """FAILED when anything is wrong, UNDECIDED when anything is open, else OK."""
    found = {check.outcome for check in checks}
    return next((outcome for outcome in _GRAVITY if outcome in found), Outcome.OK)
