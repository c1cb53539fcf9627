"""The minter's decisions as tables: expiry, retry, and whose fault a failure is."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from solders.hash import Hash
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.message import MessageV0
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction

from bridge.minting.expiry import MARGIN_BLOCKS, Evidence, Verdict, verdict
from bridge.minting.failure import Share, culprit_of, failed_instruction, shares
from bridge.minting.retry import NEVER_MS, RetryPolicy
from bridge.records import ReadingState
from config.settings import TokenizationSettings


@pytest.mark.parametrize(
    ("height", "is_in_history", "guards", "expected"),
    [
        (0, False, 0, Verdict.WAIT),
        (150, False, 0, Verdict.WAIT),
        (150, False, 3, Verdict.WAIT),
        (150 + MARGIN_BLOCKS, False, 0, Verdict.WAIT),
        (151 + MARGIN_BLOCKS, False, 0, Verdict.EXPIRED),
        (151 + MARGIN_BLOCKS, True, 0, Verdict.WAIT),
        (151 + MARGIN_BLOCKS, True, 2, Verdict.WAIT),
        (151 + MARGIN_BLOCKS, False, 1, Verdict.GUARDED),
        (10**9, False, 4, Verdict.GUARDED),
    ],
)
def test_expiry(height: int, is_in_history: bool, guards: int, expected: Verdict) -> None:
    assert verdict(Evidence(150, height, is_in_history, guards)) is expected


@given(st.integers(0, 2**40), st.integers(0, 2**40), st.booleans(), st.integers(0, 9))
def test_nothing_expires_that_may_land(last_valid: int, height: int, is_in_history: bool, guards: int) -> None:
    found = verdict(Evidence(last_valid, height, is_in_history, guards))
    if found is Verdict.EXPIRED:
        assert height > last_valid and not is_in_history and not guards


_MINUTE_MS = 60_000


@pytest.mark.parametrize(
    ("failures", "minutes"),
    [(1, 5), (2, 10), (3, 20), (4, 40), (5, 60), (6, 60), (9, 60), (10, None), (11, None)],
)
def test_retry_delays(failures: int, minutes: int | None) -> None:
    retry = RetryPolicy.of(TokenizationSettings()).after(failures, 1_000)
    if minutes is None:
        assert (retry.state, retry.due_ms, retry.retry_ms) == (ReadingState.DEAD, None, NEVER_MS)
    else:
        due_ms = 1_000 + minutes * _MINUTE_MS
        assert (retry.state, retry.due_ms, retry.retry_ms) == (ReadingState.RETRY, due_ms, due_ms)


def test_without_retries_a_person_is_waited_for() -> None:
    retry = RetryPolicy.of(TokenizationSettings(retry_enabled=False)).after(1, 1_000)
    assert (retry.state, retry.due_ms) == (ReadingState.DEAD, None)


@given(st.integers(1, 10**9))
def test_delays_are_bounded(failures: int) -> None:
    policy = RetryPolicy(True, 2**31, 1, 3_600_000)
    assert 1 <= policy.delay_ms(failures) <= 3_600_000


M, F, AGAIN, ALONE = Share.MINTED, Share.FAILED, Share.AGAIN, Share.ALONE


@pytest.mark.parametrize(
    ("count", "culprit", "guarded", "expected"),
    [
        (1, None, set(), [F]),
        (1, 0, set(), [F]),
        (1, 0, {0}, [M]),
        (1, None, {0}, [M]),
        (3, 1, set(), [AGAIN, F, AGAIN]),
        (3, None, set(), [ALONE, ALONE, ALONE]),
        (3, 1, {1}, [AGAIN, M, AGAIN]),
        (3, 0, {2}, [F, AGAIN, M]),
        (3, None, {2}, [AGAIN, AGAIN, M]),
        (3, None, {0, 1, 2}, [M, M, M]),
    ],
)
def test_shares_of_a_failure(count: int, culprit: int | None, guarded: set[int], expected: list[Share]) -> None:
    assert shares(count, culprit, guarded) == expected


@pytest.mark.parametrize(
    ("error", "index"),
    [
        ({"InstructionError": [4, {"Custom": 0}]}, 4),
        ({"InstructionError": [0, "InvalidAccountData"]}, 0),
        ({"InstructionError": ["4", {"Custom": 0}]}, None),
        ({"InstructionError": [True, {"Custom": 0}]}, None),
        ({"InsufficientFundsForRent": {"account_index": 1}}, None),
        ("BlockhashNotFound", None),
        (None, None),
        ([], None),
    ],
)
def test_the_failed_instruction(error: Any, index: int | None) -> None:
    assert failed_instruction(error) == index


@pytest.mark.parametrize(
    ("failed", "culprit"), [(0, None), (1, 0), (2, 0), (3, 0), (4, 1), (5, 1), (6, 2), (7, 2), (99, None)]
)
def test_the_culprit_is_read_from_the_bytes(failed: int, culprit: int | None) -> None:
    payer, program = Keypair(), Pubkey.new_unique()
    guards = [Pubkey.new_unique() for _ in range(3)]

    def call(*accounts: Pubkey) -> Instruction:
        return Instruction(program, b"", [AccountMeta(account, False, True) for account in accounts])

    wallet = Pubkey.new_unique()
    instructions = [
        call(),
        *(call(payer.pubkey(), guards[0]), call(guards[0]), call(wallet)),
        *(call(guards[1]), call(wallet)),
        *(call(guards[2]), call(wallet)),
    ]
    message = MessageV0.try_compile(payer.pubkey(), instructions, [], Hash.default())
    transaction = VersionedTransaction(message, [payer])
    assert culprit_of({"InstructionError": [failed, {"Custom": 1}]}, transaction, guards) == culprit
