"""What a transaction did to a mint: its decoded instructions, held against the balances before and after.

Balances are the truth about amounts, instructions about who did what. Where they differ, nothing is guessed:
the difference is told, for a person.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from solders.pubkey import Pubkey

from bridge.programs.instructions import TokenInstruction, decoded
from bridge.solana.rpc import SeenTransaction


@dataclass(frozen=True, slots=True)
class Movements:
    """Of one mint. `problems` says where instructions and balances differ, and what could not be read; when it
    is empty, the instructions explain every balance to the base unit. `differing` are the token accounts whose
    balances they do not explain."""

    instructions: tuple[TokenInstruction, ...]
    supply_change: int
    problems: tuple[str, ...]
    differing: frozenset[Pubkey] = frozenset()


def supply_change(seen: SeenTransaction, mint: Pubkey) -> int:
    """Base units that came into being, negative for those that ceased: the sum of all balances after, less
    that before. 0 of a transaction that failed."""
    return sum(balance_changes(seen, mint).values())


def balance_changes(seen: SeenTransaction, mint: Pubkey) -> Counter[Pubkey]:
    """By token account, in base units. An account that was opened or closed had 0, or has."""
    changes: Counter[Pubkey] = Counter()
    for balance in seen.post_tokens:
        if balance.mint == mint:
            changes[balance.account] += balance.units
    for balance in seen.pre_tokens:
        if balance.mint == mint:
            changes[balance.account] -= balance.units
    return changes


def movements(seen: SeenTransaction, mint: Pubkey) -> Movements:
    """What the transaction did to the mint; nothing if it failed."""
    found = decoded(seen)
    instructions = tuple(one for one in found.instructions if one.mint == mint)
    changes = balance_changes(seen, mint)
    problems = [f"Instruction {tuple(one.path)}: {one.reason}" for one in found.malformed]
    told = _told(instructions)
    differing = frozenset(account for account in told.keys() | changes.keys() if told[account] != changes[account])
    problems += _differences(told, changes, differing)
    return Movements(instructions, sum(changes.values()), tuple(problems), differing)


def _told(instructions: tuple[TokenInstruction, ...]) -> Counter[Pubkey]:
    """The changes of balances that the instructions make."""
    told: Counter[Pubkey] = Counter()
    for one in instructions:
        if one.source is not None:
            told[one.source] -= one.units
        if one.destination is not None:
            told[one.destination] += one.units - one.fee
    return told


def _differences(told: Counter[Pubkey], changes: Counter[Pubkey], differing: frozenset[Pubkey]) -> list[str]:
    return [
        f"Token account {account}: instructions move {told[account]:+d} base units, balances {changes[account]:+d}"
        for account in sorted(differing, key=bytes)
    ]
