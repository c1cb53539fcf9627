"""What strangers write into a transaction is kept within bounds."""

from __future__ import annotations

from dataclasses import replace

import pytest
from solders.hash import Hash
from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.message import MessageV0
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction

from bridge.solana.rpc import InnerInstruction, SeenTransaction
from bridge.watching.rows import MEMO_PROGRAMS, MOST_MEMO_CHARACTERS, memos


def seen(*texts: bytes, inner: tuple[bytes, ...] = ()) -> SeenTransaction:
    """A transaction with these memos, and with others that its first instruction calls."""
    payer, program = Keypair(), min(MEMO_PROGRAMS, key=bytes)
    calls = [Instruction(program, text, []) for text in texts]
    transaction = VersionedTransaction(MessageV0.try_compile(payer.pubkey(), calls, [], Hash.default()), [payer])
    keys: tuple[Pubkey, ...] = tuple(transaction.message.account_keys)
    made = SeenTransaction(
        signature=transaction.signatures[0],
        slot=1,
        block_time=None,
        error=None,
        transaction=transaction,
        account_keys=keys,
        logs=(),
        inner={},
        pre_tokens=(),
        post_tokens=(),
        fee=5000,
    )
    at = keys.index(program)
    return replace(made, inner={0: tuple(InnerInstruction(at, (), text, 2) for text in inner)})


@pytest.mark.parametrize(
    ("texts", "inner", "kept"),
    [
        ((b"a", b"b"), (), ["a", "b"]),
        ((b"a",), (b"\xff",), ["a", "\N{REPLACEMENT CHARACTER}"]),
        ((b"a",), (b"b" * 10_000, b"c"), ["a", "b" * (MOST_MEMO_CHARACTERS - 1)]),
        ((b"",) * 3, (), ["", "", ""]),
    ],
)
def test_memos(texts: tuple[bytes, ...], inner: tuple[bytes, ...], kept: list[str]) -> None:
    assert memos(seen(*texts, inner=inner)) == kept


def test_memos_without_end_take_no_more_than_their_bound() -> None:
    kept = memos(seen(b"a", inner=(b"",) * 60_000 + (b"x" * 100,) * 60_000))
    assert sum(map(len, kept)) <= MOST_MEMO_CHARACTERS
    assert len(kept) < 100
