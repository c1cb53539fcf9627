"""How the play is shown: acts, sentences, tables of certificates, and lines to try."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from certificates.token import Token

_WH_PER_KWH = 1000


class Stage:
    """Prints the play on a console; acts are numbered."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._acts = 0

    def act(self, title: str) -> None:
        self._acts += 1
        self._console.print()
        self._console.print(Text(f"{self._acts}. {title}", "bold"))

    def say(self, sentence: str) -> None:
        self._console.print(Text(f"   {sentence}"), soft_wrap=True)

    def certificates(self, tokens: Iterable[Token]) -> None:
        """A table, one certificate a row, in order of production."""
        table = Table("hour (UTC)", "source", "country", "certificates", "energy", "status", box=SIMPLE_HEAD)
        for token in sorted(tokens, key=lambda token: (token.bundle.period, token.bundle.range)):
            table.add_row(*_row(token))
        self._console.print(table)

    def totals(self, headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """A table of sums."""
        table = Table(*headings, box=SIMPLE_HEAD)
        for row in rows:
            table.add_row(*row)
        self._console.print(table)

    def lines(self, lines: Iterable[str]) -> None:
        """Lines to copy, kept whole."""
        for line in lines:
            self._console.print(Text(line, "cyan"), soft_wrap=True)


def _row(token: Token) -> tuple[str, ...]:
    bundle = token.bundle
    start, _ = bundle.period
    return (
        f"{start:%Y-%m-%d %H}h",
        bundle.source,
        bundle.country,
        str(bundle.range),
        kwh(bundle.energy_wh),
        bundle.status.value,
    )


def kwh(energy_wh: int) -> str:
    """An energy for people, without loss."""
    return f"{energy_wh / _WH_PER_KWH:,.3f} kWh"
