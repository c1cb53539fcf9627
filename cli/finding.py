"""What a doctor's check found: a verdict, what was seen, and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    OK = "ok"
    WARNING = "warning"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor's report. `cure` says what to do, unless all is well."""

    subject: str
    verdict: Verdict
    seen: str
    cure: str = ""


def ok(subject: str, seen: str) -> Finding:
    """All is well."""
    return Finding(subject, Verdict.OK, seen)


def warning(subject: str, seen: str, cure: str) -> Finding:
    """The node runs, but an operator should know."""
    return Finding(subject, Verdict.WARNING, seen, cure)


def broken(subject: str, seen: str, cure: str) -> Finding:
    """The node cannot do its work like this."""
    return Finding(subject, Verdict.BROKEN, seen, cure)
