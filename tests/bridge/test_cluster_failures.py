"""Solana's errors as its JSON has them; and who is told of what."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from solders.transaction_status import (
    InstructionErrorCustom,
    InstructionErrorFieldless,
    TransactionErrorDuplicateInstruction,
    TransactionErrorFieldless,
    TransactionErrorInstructionError,
    TransactionErrorInsufficientFundsForRent,
    TransactionErrorProgramExecutionTemporarilyRestricted,
)

from bridge.cluster.events import Confirmed, Event, Landed, SlotOpened
from bridge.cluster.failures import error_json, in_words, lands
from tests.bridge.cluster_kit import SOL, Bench, keypair, opened, pay

_CASES: list[tuple[Any, Any, bool, str]] = [
    (
        TransactionErrorInstructionError(2, InstructionErrorCustom(17)),
        {"InstructionError": [2, {"Custom": 17}]},
        True,
        "Error processing Instruction 2: custom program error: 0x11",
    ),
    (
        TransactionErrorInstructionError(0, InstructionErrorFieldless.MissingRequiredSignature),
        {"InstructionError": [0, "MissingRequiredSignature"]},
        True,
        "Error processing Instruction 0: MissingRequiredSignature",
    ),
    (
        TransactionErrorInsufficientFundsForRent(1),
        {"InsufficientFundsForRent": {"account_index": 1}},
        True,
        "{'InsufficientFundsForRent': {'account_index': 1}}",
    ),
    (
        TransactionErrorProgramExecutionTemporarilyRestricted(3),
        {"ProgramExecutionTemporarilyRestricted": {"account_index": 3}},
        False,
        "{'ProgramExecutionTemporarilyRestricted': {'account_index': 3}}",
    ),
    (TransactionErrorDuplicateInstruction(1), {"DuplicateInstruction": 1}, False, "{'DuplicateInstruction': 1}"),
    (TransactionErrorFieldless.BlockhashNotFound, "BlockhashNotFound", False, "Blockhash not found"),
    (
        TransactionErrorFieldless.AlreadyProcessed,
        "AlreadyProcessed",
        False,
        "This transaction has already been processed",
    ),
    (TransactionErrorFieldless.AccountInUse, "AccountInUse", False, "AccountInUse"),
    (
        TransactionErrorFieldless.ProgramAccountNotFound,
        "ProgramAccountNotFound",
        True,
        "Attempt to load a program that does not exist",
    ),
]


@pytest.mark.parametrize(("error", "expected", "is_in_block", "words"), _CASES)
def test_an_error_has_solanas_json(error: Any, expected: Any, is_in_block: bool, words: str) -> None:
    assert error_json(error) == expected
    assert lands(expected) == is_in_block
    assert in_words(expected) == words


@pytest.mark.parametrize("kind", [TransactionErrorFieldless, InstructionErrorFieldless])
def test_every_variant_has_its_own_name(kind: Any) -> None:
    variants = {name: value for name, value in vars(kind).items() if isinstance(value, kind)}
    assert len(variants) > 30
    for name, value in variants.items():
        if kind is TransactionErrorFieldless:
            assert error_json(value) == name
        else:
            assert error_json(TransactionErrorInstructionError(0, value)) == {"InstructionError": [0, name]}


async def test_listeners_are_told_in_order(tmp_path: Path) -> None:
    target, told = keypair("target").pubkey(), list[Event]()
    async with opened(tmp_path) as cluster:
        bench = Bench(cluster)
        await bench.fund()
        slot = cluster.slot("processed")
        cluster.subscribe(told.append)
        done = await bench.must([pay(bench.payer, target, SOL)])
        await cluster.advance()
        assert told == [Landed(done), SlotOpened(slot + 1, slot), Confirmed(slot, 0)]
        assert set(done.changed) == {bench.payer.pubkey(), target}
        assert cluster.landed_in(slot)[-1] == done
