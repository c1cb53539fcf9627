"""What a payment was for: that whose guard the transaction made just before it."""

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
    """What may have been paid: its key, the token account that it goes to, and the one that it comes from, None
    where it is minted."""

    key: bytes
    destination: Pubkey
    source: Pubkey | None = None


def minted_after_markers(
    seen: SeenTransaction, mint: Pubkey, expected: Mapping[Pubkey, Expected]
) -> dict[bytes, int]:
    """Base units by reading, of the readings in `expected` (by the address of their markers): `paid_after_markers`
    by mints."""
    return paid_after_markers(seen, mint, expected, Kind.MINT)


def paid_after_markers(
    seen: SeenTransaction, mint: Pubkey, expected: Mapping[Pubkey, Expected], kind: Kind
) -> dict[bytes, int]:
    """Base units by key, of what is in `expected` (by the address of its marker).

    A payment is the only instruction of its kind between its marker and the next marker, comes from its source and
    goes to its destination. A transaction whose instructions do not explain its balances pays nothing that can be
    told.
    """
    told = explained(seen, mint)
    payments = [one for one in told.instructions if one.kind is kind] if told else []
    paid: dict[bytes, int] = {}
    for marker, its_own in _by_marker(seen, payments):
        wanted = expected.get(marker)
        if wanted is not None and len(its_own) == 1 and _is(wanted, its_own[0]):
            paid[wanted.key] = its_own[0].units - its_own[0].fee
    return paid


def _is(wanted: Expected, payment: TokenInstruction) -> bool:
    return (payment.source, payment.destination) == (wanted.source, wanted.destination)


def explained(seen: SeenTransaction, mint: Pubkey) -> Movements | None:
    """What the transaction did to the mint; None, with a log entry, where that cannot be told for sure."""
    told = movements(seen, mint)
    if not told.problems:
        return told
    _log.warning("mint_unexplained", signature=str(seen.signature), problems=told.problems)
    return None


def _by_marker(
    seen: SeenTransaction, payments: list[TokenInstruction]
) -> list[tuple[Pubkey, list[TokenInstruction]]]:
    made = [(call.path, marker) for call in _outer(seen) if (marker := allocated(call)) is not None]
    ends = [path for path, _ in made[1:]] + [Path(len(seen.transaction.message.instructions))]
    return [
        (marker, [one for one in payments if start < one.path < end])
        for (start, marker), end in zip(made, ends, strict=False)
    ]


def _outer(seen: SeenTransaction) -> list[Call]:
    return [call for call in calls(seen) if call.path.inner == 0]
