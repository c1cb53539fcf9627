"""Our parser and verifier against both SDKs, over valid envelopes and mutants of them.

Where a verdict differs, `TYPESCRIPT` and `PYTHON` say which, and who is right. A difference that is in neither
fails the test; so does one that never shows up any more.

Mutants that are no BEEF at all are told from the rest by our parser, which is held to its own tables: over
bytes that lie about counts, `@bsv/sdk` allocates until it dies, and the Python SDK reads on past the end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from bench.fuzz_envelopes import Ground, Mutator, judge, make_seeds
from config.errors import BadRequest, ErrorCode
from overlay.envelope import BEEF_V1, parse_envelope
from overlay.sdk import load_sdk
from overlay.verify import VerifyLimits
from tests.overlay.differential.conftest import Judge
from tests.overlay.test_verify import BLOCKS, SCRIPTS

TYPESCRIPT_MUTANTS = 1_000
PYTHON_MUTANTS = 6_000

Verdict = ErrorCode | None
Difference = Callable[["Case", Verdict, str | None], bool]


class Case:
    """An envelope that both sides judge."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.ancestry = parse_envelope(data).ancestry()

    def stands_first(self) -> bool:
        """Whether some proof is of a block's first transaction."""
        proven = [(member.bump, member.transaction.txid) for member in self.ancestry if member.bump is not None]
        return any(bump.offset_of(txid) == 0 for bump, txid in proven)

    def has_a_path_unused(self) -> bool:
        """Whether a member without proof is marked as a transaction in some path all the same."""
        return any(
            member.bump is None and b"\x02" + member.transaction.txid in self.data for member in self.ancestry
        )


def accepted_though(code: ErrorCode) -> Difference:
    """They accept what we refuse with `code`."""
    return lambda case, ours, theirs: ours is code and theirs is None


TYPESCRIPT: dict[str, Difference] = {
    # Its MerklePath.verify has the rule of maturity the wrong way round, and takes offset 0 for a coinbase.
    "a mature coinbase, or any first transaction, is refused": lambda case, ours, theirs: (
        ours is None and theirs is not None and "Invalid merkle path" in theirs and case.stands_first()
    ),
    "an immature coinbase is spent": accepted_though(ErrorCode.COINBASE_IMMATURE),
    # It verifies each transaction by itself.
    "an output is spent by two members": accepted_though(ErrorCode.DOUBLE_SPEND),
    # It looks for a path itself when an entry names none.
    "a path that no entry refers to is used": lambda case, ours, theirs: (
        ours is not None and theirs is None and case.has_a_path_unused()
    ),
}
PYTHON: dict[str, Difference] = {
    "coins out of nothing": accepted_though(ErrorCode.VALUE_NOT_CONSERVED),
    "an immature coinbase is spent": accepted_though(ErrorCode.COINBASE_IMMATURE),
    "an output is spent by two members": accepted_though(ErrorCode.DOUBLE_SPEND),
    # "Missing hash": it cannot read the path of a block of one transaction.
    "a block of one transaction is refused": lambda case, ours, theirs: (
        theirs is not None and "Missing hash" in theirs
    ),
}
RARE = {
    "an output is spent by two members",
    "an immature coinbase is spent",
    "a path that no entry refers to is used",
}
"""Differences that so few mutants may not show."""


@pytest.fixture(scope="module")
def ground() -> Ground:
    return Ground()


def well_formed(mutants: Iterable[bytes]) -> list[bytes]:
    found = []
    for data in mutants:
        try:
            parse_envelope(data)
        except BadRequest:
            continue
        found.append(data)
    return found


def ours_of(data: bytes, ground: Ground) -> Verdict:
    try:
        judge(data, ground, VerifyLimits())
    except BadRequest as refusal:
        return refusal.code
    return None


def compare(
    envelopes: list[bytes], theirs: list[str | None], ground: Ground, known: dict[str, Difference]
) -> dict[str, int]:
    """How often each known difference showed up; fails on another one."""
    seen = dict.fromkeys(known, 0)
    for data, their in zip(envelopes, theirs, strict=True):
        ours = ours_of(data, ground)
        if (ours is None) == (their is None):
            continue
        case = Case(data)
        names = [name for name, is_that in known.items() if is_that(case, ours, their)]
        assert names, f"we say {ours}, they say {their}: {data.hex()}"
        seen[names[0]] += 1
    return seen


def test_typescript_agrees(ground: Ground, typescript: Judge) -> None:
    seeds = make_seeds(ground)
    mutator = Mutator(seeds, 11)
    envelopes = [seed.write() for seed in seeds]
    envelopes += well_formed(mutator.next() for _ in range(TYPESCRIPT_MUTANTS))
    seen = compare(envelopes, typescript(ground, envelopes), ground, TYPESCRIPT)
    assert all(seen[name] for name in seen.keys() - RARE), seen


class Tracker:
    """The ground, as the SDK asks for it."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground

    async def is_valid_root_for_height(self, root: str, height: int) -> bool:
        known = self._ground.root_at(height)
        return known is not None and known[::-1].hex() == root

    async def current_height(self) -> int:
        return self._ground.tip_height


def python_verdict(data: bytes, ground: Ground, sdk: Any) -> str | None:
    try:
        transaction = sdk.Transaction.from_beef(data)
        return None if asyncio.run(transaction.verify(Tracker(ground))) else "verify says false"
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def test_python_agrees(ground: Ground) -> None:
    """BEEF V1 with few generations: of V2 and Atomic it keeps the last transaction only, and the ways to a
    shared ancestor it walks one by one."""
    sdk = load_sdk()
    few = [seed for seed in make_seeds(ground) if seed.version == BEEF_V1 and len(seed.entries) <= 4]
    mutator = Mutator(few, 12)
    mutants = well_formed(mutator.next() for _ in range(PYTHON_MUTANTS))
    envelopes = [seed.write() for seed in few] + mutants
    envelopes = [data for data in envelopes if data[:4] == BEEF_V1 and len(parse_envelope(data).ancestry()) <= 4]
    assert len(envelopes) > 500
    theirs = [python_verdict(data, ground, sdk) for data in envelopes]
    seen = compare(envelopes, theirs, ground, PYTHON)
    assert all(seen[name] for name in seen.keys() - RARE), seen


def test_typescript_runs_scripts_alike(typescript: Judge) -> None:
    """The table of scripts that our verifier is held to."""
    ground = Ground(BLOCKS.tip_height, BLOCKS.roots)
    envelopes = {name: make() for name, (make, _) in SCRIPTS.items()}
    theirs = dict(zip(envelopes, typescript(ground, list(envelopes.values())), strict=True))
    differ = {name for name, (_, ours) in SCRIPTS.items() if (ours is None) != (theirs[name] is None)}
    assert not differ, {name: theirs[name] for name in differ}
