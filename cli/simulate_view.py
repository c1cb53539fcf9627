"""What `metawatt simulate` shows: a table while it runs, and what came of it in the end."""

from __future__ import annotations

from collections import Counter
from time import monotonic
from typing import Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from bridge.simulator.books import Books
from bridge.simulator.plan import Plan
from bridge.simulator.run import Run
from bridge.simulator.site import kwh_text
from bridge.simulator.tally import Count, Tally

_MOST_DIFFERENCES: Final = 10


class View:
    """The live table of a run; called for each frame."""

    def __init__(self, plan: Plan, doing: Run, books: Books | None) -> None:
        self._plan = plan
        self._run = doing
        self._books = books
        self._began = monotonic()
        self._hint = "Ctrl-C ends it."

    def __call__(self) -> RenderableType:
        tally = self._run.tally
        lines: list[RenderableType] = [head(self._plan), table(tally), *counted(tally), self._rates(tally.total)]
        if self._books is not None:
            lines.append(held(self._books))
        return Group(*lines, Text(self._hint, style="dim"))

    async def waiting(self) -> None:
        """Say that no readings are taken any more, and wait for the tokens."""
        self._hint = "No more readings; waiting for tokens that are still to come. Ctrl-C ends it now."
        if self._books is not None:
            await self._books.settle()
        await self._run.following.catch_up()

    def _rates(self, total: Count) -> Text:
        secs = max(monotonic() - self._began, 0.001)
        told = f"{total.accepted / secs:,.1f} accepted/s; {total.waiting:,} to be handed in"
        if not self._run.following.is_allowed:
            return Text(f"{told}; whether they are minted is told to the operator only")
        minted = f"{total.minted / secs:,.1f} minted/s"
        return Text(f"{minted}, {told}, {total.accepted - total.minted:,} to be minted")


def head(plan: Plan) -> Text:
    """What is run."""
    meters = "1 meter" if plan.meters == 1 else f"{plan.meters:,} meters"
    return Text(f"{meters} read every {plan.interval_secs} s, for {plan.url}", style="bold")


def table(tally: Tally) -> Table:
    """What became of the readings, by kind of site."""
    shown = Table("", "meters", "readings", "nothing to give", "accepted", "minted", "refused", "kWh", "kWh minted")
    for column in shown.columns[1:]:
        column.justify = "right"
    for kind, count in tally.kinds.items():
        if count.meters:
            shown.add_row(kind.value, *_cells(count))
    shown.add_section()
    shown.add_row("all", *_cells(tally.total))
    return shown


def counted(tally: Tally) -> list[Text]:
    """A line each for refusals, and for calls that came to nothing; none where there were none."""
    lines = [_line("refused", tally.codes, "red"), _line("to be tried again", tally.troubles, "yellow")]
    lines.append(_line("not to be followed", tally.lost, "yellow"))
    if dropped := tally.total.dropped:
        lines.append(Text(f"dropped, the backlog was full: {dropped:,}", style="red"))
    return [line for line in lines if line.plain]


def held(books: Books) -> Text:
    """Tokens of all wallets, expected and actual, in base units."""
    expected, actual = sum(books.expected.values()), sum(books.actual.values())
    return Text(f"tokens in base units: {expected:,} expected, {actual:,} held")


def summary(plan: Plan, doing: Run, books: Books | None) -> RenderableType:
    """The end of a run: what was counted, and whether the wallets hold what they should."""
    lines: list[RenderableType] = [head(plan), table(doing.tally), *counted(doing.tally)]
    if left := len(doing.backlog):
        lines.append(Text(f"never handed in: {left:,}", style="yellow"))
    if books is None:
        lines.append(Text("Token balances were not compared: give --rpc and --mint.", style="yellow"))
        return Group(*lines)
    return Group(*lines, held(books), *_verdict(books))


def _verdict(books: Books) -> list[Text]:
    wallets, wrong = len(books.wallets), books.differences
    of_wallets = "the wallet holds" if wallets == 1 else f"all {wallets:,} wallets hold"
    mint = f"of mint {books.token.mint}"
    if not wrong:
        return [Text(f"Equal: {of_wallets} to the base unit what was accepted, {mint}.", style="green")]
    lines = [Text(f"Different: {len(wrong):,} of {wallets:,} wallets, {mint}.", style="bold red")]
    lines += [
        Text(f"  {one.wallet}: {one.expected:,} expected, {one.actual:,} held", style="red")
        for one in wrong[:_MOST_DIFFERENCES]
    ]
    return lines


def _cells(count: Count) -> tuple[str, ...]:
    numbers = (count.meters, count.taken, count.skipped, count.accepted, count.minted, count.refused)
    energies = (count.accepted_mwh, count.minted_mwh)
    return (*(f"{number:,}" for number in numbers), *(kwh_text(mwh) for mwh in energies))


def _line(what: str, counts: Counter[str], style: str) -> Text:
    told = ", ".join(f"{code} {count:,}" for code, count in counts.most_common())
    return Text(f"{what}: {told}" if told else "", style=style)
