"""A cluster's JSON as values: old nodes, lookup tables, and what is no answer."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import base58
import pytest
from solders.address_lookup_table_account import AddressLookupTableAccount
from solders.hash import Hash
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.message import MessageV0
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction

from bridge.solana import answers
from bridge.solana.rpc import InnerInstruction, Status, TokenBalance
from config.errors import ErrorCode, Unavailable


def versioned(*loaded: Pubkey) -> VersionedTransaction:
    """A transaction that takes writable `loaded[0]` and readonly `loaded[1]` from a lookup table."""
    payer, program = Keypair(), Pubkey.new_unique()
    accounts = [AccountMeta(key, False, number == 0) for number, key in enumerate(loaded)]
    table = AddressLookupTableAccount(Pubkey.new_unique(), list(loaded))
    message = MessageV0.try_compile(
        payer.pubkey(), [Instruction(program, b"data", accounts)], [table] if loaded else [], Hash.default()
    )
    return VersionedTransaction(message, [payer])


def answer(transaction: VersionedTransaction, **meta: Any) -> dict[str, Any]:
    return {
        "slot": 7,
        "blockTime": 1_700_000_000,
        "transaction": [b64encode(bytes(transaction)).decode(), "base64"],
        "meta": {"err": None, "fee": 5000} | meta,
    }


def test_keys_of_lookup_tables_follow_the_messages_own() -> None:
    writable, readonly = Pubkey.new_unique(), Pubkey.new_unique()
    transaction = versioned(writable, readonly)
    loaded = {"writable": [str(writable)], "readonly": [str(readonly)]}

    seen = answers.transaction(answer(transaction, loadedAddresses=loaded))

    assert seen.account_keys == (*transaction.message.account_keys, writable, readonly)
    assert seen.signature == transaction.signatures[0]


def test_balances_inner_instructions_and_logs() -> None:
    transaction = versioned()
    keys = transaction.message.account_keys
    mint, owner = Pubkey.new_unique(), Pubkey.new_unique()
    balance = {
        "accountIndex": 1,
        "mint": str(mint),
        "owner": str(owner),
        "uiTokenAmount": {"amount": "18446744073709551615", "decimals": 9, "uiAmount": 1.8e10},
    }
    inner = {"programIdIndex": 1, "accounts": [0], "data": base58.b58encode(b"\x07\x00").decode(), "stackHeight": 2}

    seen = answers.transaction(
        answer(
            transaction,
            preTokenBalances=[],
            postTokenBalances=[balance],
            innerInstructions=[{"index": 0, "instructions": [inner]}],
            logMessages=["a\nb", "c"],
        )
    )

    assert seen.post_tokens == (TokenBalance(keys[1], mint, owner, None, 2**64 - 1),)
    assert seen.inner == {0: (InnerInstruction(1, (0,), b"\x07\x00", 2),)}
    assert seen.logs == ("a\nb", "c")


def test_a_cluster_that_kept_no_log_is_told_from_one_without_lines() -> None:
    assert answers.transaction(answer(versioned(), logMessages=None)).logs is None
    assert answers.transaction(answer(versioned(), logMessages=[])).logs == ()


@pytest.mark.parametrize(
    ("told", "commitment"),
    [
        ({"confirmationStatus": "confirmed", "confirmations": 3}, "confirmed"),
        ({"confirmationStatus": None, "confirmations": None}, "finalized"),
        ({"confirmations": 3}, "processed"),
    ],
)
def test_statuses_of_old_and_new_nodes(told: dict[str, Any], commitment: Any) -> None:
    found = answers.statuses({"value": [{"slot": 5, "err": None, **told}, None]})

    assert found == [Status(5, commitment, None), None]


@pytest.mark.parametrize(
    ("reader", "result"),
    [
        (answers.integer, True),
        (answers.integer, -1),
        (answers.integer, 1.5),
        (answers.integer, None),
        (answers.value_integer, {"value": "1"}),
        (answers.blockhash, {"value": {"blockhash": "no hash", "lastValidBlockHeight": 1}}),
        (answers.statuses, {"value": [{"slot": 1, "err": None, "confirmationStatus": "maybe"}]}),
        (answers.signatures, [{"signature": "short", "slot": 1, "err": None}]),
        (answers.accounts, {"value": [{"lamports": 1, "owner": str(Pubkey.default()), "data": ["", "base58"]}]}),
        (answers.transaction, {"slot": 1, "transaction": ["AA==", "base64"], "meta": None}),
        (answers.transaction, {"slot": 1, "transaction": ["", "base58"], "meta": {}}),
        (answers.transaction, "text"),
        (answers.transaction, None),
    ],
)
def test_what_is_no_answer_is_told_with_its_method(reader: Any, result: Any) -> None:
    with pytest.raises(Unavailable, match="getThis cannot be read") as failure:
        answers.read("getThis", reader, result)
    assert failure.value.code is ErrorCode.SOLANA_UNAVAILABLE


BALANCE = {"accountIndex": 1, "mint": str(Pubkey.default()), "uiTokenAmount": {"amount": "5"}}
INNER = {"programIdIndex": 1, "accounts": [0], "data": "1", "stackHeight": 2}


@pytest.mark.parametrize(
    "lie",
    [
        {"postTokenBalances": [BALANCE | {"accountIndex": -1}]},
        {"postTokenBalances": [BALANCE | {"accountIndex": True}]},
        {"postTokenBalances": [BALANCE | {"accountIndex": 2}]},
        *(
            {"preTokenBalances": [BALANCE | {"uiTokenAmount": {"amount": amount}}]}
            for amount in ("-5", " 5", "1_000", "1e3", "\uff15", "", str(2**64), "9" * 5000, 5)
        ),
        {"innerInstructions": [{"index": 0, "instructions": [INNER | {"accounts": ["0"]}]}]},
        {"innerInstructions": [{"index": 0, "instructions": [INNER | {"accounts": [-1]}]}]},
        {"innerInstructions": [{"index": 0, "instructions": [INNER | {"accounts": [[0]]}]}]},
        {"innerInstructions": [{"index": 0, "instructions": [INNER | {"stackHeight": "2"}]}]},
        {"logMessages": [1]},
        {"logMessages": "Program log"},
        {"fee": 2**63},
    ],
)
def test_what_would_trip_its_reader_is_no_answer(lie: dict[str, Any]) -> None:
    with pytest.raises(Unavailable, match="cannot be read"):
        answers.read("getTransaction", answers.transaction, answer(versioned(), **lie))


@pytest.mark.parametrize("time", ["now", 1.5, True, [1]])
def test_a_time_is_a_number_of_seconds(time: Any) -> None:
    signature = str(versioned().signatures[0])
    entry = {"signature": signature, "slot": 1, "err": None, "blockTime": time}
    with pytest.raises(Unavailable):
        answers.read("getSignaturesForAddress", answers.signatures, [entry])
    with pytest.raises(Unavailable):
        answers.read("getTransaction", answers.transaction, answer(versioned()) | {"blockTime": time})


def test_a_lie_of_any_size_is_told_shortly() -> None:
    with pytest.raises(Unavailable) as told:
        answers.read("getSlot", answers.integer, "x" * 1_000_000)
    assert len(told.value.message) < 400
