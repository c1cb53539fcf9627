"""The memo of a minting transaction: the readings' ids, in the order of their mints, for people and auditors.

`gwx1:reading:<id>,<id>…`, each id the base58 of a reading's key. It is a note, not a proof: anybody can write
one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from solders.instruction import Instruction
from spl.memo.constants import MEMO_PROGRAM_ID

from bridge.programs.short58 import short58

_PREFIX: Final = "gwx1:reading:"


def reading_memo(keys: Iterable[bytes]) -> Instruction:
    """It names no signer: those of the transaction are known."""
    text = _PREFIX + ",".join(map(short58, keys))
    return Instruction(MEMO_PROGRAM_ID, text.encode("ascii"), [])
