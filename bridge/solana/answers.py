"""A cluster's JSON answers as the port's values. Functions of values: what is not as Solana documents it
raises one of several errors, and `read` makes one of them."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar, cast

from base58 import b58decode
from solders.hash import Hash, ParseHashError
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.transaction import VersionedTransaction

from bridge.solana.rpc import (
    AccountsAt,
    AccountState,
    Blockhash,
    Commitment,
    InnerInstruction,
    SeenSignature,
    SeenTransaction,
    Status,
    TokenBalance,
)
from config.errors import ErrorCode, Unavailable
from store.values import INT64_MAX

Value = TypeVar("Value")

_MOST_REASON: Final = 300
_UNITS: Final = re.compile("[0-9]{1,20}").fullmatch
_U64_MAX: Final = 2**64 - 1
_COMMITMENTS: Final = ("processed", "confirmed", "finalized")


def read(method: str, reader: Callable[[Any], Value], result: Any) -> Value:
    """What `reader` makes of an answer. Raises Unavailable(SOLANA_UNAVAILABLE) when it is no such answer."""
    try:
        return reader(result)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, ParseHashError) as error:
        reason = f"the Solana cluster's answer to {method} cannot be read: {error!r}"[:_MOST_REASON]
        raise Unavailable(reason, ErrorCode.SOLANA_UNAVAILABLE) from error


def integer(result: Any) -> int:
    """A count, slot or amount of lamports, as the store can hold it; a bool or a float is none."""
    if type(result) is not int or not 0 <= result <= INT64_MAX:
        raise ValueError(f"{result!r} is no whole number")
    return result


def value_integer(result: Any) -> int:
    return integer(result["value"])


def blockhash(result: Any) -> Blockhash:
    value = result["value"]
    return Blockhash(Hash.from_string(value["blockhash"]), integer(value["lastValidBlockHeight"]))


def statuses(result: Any) -> list[Status | None]:
    return [None if status is None else _status(status) for status in result["value"]]


def _status(status: Mapping[str, Any]) -> Status:
    return Status(integer(status["slot"]), _commitment(status), status["err"])


def _commitment(status: Mapping[str, Any]) -> Commitment:
    """Old nodes tell confirmations alone; None of these means that the slot is rooted."""
    told = status.get("confirmationStatus")
    if told is None:
        return "finalized" if status["confirmations"] is None else "processed"
    if told not in _COMMITMENTS:
        raise ValueError(f"{told!r} is no commitment")
    return cast(Commitment, told)


def signatures(result: Any) -> list[SeenSignature]:
    return [
        SeenSignature(
            Signature.from_string(entry["signature"]),
            integer(entry["slot"]),
            entry["err"],
            _secs(entry.get("blockTime")),
        )
        for entry in result
    ]


def accounts(result: Any) -> list[AccountState | None]:
    return [None if account is None else _account(account) for account in result["value"]]


def accounts_at(result: Any) -> AccountsAt:
    return AccountsAt(integer(result["context"]["slot"]), tuple(accounts(result)))


def _account(account: Mapping[str, Any]) -> AccountState:
    data, encoding = account["data"]
    if encoding != "base64":
        raise ValueError(f"account data in {encoding!r}")
    return AccountState(integer(account["lamports"]), Pubkey.from_string(account["owner"]), b64decode(data))


def transaction(result: Any) -> SeenTransaction:
    """An answer to getTransaction in base64, with its meta."""
    encoded, encoding = result["transaction"]
    if encoding != "base64":
        raise ValueError(f"a transaction in {encoding!r}")
    parsed = VersionedTransaction.from_bytes(b64decode(encoded))
    meta = result["meta"]
    keys = _account_keys(parsed, meta.get("loadedAddresses"))
    return SeenTransaction(
        signature=parsed.signatures[0],
        slot=integer(result["slot"]),
        block_time=_secs(result.get("blockTime")),
        error=meta["err"],
        transaction=parsed,
        account_keys=keys,
        logs=_logs(meta.get("logMessages")),
        inner=_inner(meta.get("innerInstructions")),
        pre_tokens=_token_balances(meta.get("preTokenBalances"), keys),
        post_tokens=_token_balances(meta.get("postTokenBalances"), keys),
        fee=integer(meta["fee"]),
    )


def _account_keys(parsed: VersionedTransaction, loaded: Mapping[str, Any] | None) -> tuple[Pubkey, ...]:
    """The message's own keys, then those of lookup tables: the writable ones first, as instructions count."""
    keys = tuple(parsed.message.account_keys)
    if not loaded:
        return keys
    return keys + tuple(Pubkey.from_string(key) for key in (*loaded["writable"], *loaded["readonly"]))


def _inner(groups: Sequence[Mapping[str, Any]] | None) -> dict[int, tuple[InnerInstruction, ...]]:
    return {
        integer(group["index"]): tuple(map(_inner_instruction, group["instructions"])) for group in groups or ()
    }


def _inner_instruction(instruction: Mapping[str, Any]) -> InnerInstruction:
    return InnerInstruction(
        program_index=integer(instruction["programIdIndex"]),
        accounts=tuple(map(integer, instruction["accounts"])),
        data=b58decode(instruction["data"]),
        stack_height=_optional(integer, instruction.get("stackHeight")),
    )


def _token_balances(
    balances: Sequence[Mapping[str, Any]] | None, keys: Sequence[Pubkey]
) -> tuple[TokenBalance, ...]:
    return tuple(
        TokenBalance(
            account=keys[integer(balance["accountIndex"])],
            mint=Pubkey.from_string(balance["mint"]),
            owner=_optional(Pubkey.from_string, balance.get("owner")),
            program=_optional(Pubkey.from_string, balance.get("programId")),
            units=_units(balance["uiTokenAmount"]["amount"]),
        )
        for balance in balances or ()
    )


def _units(text: str) -> int:
    units = int(text) if _UNITS(text) else _U64_MAX + 1
    if units > _U64_MAX:
        raise ValueError(f"{text!r} is no amount of base units")
    return units


def _secs(told: Any) -> int | None:
    """A block's time; a cluster may not know it."""
    if told is not None and (type(told) is not int or abs(told) > INT64_MAX):
        raise ValueError(f"{told!r} is no time")
    return told


def _logs(told: Any) -> tuple[str, ...] | None:
    if told is None:
        return None
    if not isinstance(told, list) or not all(isinstance(entry, str) for entry in told):
        raise ValueError("a log is a list of texts")
    return tuple(told)


def _optional(reader: Callable[[Any], Value], told: Any) -> Value | None:
    return None if told is None else reader(told)
