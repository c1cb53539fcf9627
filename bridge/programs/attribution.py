"""Which reading a mint was for: that whose guard the transaction made just before it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import structlog
from solders.pubkey import Pubkey

from bridge.programs.instructions import Call, Kind, Path, TokenInstruction, calls
from bridge.programs.marker import allocated
from bridge.programs.movements import Movements, movements
from bridge.solana.rpc import SeenTransaction

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Expected:
    """A reading that may have been minted: its key, and the token account that it is minted to."""

    key: bytes
    destination: Pubkey


def minted_after_markers(
    seen: SeenTransaction, mint: Pubkey, expected: Mapping[Pubkey, Expected]
) -> dict[bytes, int]:
    """Base units by reading, of the readings in `expected` (by the address of their markers).

    A reading's mint is the only one between its marker and the next marker, and goes to its destination. A
    transaction whose instructions do not explain its balances mints nothing that can be told.
    """
    told = explained(seen, mint)
    mints = [one for one in told.instructions if one.kind is Kind.MINT] if told else []
    minted: dict[bytes, int] = {}
    for marker, its_mints in _by_marker(seen, mints):
        wanted = expected.get(marker)
        if wanted is not None and len(its_mints) == 1 and its_mints[0].destination == wanted.destination:
            minted[wanted.key] = its_mints[0].units
    return minted


def explained(seen: SeenTransaction, mint: Pubkey) -> Movements | None:
    """What the transaction did to the mint; None, with a log entry, where that cannot be told for sure."""
    told = movements(seen, mint)
    if not told.problems:
        return told
    _log.warning("mint_unexplained", signature=str(seen.signature), problems=told.problems)
    return None


def _by_marker(seen: SeenTransaction, mints: list[TokenInstruction]) -> list[tuple[Pubkey, list[TokenInstruction]]]:
    made = [(call.path, marker) for call in _outer(seen) if (marker := allocated(call)) is not None]
    ends = [path for path, _ in made[1:]] + [Path(len(seen.transaction.message.instructions))]
    return [
        (marker, [one for one in mints if start < one.path < end])
        for (start, marker), end in zip(made, ends, strict=False)
    ]


def _outer(seen: SeenTransaction) -> list[Call]:
    return [call for call in calls(seen) if call.path.inner == 0]
