"""Whose fault it is that a transaction of releases failed: that of who is to be paid, or the bridge's own.

A recipient may make his token account refuse what is sent to it. That must not hold up those who share his
transaction, and no repetition helps him: his message is held. When it is custody, the mint or the payer that is at
fault, nobody is held: it is tried again later, until a person has mended it.
"""

from __future__ import annotations

from typing import Any, Final

from solders.transaction import VersionedTransaction
from spl.token.constants import ASSOCIATED_TOKEN_PROGRAM_ID

from bridge.minting.failure import failed_instruction
from bridge.programs.instructions import TOKEN_PROGRAMS

_INSUFFICIENT_LAMPORTS: Final = 1
"""Of the System program, which the making of a token account calls."""
_OF_THE_BRIDGE: Final = frozenset({1, 4, 5, 17, 67})
"""Errors of the token programs: too few tokens in custody, not its owner, a fixed supply, frozen, a paused mint. A
recipient's account that is frozen is found so by itself before anything is signed again."""


def is_recipients(error: Any, transaction: VersionedTransaction) -> bool:
    """Whether a failure is that of the one whose instruction failed, once he is alone in the transaction."""
    failed = failed_instruction(error)
    if failed is None:
        return False
    message = transaction.message
    if failed >= len(message.instructions):
        return False
    program = message.account_keys[message.instructions[failed].program_id_index]
    code = _custom(error)
    if program == ASSOCIATED_TOKEN_PROGRAM_ID:
        return code != _INSUFFICIENT_LAMPORTS
    return program in TOKEN_PROGRAMS and code not in _OF_THE_BRIDGE


def _custom(error: Any) -> int | None:
    match error:
        case {"InstructionError": [_, {"Custom": int(code)}]}:
            return code
    return None
