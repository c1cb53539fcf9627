"""`metawatt audit`: receipts of the bridge, checked with nothing but themselves and headers to trust.

It reads the files that it is given, and nothing else: no settings, no database, no network.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.text import Text

from bridge.mirror.receipts.audited_bsv import Trusting
from bridge.mirror.receipts.auditing import Verdict, audited, contradictions
from bridge.mirror.receipts.findings import Check, Outcome, overall
from bridge.mirror.receipts.receipt import MAX_BYTES
from bridge.mirror.receipts.trusted_headers import TrustedHeaders, read_headers
from config.errors import ErrorCode, MetawattError
from overlay.keys import is_public_key

_STATUS: Final = {Outcome.OK: 0, Outcome.FAILED: 1, Outcome.UNDECIDED: 3}
_COLOUR: Final = {
    Outcome.OK: "green",
    Outcome.ATTESTED: "dim",
    Outcome.UNDECIDED: "yellow",
    Outcome.FAILED: "bold red",
}
_SAID: Final = {
    Outcome.OK: "all that can be proven is proven; what is attested rests on the bridge's word",
    Outcome.UNDECIDED: "nothing is wrong, and something is open",
    Outcome.FAILED: "something is wrong",
}
_WIDTH: Final = max(map(len, Outcome))


class AuditUnusable(MetawattError):
    """A file cannot be read, or an option is no key."""

    default_code = ErrorCode.SETTINGS_INVALID


def run(receipts: Sequence[Path], headers: Path | None, issuer: str | None, bridge: str | None) -> None:
    """Audit, print every check as a line, and exit: 0 when all is proven, 1 when something is wrong, 3 when
    something is open. Raises `AuditUnusable`."""
    trusting = Trusting(_headers(headers), _key(issuer, "--issuer"), _key(bridge, "--bridge"))
    console = Console(soft_wrap=True, highlight=False)
    verdicts = []
    for path in receipts:
        verdict = audited(_read(path, MAX_BYTES), trusting)
        _print(console, str(path), verdict)
        verdicts.append(verdict)
    together = contradictions(verdicts)
    for check in together:
        _line(console, check)
    outcome = overall([check for verdict in verdicts for check in verdict.checks] + together)
    console.print(Text(f"{len(receipts)} receipt{'s' * (len(receipts) != 1)}: {_SAID[outcome]}", _COLOUR[outcome]))
    sys.exit(_STATUS[outcome])


def _print(console: Console, name: str, verdict: Verdict) -> None:
    console.print(Text(f"{name}{_crossing(verdict)}", "bold"))
    for check in verdict.checks:
        _line(console, check)


def _crossing(verdict: Verdict) -> str:
    """What a receipt is about, in a few words."""
    if verdict.receipt is None:
        return ""
    message = verdict.receipt.statement.message
    way = "Solana to BSV" if message.direction == "in" else "BSV to Solana"
    told = f"{message.units} base units from {way}"
    return f": {told}, given back" if verdict.receipt.statement.is_refund else f": {told}"


def _line(console: Console, check: Check) -> None:
    line = Text("  ")
    line.append(f"{check.outcome.value:<{_WIDTH}}  ", _COLOUR[check.outcome])
    line.append(check.text)
    console.print(line)


def _headers(path: Path | None) -> TrustedHeaders | None:
    if path is None:
        return None
    try:
        return read_headers(_read(path))
    except MetawattError as error:
        raise AuditUnusable(f"{path}: {error.message}") from error


def _read(path: Path, most: int | None = None) -> bytes:
    try:
        with path.open("rb") as file:
            # One byte more than a receipt has at most is enough to see that it is none.
            return file.read() if most is None else file.read(most + 1)
    except OSError as error:
        raise AuditUnusable(f"{path}: {error.strerror}") from error


def _key(text: str | None, option: str) -> bytes | None:
    if text is None:
        return None
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if not is_public_key(key):
        raise AuditUnusable(f"{option} is an identity key: 66 hex digits")
    return key
