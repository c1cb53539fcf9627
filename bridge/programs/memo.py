"""The memo of a minting transaction: the readings' ids, in the order of their mints, for people and auditors.

`gwx1:reading:<id>,<id>…`, each id the base58 of a reading's key. It is a note, not a proof: anybody can write
one.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

import base58
from solders.instruction import Instruction
from spl.memo.constants import MEMO_PROGRAM_ID

_PREFIX: Final = "gwx1:reading:"


def reading_memo(keys: Iterable[bytes]) -> Instruction:
    """It names no signer: those of the transaction are known."""
    text = _PREFIX + ",".join(_shown(key) for key in keys)
    return Instruction(MEMO_PROGRAM_ID, text.encode("ascii"), [])


@lru_cache(maxsize=1024)  # a transaction's memo is written anew with each order that is tried in it
def _shown(key: bytes) -> str:
    return base58.b58encode(key).decode()
