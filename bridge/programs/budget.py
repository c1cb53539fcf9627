"""Compute units: what the instructions of a minting transaction may use, asked for only where units are paid.

A transaction that pays no priority fee leaves the runtime's own limit (200,000 for each instruction), which is
far more than is needed, and saves 52 bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from solders.compute_budget import set_compute_unit_limit, set_compute_unit_price
from solders.instruction import Instruction
from solders.pubkey import Pubkey
from solders.system_program import ID as SYSTEM_PROGRAM_ID
from spl.memo.constants import MEMO_PROGRAM_ID
from spl.token.constants import ASSOCIATED_TOKEN_PROGRAM_ID, TOKEN_2022_PROGRAM_ID, TOKEN_PROGRAM_ID

MAX_COMPUTE_UNITS: Final = 1_400_000

_UNITS: Final[dict[Pubkey, int]] = {
    SYSTEM_PROGRAM_ID: 300,  # measured 150
    TOKEN_PROGRAM_ID: 1_000,  # measured below 200; SPL Token before p-token took 4,500
    TOKEN_2022_PROGRAM_ID: 6_000,  # measured below 2,000, of a mint without extensions
    # Measured 14,000 to 25,000, and 1,500 more for each try of the address's derivation.
    ASSOCIATED_TOKEN_PROGRAM_ID: 60_000,
}
_MEMO_UNITS: Final = 2_000
_MEMO_UNITS_PER_BYTE: Final = 400
_OTHER_UNITS: Final = 150_000  # energy_token, whose programs cannot be run here


def with_priority(instructions: Iterable[Instruction], priority_micro_lamports: int) -> list[Instruction]:
    """The instructions, with a price for compute units and a limit in front where the price is not 0.

    `priority_micro_lamports` is for one compute unit.
    """
    found = list(instructions)
    if not priority_micro_lamports:
        return found
    limit = min(MAX_COMPUTE_UNITS, sum(map(_units, found)) + 2 * 150)
    return [set_compute_unit_limit(limit), set_compute_unit_price(priority_micro_lamports), *found]


def _units(instruction: Instruction) -> int:
    if instruction.program_id == MEMO_PROGRAM_ID:
        return _MEMO_UNITS + _MEMO_UNITS_PER_BYTE * len(instruction.data)
    return _UNITS.get(instruction.program_id, _OTHER_UNITS)
