"""The memo of a deposit, `gwx1:<recipient>`, and for which movement of a transaction it speaks.

A memo counts for a movement when it is an instruction of the transaction itself, which all who signed have signed,
or when the very instruction that moved the tokens also called it. What some other program writes on the way says
nothing about tokens that are not its own. Of those that count there must be exactly one: with several, nobody can
tell which was meant. Memos that do not begin so are for others, and are passed over.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

from bridge.programs.instructions import Path, calls
from bridge.solana.rpc import SeenTransaction
from bridge.watching.rows import MEMO_PROGRAMS

PREFIX: Final = "gwx1:"
MOST_MEMO_BYTES: Final = 128
"""Of one memo; more is cut off. That of an identity key has 71."""
MOST_MEMOS: Final = 4
"""Of one movement; two are too many already."""

Memo: TypeAlias = tuple[Path, str]


def bridge_memos(seen: SeenTransaction) -> list[Memo]:
    """The bridge's memos of a transaction, whoever wrote them, in their order."""
    prefix = PREFIX.encode()
    return [
        (call.path, call.data[:MOST_MEMO_BYTES].decode(errors="replace"))
        for call in calls(seen)
        if call.program in MEMO_PROGRAMS and call.data.startswith(prefix)
    ]


def speaking_for(path: Path, memos: Sequence[Memo]) -> list[str]:
    """The texts of the memos that count for the movement at `path`."""
    return [text for at, text in memos if at.inner == 0 or at.outer == path.outer][:MOST_MEMOS]


def recipient_in(texts: Sequence[str]) -> str:
    """What the one memo says after its prefix; empty where there is none, or several."""
    return texts[0].removeprefix(PREFIX) if len(texts) == 1 else ""
