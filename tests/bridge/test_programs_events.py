"""Anchor events, from logs that the real runtime writes: believed only where the program itself was running."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from spl.memo.constants import MEMO_PROGRAM_ID

from bridge.programs import pda
from bridge.programs.borsh import encode
from bridge.programs.events import Event, events, logged_events
from bridge.programs.idl import discriminator, idl
from bridge.solana.rpc import InnerInstruction, SeenTransaction
from tests.bridge.elf import echo, relay
from tests.bridge.programs_kit import Chain

TOKEN, REGISTRY = idl("energy_token").address, idl("registry").address
STRANGER, RELAY = Keypair().pubkey(), Keypair().pubkey()
IDLS = {TOKEN: idl("energy_token"), REGISTRY: idl("registry")}
RECIPIENT = Pubkey.from_bytes(bytes(range(32)))


def event(program: Any, name: str, **fields: Any) -> bytes:
    found = idl(program)
    record = found.events[discriminator("event", name)]
    return record.discriminator + encode(record.struct, found.types, fields)


MINTED = event("energy_token", "TokensMinted", recipient=RECIPIENT, amount=1_500_000_000, timestamp=1_764_547_200)
SETTLED = event(
    "registry", "MeterBalanceSettled", meter_id="M1", owner=RECIPIENT, tokens_to_mint=5, total_settled=9
)
MINTED_FIELDS = {"recipient": RECIPIENT, "amount": 1_500_000_000, "timestamp": 1_764_547_200}


@pytest.fixture
def chain() -> Chain:
    chain = Chain()
    for program in (TOKEN, REGISTRY, STRANGER):
        chain.svm.add_program(program, echo())
    chain.svm.add_program(RELAY, relay())
    return chain


def emit(program: Pubkey, data: bytes) -> Instruction:
    return Instruction(program, data, [])


def relayed(program: Pubkey, data: bytes, by: Pubkey = RELAY) -> Instruction:
    return Instruction(by, data, [AccountMeta(program, is_signer=False, is_writable=False)])


def names(seen: SeenTransaction) -> list[tuple[Pubkey, str, int]]:
    assert seen.error is None, seen.logs
    return [(one.program, one.name, one.depth) for one in events(seen, IDLS).found]


def test_events_are_decoded_from_real_logs(chain: Chain) -> None:
    seen = chain.run([emit(TOKEN, MINTED), emit(REGISTRY, SETTLED)])
    found = events(seen, IDLS)
    assert found.found == (
        Event(TOKEN, "TokensMinted", MINTED_FIELDS, 1),
        Event(
            REGISTRY,
            "MeterBalanceSettled",
            {"meter_id": "M1", "owner": RECIPIENT, "tokens_to_mint": 5, "total_settled": 9},
            1,
        ),
    )
    assert (found.is_truncated, found.problems) == (False, ())


def test_another_programs_events_are_not_believed(chain: Chain) -> None:
    assert names(chain.run([emit(STRANGER, MINTED)])) == []
    assert names(chain.run([emit(REGISTRY, MINTED), emit(TOKEN, SETTLED)])) == []


def test_a_program_that_is_called_by_another_is_believed(chain: Chain) -> None:
    assert names(chain.run([relayed(TOKEN, MINTED)])) == [(TOKEN, "TokensMinted", 2)]


def test_what_a_called_program_logs_is_not_its_callers(chain: Chain) -> None:
    """The relay logs the data itself when the call is done: that is its own, the first is the stranger's."""
    chain.svm.add_program(TOKEN, relay())
    seen = chain.run([relayed(STRANGER, MINTED, by=TOKEN)])
    assert len([line for line in seen.logs or () if line.startswith("Program data: ")]) == 2
    assert names(seen) == [(TOKEN, "TokensMinted", 1)]


def test_a_memo_that_looks_like_an_event_is_a_memo(chain: Chain) -> None:
    data = base64.b64encode(MINTED).decode()
    lines = [f"Program {TOKEN} invoke [1]", f"Program data: {data}", f"Program {TOKEN} success"]
    for text in ("\n".join(["", *lines, ""]), "\n".join(lines), "\r\n".join(["x", *lines, "x"])):
        memo = Instruction(MEMO_PROGRAM_ID, text.encode(), [])
        seen = chain.run([memo, emit(TOKEN, MINTED), memo])
        assert names(seen) == [(TOKEN, "TokensMinted", 1)]
        assert events(seen, IDLS).problems == ()


def test_a_failed_transaction_emitted_nothing(chain: Chain) -> None:
    overdrawn = Instruction(MEMO_PROGRAM_ID, b"\xff", [])
    seen = chain.run([emit(TOKEN, MINTED), overdrawn])
    assert seen.error is not None
    assert any(line.startswith("Program data: ") for line in seen.logs or ())
    assert events(seen, IDLS).found == ()


def test_a_truncated_log_is_told_and_believed_up_to_there(chain: Chain) -> None:
    filler = emit(STRANGER, bytes(800))
    seen = chain.run([emit(TOKEN, MINTED), *[filler] * 12, emit(TOKEN, MINTED)])
    assert "Log truncated" in (seen.logs or ())
    found = events(seen, IDLS)
    assert found.is_truncated
    assert [one.name for one in found.found] == ["TokensMinted"]


def test_an_invocation_that_truncation_swallowed_lends_nobody_a_name() -> None:
    """A short line may still fit where the long one before it did not."""
    data = f"Program data: {base64.b64encode(MINTED).decode()}"
    found = logged_events([f"Program {TOKEN} invoke [1]", "Log truncated", data, f"Program {TOKEN} success"], IDLS)
    assert (found.found, found.is_truncated) == ((), True)


def test_an_event_that_cannot_be_read_is_a_problem(chain: Chain) -> None:
    for data in (MINTED[:-1], MINTED + b"\0"):
        found = events(chain.run([emit(TOKEN, data)]), IDLS)
        assert found.found == ()
        assert str(TOKEN) in found.problems[0]


def test_data_that_are_no_event_are_passed_over(chain: Chain) -> None:
    for data in (b"", b"short", bytes(8) + MINTED[8:]):
        found = events(chain.run([emit(TOKEN, data)]), IDLS)
        assert (found.found, found.problems) == ((), ())


DATA = f"Program data: {base64.b64encode(MINTED).decode()}"
START, END = f"Program {TOKEN} invoke [1]", f"Program {TOKEN} success"
OTHER_START, OTHER_END = f"Program {STRANGER} invoke [2]", f"Program {STRANGER} success"


@pytest.mark.parametrize(
    ("logs", "count", "has_problem"),
    [
        ([START, DATA, END], 1, False),
        ([START, DATA, f"Program {TOKEN} failed: custom program error: 0x1"], 0, False),
        ([START, OTHER_START, DATA, OTHER_END, END], 0, False),
        ([START, OTHER_START, OTHER_END, DATA, END], 1, False),
        ([START, DATA, OTHER_START, f"Program {STRANGER} failed: a\nb", END], 1, False),
        ([START, DATA], 1, False),
        ([DATA], 0, False),
        ([START, END, DATA], 0, False),
        ([f"Program {TOKEN} invoke [2]", DATA, END], 0, True),
        ([START, OTHER_END, DATA, END], 0, True),
        ([END, START, DATA, END], 0, True),
        ([f"{START}\n", DATA], 0, False),
        ([START, f"{DATA}\n", END], 0, False),
        ([START, f"{DATA} {DATA[14:]}", END], 0, False),
        ([START, "Program data: A", END], 0, True),
        ([f"Program log: {START}", DATA], 0, False),
        ([START, f"Program log: {DATA}", END], 0, False),
    ],
)
def test_logs_are_followed_as_a_stack(logs: list[str], count: int, has_problem: bool) -> None:
    found = logged_events(logs, IDLS)
    assert (len(found.found), bool(found.problems)) == (count, has_problem)


def test_a_log_that_was_not_kept_is_told(chain: Chain) -> None:
    found = events(replace(chain.run([emit(TOKEN, MINTED)]), logs=None), IDLS)
    assert (found.found, found.problems) == ((), ("The cluster kept no log",))


CPI = bytes.fromhex("e445a52e51cb9a1d")


def called(chain: Chain, outer: Pubkey, *inner: tuple[Pubkey, Pubkey, bytes, int | None]) -> SeenTransaction:
    """A transaction in which `outer` ran, and inner instructions as a cluster may tell of them."""
    seen = chain.run([emit(outer, b"")])
    keys = [*seen.account_keys]
    for program, account, _, _ in inner:
        keys += [key for key in (program, account) if key not in keys]
    told = tuple(
        InnerInstruction(keys.index(program), (keys.index(account),), data, height)
        for program, account, data, height in inner
    )
    return replace(seen, account_keys=tuple(keys), inner={0: told})


AUTHORITY = pda.event_authority(TOKEN)


@pytest.mark.parametrize(
    ("outer", "inner", "count"),
    [
        (TOKEN, [(TOKEN, AUTHORITY, CPI + MINTED, 2)], 1),
        (STRANGER, [(TOKEN, AUTHORITY, b"", 2), (TOKEN, AUTHORITY, CPI + MINTED, 3)], 1),
        (STRANGER, [(TOKEN, AUTHORITY, CPI + MINTED, 2)], 0),
        (TOKEN, [(STRANGER, AUTHORITY, b"", 2), (TOKEN, AUTHORITY, CPI + MINTED, 3)], 0),
        (TOKEN, [(STRANGER, AUTHORITY, b"", 2), (TOKEN, AUTHORITY, CPI + MINTED, 2)], 1),
        (TOKEN, [(TOKEN, RECIPIENT, CPI + MINTED, 2)], 0),
        (TOKEN, [(TOKEN, AUTHORITY, MINTED, 2)], 0),
        (TOKEN, [(TOKEN, AUTHORITY, CPI + MINTED[:-1], 2)], 0),
        (TOKEN, [(TOKEN, AUTHORITY, CPI + MINTED, None)], 0),
        (TOKEN, [(TOKEN, AUTHORITY, CPI + MINTED, 4)], 0),
        (STRANGER, [(STRANGER, AUTHORITY, CPI + MINTED, 2)], 0),
    ],
    ids=[
        "by itself",
        "by itself, called",
        "by a stranger",
        "by a stranger that it called",
        "after one that it called",
        "other authority",
        "no tag",
        "cut short",
        "no height",
        "wrong height",
        "a stranger's own",
    ],
)
def test_events_by_cpi_count_where_the_program_called_itself(
    chain: Chain, outer: Pubkey, inner: list[Any], count: int
) -> None:
    assert len(events(called(chain, outer, *inner), IDLS).found) == count


LINES = st.sampled_from(
    [START, END, OTHER_START, OTHER_END, DATA, "Log truncated", f"Program {STRANGER} invoke [1]"]
)


@settings(deadline=None)
@given(st.lists(LINES | st.text(max_size=80) | st.text(max_size=40).map(lambda text: f"Program data: {text}")))
def test_hostile_logs_raise_nothing(logs: list[str]) -> None:
    logged_events(logs, IDLS)
