"""Bridges that lack one of their safeguards, so that a campaign can show that each is needed."""

from __future__ import annotations

from collections.abc import Sequence

from solders.instruction import Instruction
from solders.system_program import ID as SYSTEM_PROGRAM_ID

from bridge.mirror.book import Page
from bridge.mirror.books import accounting, ledger
from bridge.mirror.books.outstanding import Outstanding, Refusal
from bridge.mirror.message import Message
from bridge.mirror.to_solana import context as release_context
from bridge.programs.attribution import explained
from bridge.programs.instructions import Kind
from bridge.programs.mode import Facts
from bridge.programs.release import Crossing, Release, memo_text
from bridge.solana.rpc import SeenTransaction
from bridge.watching.rows import memos


def without(kind: str) -> None:
    """Take the safeguard out of this process's bridge."""
    if kind == "unmarked":
        release_context.Release = Unmarked  # type: ignore[misc]
    elif kind == "unaccounted":
        accounting.Outstanding = Unaccounted  # type: ignore[misc]
        ledger.Ledger.changed = _unrefused  # type: ignore[method-assign]


class Unmarked(Release):
    """Releases without markers: for which message one is, is in the memo alone."""

    def instructions(self, item: Crossing, facts: Facts) -> list[Instruction]:
        return [each for each in super().instructions(item, facts) if each.program_id != SYSTEM_PROGRAM_ID]

    def minted(self, items: Sequence[Crossing], seen: SeenTransaction) -> dict[bytes, int]:
        told = explained(seen, self.mint)
        payments = [one for one in told.instructions if one.kind is Kind.TRANSFER] if told else []
        wanted = {memo_text([item]).rpartition(":")[2]: item for item in items}
        named = [each for memo in memos(seen) for each in memo.rpartition(":")[2].split(",")]
        return {
            wanted[name].key: one.units
            for name, one in zip(named, payments, strict=False)
            if name in wanted and one.destination == wanted[name].destination
        }


class Unaccounted(Outstanding):
    """Believes what a certificate's origin says."""

    async def against(self, leaving: Message, origin: Message | None, page: Page) -> Refusal | None:
        return None


def _unrefused(self: ledger.Ledger, change: ledger.Change) -> ledger.Ledger:
    figures = self.document()
    for name, units in change.items():
        figures[name] = max(0, figures[name] + units)
    return ledger.Ledger(**figures)
