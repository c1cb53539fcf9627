"""Which memos of a transaction speak for which movement."""

from __future__ import annotations

from dataclasses import replace

import pytest
from solders.hash import Hash
from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.message import MessageV0
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction

from bridge.mirror.from_solana.memos import MOST_MEMO_BYTES, MOST_MEMOS, bridge_memos, recipient_in, speaking_for
from bridge.programs.instructions import Path
from bridge.solana.rpc import InnerInstruction, SeenTransaction
from bridge.watching.rows import MEMO_PROGRAMS

OTHER = Pubkey.from_string("Stranger11111111111111111111111111111111111")
MEMO = min(MEMO_PROGRAMS, key=bytes)
PAYER = Keypair.from_seed(bytes(31) + b"\x01")


def seen(
    outer: list[tuple[Pubkey, bytes]], inner: dict[int, list[tuple[Pubkey, bytes]]] | None = None
) -> SeenTransaction:
    """A transaction of these instructions, by program and data; an inner one is of a program that is also outer."""
    calls = [Instruction(program, data, []) for program, data in outer]
    message = MessageV0.try_compile(PAYER.pubkey(), calls, [], Hash.default())
    keys: tuple[Pubkey, ...] = tuple(message.account_keys)
    made = SeenTransaction(
        signature=(transaction := VersionedTransaction(message, [PAYER])).signatures[0],
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
    called = {
        at: tuple(InnerInstruction(keys.index(program), (), data, 2) for program, data in each)
        for at, each in (inner or {}).items()
    }
    return replace(made, inner=called)


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"gwx1:abc", ["gwx1:abc"]),
        (b"gwx1:", ["gwx1:"]),
        (b"gwx1", []),
        (b"GWX1:abc", []),
        (b" gwx1:abc", []),
        (b"hello", []),
        (b"", []),
        (b"gwx1:\xff", ["gwx1:\N{REPLACEMENT CHARACTER}"]),
        (b"gwx1:" + b"a" * 500, ["gwx1:" + "a" * (MOST_MEMO_BYTES - 5)]),
    ],
)
def test_a_memo_of_the_bridges_begins_with_its_name(data: bytes, found: list[str]) -> None:
    assert [text for _, text in bridge_memos(seen([(MEMO, data)]))] == found


def test_only_memo_programs_write_memos() -> None:
    assert bridge_memos(seen([(OTHER, b"gwx1:abc")])) == []


@pytest.mark.parametrize("program", sorted(MEMO_PROGRAMS, key=bytes), ids=str)
def test_each_of_the_memo_programs_is_heard(program: Pubkey) -> None:
    assert bridge_memos(seen([(program, b"gwx1:abc")])) == [(Path(0), "gwx1:abc")]


@pytest.mark.parametrize(
    ("path", "memos", "counted"),
    [
        (Path(0), [(Path(1), "a")], ["a"]),
        (Path(1), [(Path(0), "a")], ["a"]),
        (Path(0), [(Path(1), "a"), (Path(2), "b")], ["a", "b"]),
        (Path(0, 3), [(Path(1), "a")], ["a"]),
        (Path(0, 3), [(Path(0, 2), "a")], ["a"]),
        (Path(0, 3), [(Path(0, 4), "a"), (Path(1), "b")], ["a", "b"]),
        (Path(0, 3, 7), [(Path(0, 1), "a"), (Path(2, 1), "b")], ["a"]),
        (Path(0), [(Path(1, 1), "of a program that moved nothing")], []),
        (Path(0), [(Path(1, 1), "a"), (Path(2), "b")], ["b"]),
        (Path(0), [(Path(at), "a") for at in range(1, 50)], ["a"] * MOST_MEMOS),
    ],
)
def test_who_speaks_for_a_movement(path: Path, memos: list[tuple[Path, str]], counted: list[str]) -> None:
    assert speaking_for(path, memos) == counted


def test_inner_memos_have_inner_paths() -> None:
    told = seen([(OTHER, b"x"), (MEMO, b"gwx1:a")], {0: [(MEMO, b"gwx1:b"), (MEMO, b"no"), (MEMO, b"gwx1:c")]})
    assert bridge_memos(told) == [(Path(0, 1), "gwx1:b"), (Path(0, 3), "gwx1:c"), (Path(1), "gwx1:a")]


@pytest.mark.parametrize(
    ("texts", "recipient"),
    [([], ""), (["gwx1:a"], "a"), (["gwx1:gwx1:a"], "gwx1:a"), (["gwx1:a", "gwx1:a"], ""), (["gwx1:"], "")],
)
def test_the_recipient_is_what_the_one_memo_says(texts: list[str], recipient: str) -> None:
    assert recipient_in(texts) == recipient
